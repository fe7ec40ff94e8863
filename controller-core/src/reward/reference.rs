//! The rewards in `f64` through `libm`: the oracle of the fixed-point ones, and what training
//! may use. `libm` gives the same bits on every platform.
#![allow(
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "feature `reference` is the floating-point oracle"
)]

use super::service::Service;
use super::unified::{Limit, Outcome, Range, Unified};
use super::{Fixed, RewardError};
use crate::action::Setting;
use crate::telemetry::Measurement;

fn real(value: Fixed) -> f64 {
    value.to_num()
}

fn position(value: f64, range: Range, what: &'static str) -> Result<f64, RewardError> {
    let (low, high) = (real(range.low), real(range.high));
    if high <= low { Err(RewardError::EmptyRange(what)) } else { Ok(((value - low) / (high - low)).clamp(0.0, 1.0)) }
}

/// Total of the unified reward.
pub fn unified(parameters: &Unified, outcome: &Outcome) -> Result<f64, RewardError> {
    let throughput = position(real(outcome.throughput), parameters.throughput, "throughput")?;
    let edp = position(real(outcome.edp_efficiency), parameters.edp_efficiency, "inverse energy-delay product")?;
    let heat = position(real(outcome.temperature), parameters.temperature, "temperature")?;
    let k = real(parameters.steepness);
    let penalty = |value: f64, limit: &Limit| -> Result<f64, RewardError> {
        let excess = position(value, Range { low: limit.limit, high: limit.full }, "a penalty")?;
        let grown = if k <= 0.0 || excess <= 0.0 { excess } else { libm::expm1(k * excess) / libm::expm1(k) };
        Ok(real(limit.weight) * grown)
    };
    let entropy = match outcome.entropy {
        None => 0.0,
        Some(entropy) => {
            let full = Range { low: Fixed::ZERO, high: parameters.entropy_full };
            real(parameters.entropy_weight) * libm::expm1(2.0 * position(real(entropy), full, "entropy")?)
        }
    };
    Ok((1.0 - heat) * throughput + heat * edp
        - penalty(real(outcome.latency), &parameters.latency_limit)?
        - penalty(real(outcome.temperature), &parameters.temperature_limit)? * (1.0 + 2.0 * heat)
        - penalty(real(outcome.power), &parameters.power_limit)?
        - entropy)
}

/// Total of the service reward.
pub fn service(parameters: &Service, setting: Setting, measurement: &Measurement) -> Result<f64, RewardError> {
    parameters.check()?;
    let peak = f64::from(measurement.peak_temperature.ok_or(RewardError::NoTemperature)?.0);
    let (soft, hard) = (f64::from(parameters.soft_temperature.0), f64::from(parameters.hard_temperature.0));
    let work = f64::from(parameters.reference_uj_per_token) * f64::from(measurement.generated_tokens);
    let energy = measurement.energy.0 as f64;
    let efficiency = if work + energy > 0.0 { work / (work + energy) } else { 0.0 };
    let limit = parameters.response_limit.micros() as f64;
    let late = ((measurement.response.micros() as f64 - limit) / limit).clamp(0.0, 4.0);
    let hot = ((peak - soft) / (hard - soft)).clamp(0.0, 2.0);
    let worse = if measurement.requests == 0 {
        0.0
    } else {
        let quality = f64::from(parameters.quality_of(setting.depth).ok_or(RewardError::NoQuality)?);
        let floor = f64::from(parameters.quality_floor);
        (floor - quality).max(0.0) / floor
    };
    let weight = |thousandths: u16| f64::from(thousandths) / 1000.0;
    Ok(efficiency
        - weight(parameters.response_weight) * late
        - weight(parameters.temperature_weight) * hot * hot
        - weight(parameters.quality_weight) * worse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::{service::tests as service_tests, unified::tests as unified_tests};
    use crate::time::Duration;
    use crate::units::{MicroJoules, MilliCelsius};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fixed_point_unified_is_within_1e_5(
            throughput in 0.0..1000.0f64, edp in 0.0..0.003f64, latency in 0.0..30.0f64,
            power in 0.0..90.0f64, temperature in 20.0..130.0f64, entropy in 0.0..12.0f64, weight in 0.0..2.0f64,
        ) {
            let q = Fixed::from_num::<f64>;
            let parameters = Unified { entropy_weight: q(weight), ..unified_tests::published() };
            let outcome = Outcome {
                throughput: q(throughput), edp_efficiency: q(edp), latency: q(latency),
                power: q(power), temperature: q(temperature), entropy: Some(q(entropy)),
            };
            let fixed = f64::from(parameters.settle(&outcome).unwrap().total) / 1e6;
            let float = unified(&parameters, &outcome).unwrap();
            prop_assert!((fixed - float).abs() <= 1e-5, "{fixed} against {float}");
        }

        #[test]
        fn fixed_point_service_is_within_1e_5(
            tokens in 0u32..10_000, energy in any::<u32>(), response in any::<u32>(), peak in -20_000i32..130_000,
        ) {
            let measurement = Measurement {
                requests: 3, generated_tokens: tokens, energy: MicroJoules(u64::from(energy)),
                response: Duration::from_micros(u64::from(response)),
                peak_temperature: Some(MilliCelsius(peak)), ..Measurement::default()
            };
            let parameters = service_tests::service();
            let fixed = f64::from(parameters.settle(service_tests::SETTING, &measurement).unwrap().total) / 1e6;
            let float = service(&parameters, service_tests::SETTING, &measurement).unwrap();
            prop_assert!((fixed - float).abs() <= 1e-5, "{fixed} against {float}");
        }
    }
}
