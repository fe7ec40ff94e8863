//! The published reward in its one written-down form: `H·T + (1-H)·EDP` minus penalties, the
//! quality penalty being `λ·(e^{2x}-1)` of the entropy relative to its maximum.
//!
//! It equals the `reward` column of the published fan-on grid.

use super::published::{Outcome, Published, entropy_penalty};
use super::{Fixed, Reward, RewardError, Variant};
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// Settings of the unified reward, in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unified<N = Fixed> {
    /// What all published rewards share.
    pub published: Published<N>,
    /// Entropy that counts as 1, nats.
    pub entropy_full: N,
    /// Weight of the entropy penalty.
    pub entropy_weight: N,
}

wire!(struct Unified { published, entropy_full, entropy_weight });

impl<N: Copy> Unified<N> {
    /// The same settings in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> Unified<M> {
        Unified {
            published: self.published.map(convert),
            entropy_full: convert(self.entropy_full),
            entropy_weight: convert(self.entropy_weight),
        }
    }
}

impl Unified {
    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        if self.entropy_full <= Fixed::ZERO {
            return Err(RewardError::NotPositive("the full entropy"));
        }
        self.published.check()
    }

    /// The reward of an outcome.
    pub fn settle(&self, outcome: &Outcome) -> Result<Reward, RewardError> {
        let terms = self.published.terms(outcome)?;
        let efficiency = terms.blended(terms.throughput, terms.edp);
        let penalty = |entropy| entropy_penalty(entropy, self.entropy_full, self.entropy_weight);
        let quality = outcome.entropy.map_or(Fixed::ZERO, penalty).saturating_neg();
        Ok(Reward::new(Variant::Unified, terms.components(efficiency, quality)))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "f64 numbers are easier to read")]
pub(crate) mod tests {
    use super::*;
    use crate::reward::published::Range;
    use crate::reward::published::tests::{OUTCOME, published, q};

    pub(crate) fn unified() -> Unified<f64> {
        Unified { published: published(), entropy_full: 9.0, entropy_weight: 0.0 }
    }

    #[test]
    fn penalties_reach_their_weight_and_no_more() {
        let mut outcome = Outcome { latency: 22.5, power: 60.0, temperature: 40.0, ..OUTCOME }.map(&q);
        let reward = unified().map(&q).settle(&outcome).unwrap();
        assert_eq!(reward.components.response, -1_000_000);
        assert_eq!(reward.components.power, 0);
        outcome.temperature = q(130.0);
        let reward = unified().map(&q).settle(&outcome).unwrap();
        assert_eq!(reward.components.temperature, -4_500_000);
        assert_eq!(reward.total, -5_500_000 + reward.components.efficiency);
    }

    #[test]
    fn degenerate_settings_are_errors() {
        let mut broken = unified().map(&q);
        broken.published.throughput = Range { low: q(1.0), high: q(1.0) };
        assert_eq!(broken.settle(&OUTCOME.map(&q)), Err(RewardError::EmptyRange("throughput")));
        let flat = Unified { entropy_full: q(0.0), ..unified().map(&q) };
        assert_eq!(flat.check(), Err(RewardError::NotPositive("the full entropy")));
    }
}
