//! The reward of the published early-exit code: a sigmoid blend of the two branches of
//! [`super::step`], a penalty for entropy that fades with heat, and a bonus for few layers when hot.
//!
//! With H from the temperature, `hot = max(0, 1 - H/0.33)` and `l = (layers - 9)/7`:
//!
//! | component | value |
//! |---|---|
//! | efficiency | `a·(H·T + (1-H)·EDP·T) + (1-a)·saved`, `a = 1/(1 + e^{-10(H-0.33)})` |
//! | quality | `5·hot·(1-l) - λ·2.5·e^{-2·hot}·(e^{2x}-1)`, x the entropy relative to its maximum |
//!
//! The bonus dwarfs the temperature penalty, which is why a policy trained on it seeks the heat.
//! Kept for comparison. The published code also takes a weight for changes of the action and
//! multiplies it by nothing: that penalty is 0 in every log, and there is none here.

use super::published::{Outcome, Published, Range, entropy_penalty};
use super::step::SWITCH;
use super::{Fixed, Reward, RewardError, Variant, exp, position, product, quotient, ratio};
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// Depth whose bonus is full.
pub const FEWEST_LAYERS: u16 = 9;

/// Layers above [`FEWEST_LAYERS`] at which nothing is left of the bonus.
pub const LAYER_SPAN: u16 = 7;

/// Settings of the early-exit reward, in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlyExit<N = Fixed> {
    /// What all published rewards share.
    pub published: Published<N>,
    /// Energy of a batch, joules: all saved at the low end, nothing at the high one.
    pub energy: Range<N>,
    /// Entropy that counts as 1, nats. At 0 and below neither penalty nor bonus.
    pub entropy_full: N,
    /// Weight of the entropy penalty.
    pub entropy_weight: N,
}

wire!(struct EarlyExit { published, energy, entropy_full, entropy_weight });

impl<N: Copy> EarlyExit<N> {
    /// The same settings in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> EarlyExit<M> {
        EarlyExit {
            published: self.published.map(convert),
            energy: self.energy.map(convert),
            entropy_full: convert(self.entropy_full),
            entropy_weight: convert(self.entropy_weight),
        }
    }
}

impl EarlyExit {
    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        if self.entropy_full <= Fixed::ZERO {
            return Err(RewardError::NotPositive("the full entropy"));
        }
        self.published.check()?;
        self.energy.check("energy")
    }

    /// The reward of an outcome.
    pub fn settle(&self, outcome: &Outcome) -> Result<Reward, RewardError> {
        let terms = self.published.terms(outcome)?;
        let saved =
            self.energy.saved(outcome.energy.ok_or(RewardError::Missing("the energy of the batch"))?, "energy")?;
        let work = terms.blended(terms.throughput, product(terms.edp, terms.throughput));
        let share = sigmoid(product(const { Fixed::lit("10") }, terms.blend.saturating_sub(SWITCH)));
        let efficiency = product(share, work).saturating_add(product(Fixed::ONE.saturating_sub(share), saved));
        let quality = self.quality(outcome, terms.headroom)?;
        Ok(Reward::new(Variant::EarlyExit, terms.components(efficiency, quality)))
    }

    fn quality(&self, outcome: &Outcome, headroom: Fixed) -> Result<Fixed, RewardError> {
        let Some(entropy) = outcome.entropy.filter(|_| self.entropy_full > Fixed::ZERO) else {
            return Ok(Fixed::ZERO);
        };
        let depth = outcome.depth.ok_or(RewardError::Missing("the depth of the batch"))?;
        let hot = position(SWITCH.saturating_sub(headroom), SWITCH, "the headroom")?;
        let scale = product(const { Fixed::lit("2.5") }, exp(product(const { Fixed::lit("-2") }, hot)));
        // Not clipped: the published code goes beyond both ends.
        let left = i32::from(FEWEST_LAYERS) + i32::from(LAYER_SPAN) - i32::from(depth);
        let share = ratio(i128::from(left), i128::from(LAYER_SPAN));
        let bonus = product(product(const { Fixed::lit("5") }, hot), share);
        let penalty = entropy_penalty(entropy, self.entropy_full, self.entropy_weight);
        Ok(bonus.saturating_sub(product(penalty, scale)))
    }
}

/// `1/(1 + e^{-x})`.
fn sigmoid(x: Fixed) -> Fixed {
    quotient(Fixed::ONE, Fixed::ONE.saturating_add(exp(x.saturating_neg()))).unwrap_or(Fixed::ONE)
}

#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "f64 numbers are easier to read")]
pub(crate) mod tests {
    use super::*;
    use crate::reward::published::tests::{OUTCOME, published, q};

    pub(crate) fn early_exit() -> EarlyExit<f64> {
        let energy = Range { low: 100.0, high: 300.0 };
        EarlyExit { published: published(), energy, entropy_full: 10.0, entropy_weight: 1.5 }
    }

    #[test]
    fn hand_worked_cases() {
        let at = |outcome: Outcome<f64>| early_exit().map(&q).settle(&outcome.map(&q)).unwrap().components;
        // No headroom: the bonus is 5 (1 - l), and 4 layers give more than 9.
        let hot = Outcome { temperature: 100.0, entropy: Some(0.0), ..OUTCOME };
        for (layers, bonus) in [(16, 0), (9, 5_000_000), (4, 8_571_429), (20, -2_857_143)] {
            assert_eq!(at(Outcome { depth: Some(layers), ..hot }).quality, bonus, "{layers} layers");
        }
        // Cool and the entropy at its maximum: 1.5 · 2.5 · (e² - 1).
        let unsure = Outcome { temperature: 40.0, entropy: Some(12.0), ..OUTCOME };
        assert_eq!(at(unsure).quality, -23_958_960);
        assert_eq!(at(Outcome { depth: Some(9), ..unsure }).quality, -23_958_960);
    }

    #[test]
    fn entropy_needs_a_depth_and_its_absence_does_not() {
        let rule = early_exit().map(&q);
        let outcome = Outcome { depth: None, entropy: Some(q(1.0)), ..OUTCOME.map(&q) };
        assert_eq!(rule.settle(&outcome), Err(RewardError::Missing("the depth of the batch")));
        assert_eq!(rule.settle(&Outcome { entropy: None, ..outcome }).map(|r| r.components.quality), Ok(0));
        let off = EarlyExit { entropy_full: q(0.0), ..rule };
        assert_eq!(off.settle(&outcome).map(|r| r.components.quality), Ok(0));
    }

    #[test]
    fn totals_saturate_and_say_so_by_standing_at_the_end() {
        let rule = EarlyExit { entropy_weight: q(1e6), ..early_exit().map(&q) };
        let reward = rule.settle(&Outcome { entropy: Some(q(10.0)), ..OUTCOME.map(&q) }).unwrap();
        assert_eq!((reward.components.quality, reward.total), (i32::MIN, i32::MIN + reward.components.efficiency));
        let hotter = Outcome { temperature: q(130.0), entropy: Some(q(10.0)), ..OUTCOME.map(&q) };
        assert_eq!(rule.settle(&hotter).unwrap().total, i32::MIN);
    }
}
