//! The three published rewards in `f64`, operation by operation as the published code has them, so
//! that results agree with it to rounding. Degenerate settings are computed as there.

use crate::reward::RewardError;
use crate::reward::early_exit::{EarlyExit, FEWEST_LAYERS, LAYER_SPAN};
use crate::reward::published::{Limit, Outcome, Published, Range};
use crate::reward::step::Step;
use crate::reward::unified::Unified;

/// Headroom at and below which [`step`] counts energy alone.
pub const SWITCH: f64 = 0.33;

/// A reward with everything that it is made of. Terms lie in 0..=1; penalties are positive here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Headroom as it blends.
    pub headroom: f64,
    /// Normalized throughput.
    pub throughput: f64,
    /// Normalized inverse energy-delay product.
    pub edp_efficiency: f64,
    /// Share of energy saved; not part of [`unified`].
    pub energy_saved: Option<f64>,
    /// What is wanted: the positive part of the reward.
    pub efficiency: f64,
    /// Penalty for latency.
    pub response: f64,
    /// Penalty for heat.
    pub temperature: f64,
    /// Penalty for power.
    pub power: f64,
    /// Penalty for entropy, less the bonus for few layers.
    pub quality: f64,
}

impl Score {
    /// Sum of all penalties.
    #[must_use]
    pub fn penalty(&self) -> f64 {
        self.response + self.temperature + self.power + self.quality
    }

    /// The reward.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.efficiency - self.penalty()
    }

    /// `H·T + (1-H)·EDP·T`: what [`step`] counts above its switch and [`early_exit`] blends in.
    #[must_use]
    pub fn work(&self) -> f64 {
        let Self { headroom, throughput, edp_efficiency, .. } = self;
        headroom * throughput + (1.0 - headroom) * edp_efficiency * throughput
    }

    fn finite(self) -> Result<Self, RewardError> {
        if self.total().is_finite() { Ok(self) } else { Err(RewardError::NotFinite("the reward")) }
    }
}

/// A NaN has no place in a range: a sensor that failed must not read as harmless.
fn check(outcome: &Outcome<f64>) -> Result<(), RewardError> {
    let known = [
        (Some(outcome.throughput), "the throughput"),
        (Some(outcome.edp_efficiency), "the inverse energy-delay product"),
        (outcome.energy, "the energy of the batch"),
        (Some(outcome.latency), "the latency"),
        (Some(outcome.power), "the power"),
        (Some(outcome.temperature), "the temperature"),
        (outcome.entropy, "the entropy"),
    ];
    match known.into_iter().find(|(value, _)| value.is_some_and(f64::is_nan)) {
        Some((_, what)) => Err(RewardError::NotFinite(what)),
        None => Ok(()),
    }
}

fn locate(value: f64, range: Range<f64>, what: &'static str) -> Result<f64, RewardError> {
    if range.high > range.low {
        Ok(((value - range.low) / (range.high - range.low)).clamp(0.0, 1.0))
    } else {
        Err(RewardError::EmptyRange(what))
    }
}

/// `(e^{kx}-1)/(e^k-1)`, with the published code's loss of digits for small k.
fn growth(x: f64, k: f64) -> f64 {
    if k <= 0.0 {
        x
    } else if x <= 0.0 {
        0.0
    } else {
        (libm::exp(k * x) - 1.0) / (libm::exp(k) - 1.0)
    }
}

/// The terms without efficiency and quality, and the headroom from temperature alone.
fn terms(rule: &Published<f64>, outcome: &Outcome<f64>) -> Result<(Score, f64), RewardError> {
    check(outcome)?;
    let all_or_nothing = |all: bool| if all { 1.0 } else { 0.0 };
    let Range { low, high } = rule.temperature;
    let headroom = if high > low {
        ((high - outcome.temperature) / (high - low)).clamp(0.0, 1.0)
    } else {
        all_or_nothing(outcome.temperature < high)
    };
    let grown = |value: f64, limit: &Limit<f64>| {
        let excess = if limit.full > limit.limit {
            ((value - limit.limit) / (limit.full - limit.limit)).clamp(0.0, 1.0)
        } else {
            all_or_nothing(value > limit.limit)
        };
        growth(excess, rule.steepness)
    };
    let score = Score {
        headroom: (rule.headroom_weight * headroom).clamp(0.0, 1.0),
        throughput: locate(outcome.throughput, rule.throughput, "throughput")?,
        edp_efficiency: locate(outcome.edp_efficiency, rule.edp_efficiency, "inverse energy-delay product")?,
        energy_saved: None,
        efficiency: 0.0,
        response: rule.latency_limit.weight * grown(outcome.latency, &rule.latency_limit),
        temperature: rule.temperature_limit.weight
            * (1.0 + 2.0 * (1.0 - headroom))
            * grown(outcome.temperature, &rule.temperature_limit),
        power: rule.power_limit.weight * grown(outcome.power, &rule.power_limit),
        quality: 0.0,
    };
    Ok((score, headroom))
}

fn saved(outcome: &Outcome<f64>, range: Range<f64>) -> Result<f64, RewardError> {
    let energy = outcome.energy.ok_or(RewardError::Missing("the energy of the batch"))?;
    if range.high - range.low == 0.0 {
        return Err(RewardError::EmptyRange("energy"));
    }
    Ok(((range.high - energy) / (range.high - range.low)).clamp(0.0, 1.0))
}

/// The unified reward.
pub fn unified(rule: &Unified<f64>, outcome: &Outcome<f64>) -> Result<Score, RewardError> {
    let (score, _) = terms(&rule.published, outcome)?;
    let efficiency = score.headroom * score.throughput + (1.0 - score.headroom) * score.edp_efficiency;
    let quality = match outcome.entropy {
        Some(entropy) if rule.entropy_full > 0.0 => {
            let share = (entropy / rule.entropy_full).clamp(0.0, 1.0);
            rule.entropy_weight * (libm::exp(2.0 * share) - 1.0)
        }
        _ => 0.0,
    };
    Score { efficiency, quality, ..score }.finite()
}

/// The step reward.
pub fn step(rule: &Step<f64>, outcome: &Outcome<f64>) -> Result<Score, RewardError> {
    let (score, _) = terms(&rule.published, outcome)?;
    let saved = saved(outcome, rule.energy)?;
    let efficiency = if score.headroom <= SWITCH { saved } else { score.work() };
    Score { efficiency, energy_saved: Some(saved), ..score }.finite()
}

/// The early-exit reward.
pub fn early_exit(rule: &EarlyExit<f64>, outcome: &Outcome<f64>) -> Result<Score, RewardError> {
    let (score, headroom) = terms(&rule.published, outcome)?;
    let saved = saved(outcome, rule.energy)?;
    let share = 1.0 / (1.0 + libm::exp(-10.0 * (score.headroom - SWITCH)));
    let efficiency = share * score.work() + (1.0 - share) * saved;
    let quality = match outcome.entropy {
        Some(entropy) if rule.entropy_full > 0.0 => {
            let depth = f64::from(outcome.depth.ok_or(RewardError::Missing("the depth of the batch"))?);
            let layers = (depth - f64::from(FEWEST_LAYERS)) / f64::from(LAYER_SPAN);
            let hot = if headroom >= SWITCH { 0.0 } else { 1.0 - headroom / SWITCH };
            let scale = 2.5 * libm::exp(-2.0 * hot);
            let share = (entropy / rule.entropy_full).clamp(0.0, 1.0);
            rule.entropy_weight * scale * (libm::exp(2.0 * share) - 1.0) - 5.0 * hot * (1.0 - layers)
        }
        _ => 0.0,
    };
    Score { efficiency, energy_saved: Some(saved), quality, ..score }.finite()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::published::tests::q;
    use crate::reward::unified::tests as unified_tests;
    use crate::reward::{Reward, early_exit::tests as early_exit_tests, step::tests as step_tests};
    use proptest::prelude::*;

    prop_compose! {
        fn outcomes()(
            throughput in -10.0..1000.0f64, edp_efficiency in 0.0..0.003f64, energy in 50.0..400.0f64,
            latency in 0.0..30.0f64, power in 0.0..90.0f64, temperature in 20.0..130.0f64,
            entropy in proptest::option::of(-1.0..12.0f64), depth in 1u16..40,
        ) -> Outcome<f64> {
            Outcome {
                throughput, edp_efficiency, energy: Some(energy), latency, power, temperature, entropy, depth: Some(depth),
            }
        }
    }

    /// Largest difference between a fixed-point reward and its oracle, over components and total.
    fn distance(found: &Reward, expected: &Score) -> f64 {
        let components = found.components;
        let pairs = [
            (components.efficiency, expected.efficiency),
            (components.response, -expected.response),
            (components.temperature, -expected.temperature),
            (components.power, -expected.power),
            (components.quality, -expected.quality),
            (found.total, expected.total()),
        ];
        pairs.into_iter().fold(0.0, |worst, (found, expected)| worst.max((f64::from(found) / 1e6 - expected).abs()))
    }

    /// What docs/rewards.md states.
    const BOUND: f64 = 4e-6;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn fixed_point_stays_within_its_bound(outcome in outcomes(), weight in 0.0..2.0f64, k in -1.0..30.0f64) {
            let mut rule = Unified { entropy_weight: weight, ..unified_tests::unified() };
            rule.published.steepness = k;
            let found = rule.map(&q).settle(&outcome.map(&q)).unwrap();
            let worst = distance(&found, &unified(&rule, &outcome).unwrap());
            prop_assert!(worst <= BOUND, "unified: {worst:e}");

            let rule = Step { published: rule.published, ..step_tests::step() };
            let expected = step(&rule, &outcome).unwrap();
            // A jump has no bound: at it, the input's own resolution decides.
            prop_assume!((expected.headroom - SWITCH).abs() > 1e-9);
            let worst = distance(&rule.map(&q).settle(&outcome.map(&q)).unwrap(), &expected);
            prop_assert!(worst <= BOUND, "step: {worst:e}");

            let rule = EarlyExit { published: rule.published, entropy_weight: weight, ..early_exit_tests::early_exit() };
            let found = rule.map(&q).settle(&outcome.map(&q)).unwrap();
            let worst = distance(&found, &early_exit(&rule, &outcome).unwrap());
            prop_assert!(worst <= BOUND, "early exit: {worst:e}");
        }
    }

    #[test]
    fn a_sensor_that_failed_is_refused_and_an_infinite_one_is_at_the_end() {
        use crate::reward::published::tests::OUTCOME;
        let rule = early_exit_tests::early_exit();
        let at = |outcome| early_exit(&rule, &outcome);
        let error = |what| Err(RewardError::NotFinite(what));
        assert_eq!(at(Outcome { temperature: f64::NAN, ..OUTCOME }), error("the temperature"));
        assert_eq!(at(Outcome { latency: f64::NAN, ..OUTCOME }), error("the latency"));
        assert_eq!(at(Outcome { entropy: Some(f64::NAN), ..OUTCOME }), error("the entropy"));
        let late = at(Outcome { latency: f64::INFINITY, ..OUTCOME }).unwrap();
        let cold = at(Outcome { temperature: f64::NEG_INFINITY, ..OUTCOME }).unwrap();
        assert_eq!([late.response, cold.headroom].map(f64::to_bits), [1f64.to_bits(); 2]);
        let mut broken = rule;
        broken.published.latency_limit.weight = f64::INFINITY;
        assert_eq!(early_exit(&broken, &Outcome { latency: 20.0, ..OUTCOME }), error("the reward"));
    }
}
