//! What the three published rewards share: normalization, headroom and penalties.
//!
//! H is the temperature headroom, T the normalized throughput, EDP the normalized inverse
//! energy-delay product. Each penalty is `λ·f(x)` with `x` the excess over a limit relative to
//! where the excess counts as full, clipped to 0..1, and `f(x) = (e^{kx}-1)/(e^k-1)`. The
//! temperature penalty is raised to up to three times by missing headroom.
//!
//! Energy is per batch here, as published: batch 1 looks cheap and costs about 25 times more
//! per token. That is why [`super::service`] is the default.
//!
//! `settle` of each variant computes what the published code computes, also where its settings
//! are degenerate; `check` refuses such settings, and a controller is never made with them.
//!
//! Everything here is generic over its number: [`Fixed`] in the controller, `f64` in
//! [`super::reference`](index.html).

use super::{Components, Fixed, RewardError, exp, position, product, quotient, ratio, to_micro};
use crate::action::Setting;
use crate::telemetry::Measurement;
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// A lower and an upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range<N = Fixed> {
    /// Maps to 0.
    pub low: N,
    /// Maps to 1.
    pub high: N,
}

wire!(struct Range { low, high });

impl<N: PartialOrd + Copy> Range<N> {
    /// The range from `low` to `high`; `otherwise` when an end is missing or the range is empty.
    /// The published code falls back to 0..200 tokens per second and 0..0.001 1/(J·s) this way.
    pub fn or(low: Option<N>, high: Option<N>, otherwise: Self) -> Self {
        match (low, high) {
            (Some(low), Some(high)) if high > low => Self { low, high },
            _ => otherwise,
        }
    }
}

impl<N: Copy> Range<N> {
    /// The same range in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> Range<M> {
        Range { low: convert(self.low), high: convert(self.high) }
    }
}

impl Range {
    /// Fails unless the upper end lies above the lower one.
    pub(super) fn check(&self, what: &'static str) -> Result<(), RewardError> {
        if self.high > self.low { Ok(()) } else { Err(RewardError::EmptyRange(what)) }
    }

    /// 1 at the lower end, 0 at the upper one, clipped. Only an empty range is an error: the
    /// published code takes a reversed one.
    pub(super) fn saved(&self, value: Fixed, what: &'static str) -> Result<Fixed, RewardError> {
        position(self.high.saturating_sub(value), self.high.saturating_sub(self.low), what)
    }

    fn locate(&self, value: Fixed, what: &'static str) -> Result<Fixed, RewardError> {
        self.check(what)?;
        position(value.saturating_sub(self.low), self.high.saturating_sub(self.low), what)
    }
}

/// A limit and the value at which its penalty is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit<N = Fixed> {
    /// Largest value without penalty.
    pub limit: N,
    /// Value at which the penalty reaches its weight.
    pub full: N,
    /// Weight λ of the penalty.
    pub weight: N,
}

wire!(struct Limit { limit, full, weight });

impl<N: Copy> Limit<N> {
    /// The same limit in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> Limit<M> {
        Limit { limit: convert(self.limit), full: convert(self.full), weight: convert(self.weight) }
    }
}

/// Ranges, limits and weights of all published rewards, in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published<N = Fixed> {
    /// Throughput, prompt and generated tokens per second.
    pub throughput: Range<N>,
    /// Inverse energy-delay product, 1/(J·s).
    pub edp_efficiency: Range<N>,
    /// Temperature of full headroom (low) and of none (high), degrees Celsius.
    pub temperature: Range<N>,
    /// Factor on the headroom where it blends, before it is clipped to 1. 1 in everything published.
    pub headroom_weight: N,
    /// Latency of the batch, seconds.
    pub latency_limit: Limit<N>,
    /// Temperature, degrees Celsius.
    pub temperature_limit: Limit<N>,
    /// Mean power, watts.
    pub power_limit: Limit<N>,
    /// Steepness k of the penalties; at 0 and below they are straight lines.
    pub steepness: N,
}

wire!(struct Published {
    throughput,
    edp_efficiency,
    temperature,
    headroom_weight,
    latency_limit,
    temperature_limit,
    power_limit,
    steepness,
});

impl<N: Copy> Published<N> {
    /// The same settings in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> Published<M> {
        Published {
            throughput: self.throughput.map(convert),
            edp_efficiency: self.edp_efficiency.map(convert),
            temperature: self.temperature.map(convert),
            headroom_weight: convert(self.headroom_weight),
            latency_limit: self.latency_limit.map(convert),
            temperature_limit: self.temperature_limit.map(convert),
            power_limit: self.power_limit.map(convert),
            steepness: convert(self.steepness),
        }
    }
}

/// The outcome of a batch in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<N = Fixed> {
    /// Prompt and generated tokens per second.
    pub throughput: N,
    /// Inverse energy-delay product, 1/(J·s).
    pub edp_efficiency: N,
    /// Energy, joules.
    pub energy: Option<N>,
    /// Prefill and decode, seconds.
    pub latency: N,
    /// Mean power, watts.
    pub power: N,
    /// Degrees Celsius.
    pub temperature: N,
    /// Nats.
    pub entropy: Option<N>,
    /// Decoder layers that ran.
    pub depth: Option<u16>,
}

impl<N: Copy> Outcome<N> {
    /// The same outcome in another number.
    pub fn map<M>(&self, convert: &impl Fn(N) -> M) -> Outcome<M> {
        Outcome {
            throughput: convert(self.throughput),
            edp_efficiency: convert(self.edp_efficiency),
            energy: self.energy.map(convert),
            latency: convert(self.latency),
            power: convert(self.power),
            temperature: convert(self.temperature),
            entropy: self.entropy.map(convert),
            depth: self.depth,
        }
    }
}

impl Outcome {
    /// The outcome of a measured turn. Energy and latency are those of prefill and decode alone,
    /// as in the published logs.
    #[inline(never)] // three callers in one match, little flash
    pub fn of(setting: Setting, measurement: &Measurement) -> Result<Self, RewardError> {
        let peak = measurement.peak_temperature.ok_or(RewardError::NoTemperature)?;
        let busy_us = i128::from(measurement.prefill.micros()) + i128::from(measurement.decode.micros());
        let energy_uj = i128::from(measurement.active_energy.0);
        if busy_us == 0 {
            return Err(RewardError::NotPositive("the time of the batch"));
        }
        if energy_uj == 0 {
            return Err(RewardError::NotPositive("the energy of the batch"));
        }
        let tokens = i128::from(measurement.prompt_tokens) + i128::from(measurement.generated_tokens);
        Ok(Self {
            throughput: ratio(tokens * 1_000_000, busy_us),
            edp_efficiency: ratio(1_000_000_000_000, energy_uj * busy_us),
            energy: Some(ratio(energy_uj, 1_000_000)),
            latency: ratio(busy_us, 1_000_000),
            power: ratio(energy_uj, busy_us),
            temperature: ratio(i128::from(peak.0), 1000),
            entropy: measurement.entropy.map(|entropy| ratio(i128::from(entropy.0), 1000)),
            depth: Some(setting.depth),
        })
    }
}

/// What every variant starts from: all terms 0 to 1, penalties with their weights.
pub(super) struct Terms {
    /// H from the temperature alone.
    pub(super) headroom: Fixed,
    /// H as it blends.
    pub(super) blend: Fixed,
    /// T.
    pub(super) throughput: Fixed,
    /// EDP.
    pub(super) edp: Fixed,
    response: Fixed,
    temperature: Fixed,
    power: Fixed,
}

impl Terms {
    /// `H·a + (1-H)·b`.
    pub(super) fn blended(&self, a: Fixed, b: Fixed) -> Fixed {
        product(self.blend, a).saturating_add(product(Fixed::ONE.saturating_sub(self.blend), b))
    }

    /// Components with these two terms and the common penalties.
    pub(super) fn components(&self, efficiency: Fixed, quality: Fixed) -> Components {
        Components {
            efficiency: to_micro(efficiency),
            response: to_micro(self.response).saturating_neg(),
            temperature: to_micro(self.temperature).saturating_neg(),
            power: to_micro(self.power).saturating_neg(),
            quality: to_micro(quality),
        }
    }
}

impl Published {
    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        let Self { latency_limit, temperature_limit, power_limit, .. } = self;
        let limit = |limit: &Limit| Range { low: limit.limit, high: limit.full };
        self.throughput.check("throughput")?;
        self.edp_efficiency.check("inverse energy-delay product")?;
        self.temperature.check("temperature")?;
        limit(latency_limit).check("the latency penalty")?;
        limit(temperature_limit).check("the temperature penalty")?;
        limit(power_limit).check("the power penalty")
    }

    pub(super) fn terms(&self, outcome: &Outcome) -> Result<Terms, RewardError> {
        let headroom = self.headroom(outcome.temperature);
        // 1 + 2(1 - H): the hotter, the dearer.
        let missing = Fixed::ONE.saturating_sub(headroom);
        let urgency = Fixed::ONE.saturating_add(missing).saturating_add(missing);
        Ok(Terms {
            headroom,
            blend: product(self.headroom_weight, headroom).clamp(Fixed::ZERO, Fixed::ONE),
            throughput: self.throughput.locate(outcome.throughput, "throughput")?,
            edp: self.edp_efficiency.locate(outcome.edp_efficiency, "inverse energy-delay product")?,
            response: self.penalty(outcome.latency, &self.latency_limit),
            temperature: product(self.penalty(outcome.temperature, &self.temperature_limit), urgency),
            power: self.penalty(outcome.power, &self.power_limit),
        })
    }

    /// 1 at the cool end, 0 at the hot one; with an empty range all or nothing.
    fn headroom(&self, temperature: Fixed) -> Fixed {
        let Range { high, .. } = self.temperature;
        let all_or_nothing = if temperature < high { Fixed::ONE } else { Fixed::ZERO };
        match self.temperature.check("temperature").and_then(|()| self.temperature.saved(temperature, "temperature")) {
            Ok(headroom) => headroom,
            Err(_) => all_or_nothing,
        }
    }

    /// `λ·f(x)`; all or nothing where the penalty is full at its limit.
    fn penalty(&self, value: Fixed, limit: &Limit) -> Fixed {
        let all_or_nothing = if value > limit.limit { Fixed::ONE } else { Fixed::ZERO };
        let range = Range { low: limit.limit, high: limit.full };
        let excess = range.locate(value, "a penalty").unwrap_or(all_or_nothing);
        product(limit.weight, growth(excess, self.steepness))
    }
}

/// `(e^{kx}-1)/(e^k-1)` for x in 0..=1, and x for k <= 0. Defined for every k: for k below 1, where
/// both differences lose their digits, by the series of `(e^y-1)/y`; above, where e^k may exceed
/// the type, as `(e^{k(x-1)}-e^{-k})/(1-e^{-k})`.
fn growth(x: Fixed, k: Fixed) -> Fixed {
    if k <= Fixed::ZERO || x <= Fixed::ZERO {
        return x.max(Fixed::ZERO);
    }
    if k < Fixed::ONE {
        let slopes = quotient(slope(product(k, x)), slope(k));
        return product(x, slopes.unwrap_or(Fixed::ONE));
    }
    let floor = exp(k.saturating_neg());
    let grown = exp(product(k, x.saturating_sub(Fixed::ONE))).saturating_sub(floor);
    quotient(grown, Fixed::ONE.saturating_sub(floor)).unwrap_or(Fixed::ONE).clamp(Fixed::ZERO, Fixed::ONE)
}

/// `(e^y-1)/y` for y in 0..=1: 1 + y/2 (1 + y/3 (...)). Twelve terms leave less than 2^-32.
fn slope(y: Fixed) -> Fixed {
    (2..=13u8).rev().fold(Fixed::ONE, |sum, divisor| {
        let divided = quotient(product(y, sum), Fixed::from(divisor));
        Fixed::ONE.saturating_add(divided.unwrap_or(Fixed::ZERO))
    })
}

/// `λ·(e^{2x}-1)`, x the entropy relative to `full`, clipped to 0..1; 0 where `full` is not above 0.
pub(super) fn entropy_penalty(entropy: Fixed, full: Fixed, weight: Fixed) -> Fixed {
    let range = Range { low: Fixed::ZERO, high: full };
    let share = range.locate(entropy, "entropy").unwrap_or(Fixed::ZERO);
    product(weight, exp(share.saturating_add(share)).saturating_sub(Fixed::ONE))
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::float_arithmetic, reason = "f64 numbers are easier to read")]
pub(crate) mod tests {
    use super::*;
    use crate::reward::service::tests::SETTING;
    use crate::time::Duration;
    use crate::units::{MicroJoules, MilliCelsius};
    use proptest::prelude::*;

    pub(crate) fn q(x: f64) -> Fixed {
        Fixed::from_num(x)
    }

    /// Ranges of the published study's training; limits 15 s, 100 °C and 60 W.
    pub(crate) fn published() -> Published<f64> {
        Published {
            throughput: Range { low: 7.707_851_057_374_813, high: 920.960_054_059_606_3 },
            edp_efficiency: Range { low: 0.000_117_531_270_860_798_94, high: 0.002_150_846_451_480_048_3 },
            temperature: Range { low: 40.0, high: 100.0 },
            headroom_weight: 1.0,
            latency_limit: Limit { limit: 15.0, full: 22.5, weight: 1.0 },
            temperature_limit: Limit { limit: 100.0, full: 120.0, weight: 1.5 },
            power_limit: Limit { limit: 60.0, full: 78.0, weight: 1.0 },
            steepness: 5.0,
        }
    }

    pub(crate) const OUTCOME: Outcome<f64> = Outcome {
        throughput: 600.0,
        edp_efficiency: 0.001,
        energy: Some(150.0),
        latency: 5.0,
        power: 30.0,
        temperature: 60.0,
        entropy: None,
        depth: Some(16),
    };

    #[test]
    fn what_was_not_measured_has_no_outcome() {
        let empty = Measurement { peak_temperature: Some(MilliCelsius(1)), ..Measurement::default() };
        assert_eq!(Outcome::of(SETTING, &empty), Err(RewardError::NotPositive("the time of the batch")));
        let free = Measurement { decode: Duration::from_secs(1), ..empty };
        assert_eq!(Outcome::of(SETTING, &free), Err(RewardError::NotPositive("the energy of the batch")));
        let paid = Measurement { active_energy: MicroJoules(5), ..free };
        assert!(Outcome::of(SETTING, &paid).is_ok());
        let blind = Measurement { peak_temperature: None, ..paid };
        assert_eq!(Outcome::of(SETTING, &blind), Err(RewardError::NoTemperature));
    }

    #[test]
    fn empty_ranges_are_refused_before_a_run() {
        let good = published().map(&q);
        assert_eq!(good.check(), Ok(()));
        let flat = Range { low: q(3.0), high: q(3.0) };
        let steep = Limit { limit: q(3.0), full: q(3.0), weight: q(1.0) };
        for (broken, what) in [
            (Published { throughput: flat, ..good }, "throughput"),
            (Published { edp_efficiency: flat, ..good }, "inverse energy-delay product"),
            (Published { temperature: flat, ..good }, "temperature"),
            (Published { latency_limit: steep, ..good }, "the latency penalty"),
            (Published { temperature_limit: steep, ..good }, "the temperature penalty"),
            (Published { power_limit: steep, ..good }, "the power penalty"),
        ] {
            assert_eq!(broken.check(), Err(RewardError::EmptyRange(what)));
        }
    }

    #[test]
    fn missing_and_empty_ranges_fall_back() {
        let otherwise = Range { low: 0, high: 200 };
        assert_eq!(Range::or(Some(1), Some(2), otherwise), Range { low: 1, high: 2 });
        for (low, high) in [(None, Some(2)), (Some(1), None), (Some(2), Some(2)), (Some(3), Some(2))] {
            assert_eq!(Range::or(low, high, otherwise), otherwise);
        }
    }

    proptest! {
        #[test]
        fn growth_stays_within_its_bound(x in 0.0..=1.0f64, k in prop_oneof![-1.0..1.0f64, 0.0..40.0f64]) {
            let expected = if k <= 0.0 { x } else { (k * x).exp_m1() / k.exp_m1() };
            let found = growth(q(x), q(k)).to_num::<f64>();
            prop_assert!((found - expected).abs() <= 3e-8, "x {x}, k {k}: {found} against {expected}");
        }

        #[test]
        fn growth_has_a_value_for_every_argument(x in any::<i64>(), k in any::<i64>()) {
            let found = growth(Fixed::from_bits(x).clamp(Fixed::ZERO, Fixed::ONE), Fixed::from_bits(k));
            prop_assert!((Fixed::ZERO..=Fixed::ONE).contains(&found), "{found}");
        }
    }
}
