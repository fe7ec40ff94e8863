//! The published reward in its one written-down form: `H·T + (1-H)·EDP` minus penalties.
//!
//! H is the temperature headroom, T the normalized throughput, EDP the normalized inverse
//! energy-delay product. Each penalty is `λ·f(x)` with `x` the excess over a limit relative to
//! where the excess counts as full, clipped to 0..1, and `f(x) = (e^{kx}-1)/(e^k-1)`. The
//! temperature penalty is raised to up to three times by missing headroom; the quality penalty is
//! `λ·(e^{2x}-1)` of the entropy relative to its maximum.
//!
//! Energy is per batch here, as published: batch 1 looks cheap and costs about 25 times more
//! per token. That is why [`super::service`] is the default.

use super::{Components, Fixed, Reward, RewardError, Variant, exp, position, ratio, to_micro};
use crate::telemetry::Measurement;
use serde::{Deserialize, Serialize};

/// A lower and an upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Maps to 0.
    pub low: Fixed,
    /// Maps to 1.
    pub high: Fixed,
}

/// A limit and the value at which its penalty is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Largest value without penalty.
    pub limit: Fixed,
    /// Value at which the penalty reaches its weight.
    pub full: Fixed,
    /// Weight λ of the penalty.
    pub weight: Fixed,
}

/// Ranges, limits and weights of the unified reward, in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unified {
    /// Throughput, prompt and generated tokens per second.
    pub throughput: Range,
    /// Inverse energy-delay product, 1/(J·s).
    pub edp_efficiency: Range,
    /// Temperature of full headroom (low) and of none (high), degrees Celsius.
    pub temperature: Range,
    /// Latency of the batch, seconds.
    pub latency_limit: Limit,
    /// Temperature, degrees Celsius.
    pub temperature_limit: Limit,
    /// Mean power, watts.
    pub power_limit: Limit,
    /// Steepness k of the penalties.
    pub steepness: Fixed,
    /// Entropy that counts as 1, nats.
    pub entropy_full: Fixed,
    /// Weight of the entropy penalty.
    pub entropy_weight: Fixed,
}

/// The outcome of a batch in SI units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Prompt and generated tokens per second.
    pub throughput: Fixed,
    /// Inverse energy-delay product, 1/(J·s).
    pub edp_efficiency: Fixed,
    /// Prefill and decode, seconds.
    pub latency: Fixed,
    /// Mean power, watts.
    pub power: Fixed,
    /// Degrees Celsius.
    pub temperature: Fixed,
    /// Nats.
    pub entropy: Option<Fixed>,
}

impl Outcome {
    /// The outcome of a measured turn. Energy and latency are those of prefill and decode alone,
    /// as in the published logs.
    pub fn of(measurement: &Measurement) -> Result<Self, RewardError> {
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
            latency: ratio(busy_us, 1_000_000),
            power: ratio(energy_uj, busy_us),
            temperature: ratio(i128::from(peak.0), 1000),
            entropy: measurement.entropy.map(|entropy| ratio(i128::from(entropy.0), 1000)),
        })
    }
}

impl Unified {
    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        let ranges = [
            (self.throughput.low, self.throughput.high, "throughput"),
            (self.edp_efficiency.low, self.edp_efficiency.high, "inverse energy-delay product"),
            (self.temperature.low, self.temperature.high, "temperature"),
            (self.latency_limit.limit, self.latency_limit.full, "the latency penalty"),
            (self.temperature_limit.limit, self.temperature_limit.full, "the temperature penalty"),
            (self.power_limit.limit, self.power_limit.full, "the power penalty"),
            (Fixed::ZERO, self.entropy_full, "entropy"),
        ];
        match ranges.into_iter().find(|(low, high, _)| high <= low) {
            Some((_, _, what)) => Err(RewardError::EmptyRange(what)),
            None => Ok(()),
        }
    }

    /// The reward of an outcome.
    pub fn settle(&self, outcome: &Outcome) -> Result<Reward, RewardError> {
        let one = Fixed::ONE;
        let throughput = position(outcome.throughput, self.throughput.low, self.throughput.high, "throughput")?;
        let edp = position(
            outcome.edp_efficiency,
            self.edp_efficiency.low,
            self.edp_efficiency.high,
            "inverse energy-delay product",
        )?;
        let heat = position(outcome.temperature, self.temperature.low, self.temperature.high, "temperature")?;
        let headroom = one - heat;
        let efficiency = headroom.saturating_mul(throughput).saturating_add(heat.saturating_mul(edp));
        // 1 + 2(1 - H): the hotter, the dearer.
        let urgency = one + heat + heat;
        let temperature = self.penalty(outcome.temperature, &self.temperature_limit)?.saturating_mul(urgency);
        let components = Components {
            efficiency: to_micro(efficiency),
            response: to_micro(self.penalty(outcome.latency, &self.latency_limit)?).saturating_neg(),
            temperature: to_micro(temperature).saturating_neg(),
            power: to_micro(self.penalty(outcome.power, &self.power_limit)?).saturating_neg(),
            quality: to_micro(self.entropy_penalty(outcome.entropy)?).saturating_neg(),
        };
        Ok(Reward::new(Variant::Unified, components))
    }

    fn penalty(&self, value: Fixed, limit: &Limit) -> Result<Fixed, RewardError> {
        let excess = position(value, limit.limit, limit.full, "a penalty")?;
        if excess == Fixed::ZERO || self.steepness <= Fixed::ZERO {
            return Ok(limit.weight.saturating_mul(excess));
        }
        let grown = exp(self.steepness.saturating_mul(excess)).saturating_sub(Fixed::ONE);
        let full = exp(self.steepness).saturating_sub(Fixed::ONE);
        Ok(limit.weight.saturating_mul(grown.checked_div(full).unwrap_or(Fixed::ONE)))
    }

    fn entropy_penalty(&self, entropy: Option<Fixed>) -> Result<Fixed, RewardError> {
        let Some(entropy) = entropy else { return Ok(Fixed::ZERO) };
        let share = position(entropy, Fixed::ZERO, self.entropy_full, "entropy")?;
        Ok(self.entropy_weight.saturating_mul(exp(share + share).saturating_sub(Fixed::ONE)))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::float_arithmetic, reason = "f64 numbers are easier to read")]
pub(crate) mod tests {
    use super::*;
    use crate::time::Duration;
    use crate::units::{MicroJoules, MilliCelsius};

    fn q(x: f64) -> Fixed {
        Fixed::from_num(x)
    }

    /// Ranges of the published study's training; limits 15 s, 100 °C and 60 W.
    pub(crate) fn published() -> Unified {
        Unified {
            throughput: Range { low: q(7.707_851_057_374_813), high: q(920.960_054_059_606_3) },
            edp_efficiency: Range { low: q(0.000_117_531_270_860_798_94), high: q(0.002_150_846_451_480_048_3) },
            temperature: Range { low: q(40.0), high: q(100.0) },
            latency_limit: Limit { limit: q(15.0), full: q(22.5), weight: q(1.0) },
            temperature_limit: Limit { limit: q(100.0), full: q(120.0), weight: q(1.5) },
            power_limit: Limit { limit: q(60.0), full: q(78.0), weight: q(1.0) },
            steepness: q(5.0),
            entropy_full: q(9.0),
            entropy_weight: q(0.0),
        }
    }

    #[test]
    fn penalties_reach_their_weight_and_no_more() {
        let mut outcome = Outcome {
            throughput: q(920.96),
            edp_efficiency: q(0.001),
            latency: q(22.5),
            power: q(60.0),
            temperature: q(40.0),
            entropy: None,
        };
        let reward = published().settle(&outcome).unwrap();
        assert_eq!(reward.components.response, -1_000_000);
        assert_eq!(reward.components.power, 0);
        outcome.temperature = q(130.0);
        let reward = published().settle(&outcome).unwrap();
        assert_eq!(reward.components.temperature, -4_500_000);
        assert_eq!(reward.total, -5_500_000 + reward.components.efficiency);
    }

    #[test]
    fn degenerate_inputs_are_errors() {
        let mut unified = published();
        unified.throughput.high = unified.throughput.low;
        let outcome = Outcome {
            throughput: q(1.0),
            edp_efficiency: q(0.001),
            latency: q(1.0),
            power: q(1.0),
            temperature: q(40.0),
            entropy: None,
        };
        assert_eq!(unified.settle(&outcome), Err(RewardError::EmptyRange("throughput")));
        let empty = Measurement { peak_temperature: Some(MilliCelsius(1)), ..Measurement::default() };
        assert_eq!(Outcome::of(&empty), Err(RewardError::NotPositive("the time of the batch")));
        let free = Measurement { decode: Duration::from_secs(1), ..empty };
        assert_eq!(Outcome::of(&free), Err(RewardError::NotPositive("the energy of the batch")));
        let paid = Measurement { active_energy: MicroJoules(5), ..free };
        assert!(Outcome::of(&paid).is_ok());
    }
}
