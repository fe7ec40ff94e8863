//! The reward of the first published code, in the training and deployment logs: a hard switch at
//! [`SWITCH`]. Above it `H·T + (1-H)·EDP·T`, at and below it the share of energy saved.
//!
//! It jumps: the same action goes from 0.018 to 0.987 by being a little hotter. Kept for
//! comparison.

use super::published::{Outcome, Published, Range};
use super::{Fixed, Reward, RewardError, Variant, product};
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// Headroom at and below which only energy counts.
pub const SWITCH: Fixed = Fixed::lit("0.33");

/// Settings of the step reward, in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step<N = Fixed> {
    /// What all published rewards share.
    pub published: Published<N>,
    /// Energy of a batch, joules: all saved at the low end, nothing at the high one.
    pub energy: Range<N>,
}

wire!(struct Step { published, energy });

impl<N: Copy> Step<N> {
    /// The same settings in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> Step<M> {
        Step { published: self.published.map(convert), energy: self.energy.map(convert) }
    }
}

impl Step {
    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        self.published.check()?;
        self.energy.check("energy")
    }

    /// The reward of an outcome.
    pub fn settle(&self, outcome: &Outcome) -> Result<Reward, RewardError> {
        let terms = self.published.terms(outcome)?;
        let saved =
            self.energy.saved(outcome.energy.ok_or(RewardError::Missing("the energy of the batch"))?, "energy")?;
        let efficiency = if terms.blend <= SWITCH {
            saved
        } else {
            terms.blended(terms.throughput, product(terms.edp, terms.throughput))
        };
        Ok(Reward::new(Variant::Step, terms.components(efficiency, Fixed::ZERO)))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "f64 numbers are easier to read")]
pub(crate) mod tests {
    use super::*;
    use crate::reward::published::tests::{OUTCOME, published, q};

    pub(crate) fn step() -> Step<f64> {
        Step { published: published(), energy: Range { low: 100.0, high: 300.0 } }
    }

    #[test]
    fn the_switch_is_where_the_log_has_it() {
        // 80.2 °C of 40..100 is a headroom of 0.33 exactly: still energy alone.
        let at = |temperature| step().map(&q).settle(&Outcome { temperature, ..OUTCOME }.map(&q)).unwrap();
        assert_eq!(at(80.2).components.efficiency, 750_000);
        assert_ne!(at(80.199).components.efficiency, 750_000);
    }

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        let outcome = Outcome { energy: None, ..OUTCOME.map(&q) };
        assert_eq!(step().map(&q).settle(&outcome), Err(RewardError::Missing("the energy of the batch")));
        let flat = Step { energy: Range { low: q(5.0), high: q(5.0) }, ..step().map(&q) };
        assert_eq!(flat.settle(&OUTCOME.map(&q)), Err(RewardError::EmptyRange("energy")));
        assert_eq!(flat.check(), Err(RewardError::EmptyRange("energy")));
    }
}
