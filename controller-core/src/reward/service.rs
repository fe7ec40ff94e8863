//! The service reward: joules per generated token at the offered load, within limits.
//!
//! With e = energy per generated token, idle time included:
//!
//! | component | value |
//! |---|---|
//! | efficiency | `e_ref / (e_ref + e)`: 1/2 at the reference, towards 1 for less energy, 0 when nothing was generated |
//! | response | `-w · clamp((response - limit) / limit, 0, 4)` |
//! | temperature | `-w · clamp((T - soft) / (hard - soft), 0, 2)²` |
//! | quality | `-w · max(0, floor - quality(depth)) / floor` |
//!
//! Every term is continuous, and for a fixed outcome the total never rises with temperature.
//! Hard limits are the supervisor's; these terms only teach a policy to stay clear of them.

use super::{Components, Fixed, Reward, RewardError, Variant, product, share, to_micro};
use crate::action::{MAX_VALUES, Setting};
use crate::telemetry::Measurement;
use crate::time::Duration;
use crate::units::MilliCelsius;
use crate::wire::wire;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Limits and weights of the service reward. Weights and qualities are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Energy per generated token at which efficiency is one half, in microjoules.
    pub reference_uj_per_token: u32,
    /// Longest response that costs nothing.
    pub response_limit: Duration,
    /// Temperature from which heat is penalized.
    pub soft_temperature: MilliCelsius,
    /// Temperature at which the penalty is one weight.
    pub hard_temperature: MilliCelsius,
    /// Quality of the answers at each depth, in thousandths of full depth's: `(depth, quality)`.
    /// It belongs to the language model, so a board's profile leaves it out.
    #[serde(default)]
    pub quality: Vec<(u16, u16), MAX_VALUES>,
    /// Lowest quality that costs nothing, in thousandths.
    pub quality_floor: u16,
    /// Weight of the response term, in thousandths.
    pub response_weight: u16,
    /// Weight of the temperature term, in thousandths.
    pub temperature_weight: u16,
    /// Weight of the quality term, in thousandths.
    pub quality_weight: u16,
}

wire!(struct Service {
    reference_uj_per_token,
    response_limit,
    soft_temperature,
    hard_temperature,
    quality,
    quality_floor,
    response_weight,
    temperature_weight,
    quality_weight,
});

impl Service {
    /// Checks that no range is empty and no divisor zero.
    pub fn check(&self) -> Result<(), RewardError> {
        if self.reference_uj_per_token == 0 {
            return Err(RewardError::NotPositive("the reference energy per token"));
        }
        if self.response_limit == Duration::ZERO {
            return Err(RewardError::NotPositive("the response limit"));
        }
        if self.quality_floor == 0 {
            return Err(RewardError::NotPositive("the quality floor"));
        }
        if self.quality_floor > 1000 {
            return Err(RewardError::AboveOne("the quality floor"));
        }
        if self.hard_temperature <= self.soft_temperature {
            return Err(RewardError::EmptyRange("temperature"));
        }
        Ok(())
    }

    /// Quality of a depth in thousandths of full depth's.
    #[must_use]
    pub fn quality_of(&self, depth: u16) -> Option<u16> {
        self.quality.iter().find(|(layers, _)| *layers == depth).map(|&(_, quality)| quality)
    }

    /// The reward of a turn.
    pub fn settle(&self, setting: Setting, measurement: &Measurement) -> Result<Reward, RewardError> {
        self.check()?;
        let peak = measurement.peak_temperature.ok_or(RewardError::NoTemperature)?;
        let components = Components {
            efficiency: to_micro(self.efficiency(measurement)),
            response: self.response(measurement),
            temperature: self.temperature(peak),
            power: 0,
            quality: if measurement.requests == 0 { 0 } else { self.quality_term(setting.depth)? },
        };
        Ok(Reward::new(Variant::Service, components))
    }

    fn efficiency(&self, measurement: &Measurement) -> Fixed {
        // e_ref / (e_ref + E/n) = e_ref·n / (e_ref·n + E), which is 0 for n = 0 and never divides by 0.
        let work = u64::from(self.reference_uj_per_token) * u64::from(measurement.generated_tokens);
        let whole = work.saturating_add(measurement.energy.0);
        if whole == 0 { Fixed::ZERO } else { share(work, whole) }
    }

    fn response(&self, measurement: &Measurement) -> i32 {
        let limit = self.response_limit.micros();
        let over = measurement.response.micros().saturating_sub(limit);
        penalty(share(over, limit).min(const { Fixed::lit("4") }), self.response_weight)
    }

    fn temperature(&self, peak: MilliCelsius) -> i32 {
        let MilliCelsius(soft) = self.soft_temperature;
        let above = |hot: i32| u64::from(hot.max(soft).abs_diff(soft));
        let excess = share(above(peak.0), above(self.hard_temperature.0)).min(const { Fixed::lit("2") });
        penalty(product(excess, excess), self.temperature_weight)
    }

    fn quality_term(&self, depth: u16) -> Result<i32, RewardError> {
        let quality = self.quality_of(depth).ok_or(RewardError::NoQuality)?;
        let missing = self.quality_floor.saturating_sub(quality);
        Ok(penalty(share(missing.into(), self.quality_floor.into()), self.quality_weight))
    }
}

/// `-excess · weight / 1000`, in millionths.
#[inline(never)]
fn penalty(excess: Fixed, weight: u16) -> i32 {
    to_micro(product(excess, share(weight.into(), 1000))).saturating_neg()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::units::{KiloHertz, MicroJoules};
    use proptest::prelude::*;

    pub(crate) fn service() -> Service {
        Service {
            reference_uj_per_token: 100_000,
            response_limit: Duration::from_secs(10),
            soft_temperature: MilliCelsius::from_degrees(85),
            hard_temperature: MilliCelsius::from_degrees(95),
            quality: Vec::from_slice(&[(9, 500), (12, 990), (16, 1000)]).unwrap(),
            quality_floor: 980,
            response_weight: 500,
            temperature_weight: 1000,
            quality_weight: 2000,
        }
    }

    pub(crate) const SETTING: Setting =
        Setting { prefill: KiloHertz(1), decode: KiloHertz(1), batch: 8, depth: 16, fan_pwm: 0 };

    fn turn(tokens: u32, energy_uj: u64, response_s: u32, peak_mc: i32) -> Measurement {
        Measurement {
            requests: 1,
            generated_tokens: tokens,
            energy: MicroJoules(energy_uj),
            response: Duration::from_secs(response_s),
            peak_temperature: Some(MilliCelsius(peak_mc)),
            ..Measurement::default()
        }
    }

    #[test]
    fn hand_worked_cases() {
        // Reference energy: efficiency one half, nothing else.
        let r = service().settle(SETTING, &turn(100, 10_000_000, 10, 85_000)).unwrap();
        assert_eq!((r.components.efficiency, r.total), (500_000, 500_000));
        // Twice the limit: minus one response weight. At the hard temperature: minus one weight.
        let r = service().settle(SETTING, &turn(100, 10_000_000, 20, 95_000)).unwrap();
        assert_eq!((r.components.response, r.components.temperature), (-500_000, -1_000_000));
        // Depth 9 keeps 500 of the 980 asked for: 480/980 of weight 2.
        let r = service().settle(Setting { depth: 9, ..SETTING }, &turn(1, 1, 1, 0)).unwrap();
        assert_eq!(r.components.quality, -979_592);
    }

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        let blind = Measurement { peak_temperature: None, ..turn(1, 1, 1, 0) };
        assert_eq!(service().settle(SETTING, &blind), Err(RewardError::NoTemperature));
        let unknown = Setting { depth: 13, ..SETTING };
        assert_eq!(service().settle(unknown, &turn(1, 1, 1, 0)), Err(RewardError::NoQuality));
        let broken = Service { hard_temperature: MilliCelsius(0), ..service() };
        assert_eq!(broken.settle(SETTING, &turn(1, 1, 1, 0)), Err(RewardError::EmptyRange("temperature")));
    }

    proptest! {
        #[test]
        fn hotter_is_never_better(tokens in 0u32..10_000, energy in any::<u32>(), response in 0u32..100, cool in 0i32..120_000, rise in 0i32..50_000) {
            let at = |peak| service().settle(SETTING, &turn(tokens, u64::from(energy), response, peak)).unwrap();
            prop_assert!(at(cool + rise).total <= at(cool).total);
        }

        #[test]
        fn less_energy_is_never_worse(tokens in 1u32..10_000, energy in any::<u32>(), more in any::<u32>()) {
            let at = |energy| service().settle(SETTING, &turn(tokens, energy, 1, 0)).unwrap();
            prop_assert!(at(u64::from(energy) + u64::from(more)).total <= at(u64::from(energy)).total);
        }
    }
}
