//! The rewards in `f64` through `libm`: the oracle of the fixed-point ones, and what training
//! may use. `libm` gives the same bits on every platform.
#![allow(
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "feature `reference` is the floating-point oracle"
)]

mod published;

pub use published::{SWITCH, Score, early_exit, step, unified};

use super::RewardError;
use super::service::Service;
use crate::action::Setting;
use crate::telemetry::Measurement;

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
    use crate::reward::service::tests as service_tests;
    use crate::time::Duration;
    use crate::units::{MicroJoules, MilliCelsius};
    use proptest::prelude::*;

    proptest! {
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
