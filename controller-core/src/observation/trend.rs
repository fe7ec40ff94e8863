//! The slope of the temperature, through the noise of its sensor.

use crate::division::{quotient, signed_quotient};
use crate::time::{Duration, Instant};
use crate::units::MilliCelsius;

/// Time constant of the filter behind the temperature slope. Long enough that 0.15 K of sensor
/// noise reads as 5 mK/s, short against the minutes that a heat sink takes.
pub const SLOPE_TIME_CONSTANT: Duration = Duration::from_secs(30);

/// Low-pass-filtered temperature; the distance of the present value from it is the slope times
/// the time constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trend {
    /// Micro-degrees Celsius.
    filtered_ucelsius: i64,
    latest: MilliCelsius,
    updated_at: Instant,
}

impl Trend {
    /// Of a first sample: flat.
    pub fn new(temperature: MilliCelsius, taken_at: Instant) -> Self {
        Self { filtered_ucelsius: ucelsius(temperature), latest: temperature, updated_at: taken_at }
    }

    /// Takes in a sample; one that is not newer than the last changes nothing.
    pub fn follow(&mut self, temperature: MilliCelsius, taken_at: Instant) {
        let elapsed = taken_at.since(self.updated_at).micros();
        if elapsed == 0 {
            return;
        }
        // Backward Euler: stable for any gap between samples. Of the lead, lead·tau / (dt + tau) is left, rounded up; the
        // product fits 64 bits below 600,000 °C.
        let now = ucelsius(temperature);
        let (lead, tau) = (now - self.filtered_ucelsius, SLOPE_TIME_CONSTANT.micros());
        let whole = elapsed.saturating_add(tau);
        let left = quotient(lead.unsigned_abs().saturating_mul(tau).saturating_add(whole - 1), whole);
        let left = i64::try_from(left).unwrap_or(0);
        self.filtered_ucelsius = if lead < 0 { now + left } else { now - left };
        self.latest = temperature;
        self.updated_at = taken_at;
    }

    /// Milli-kelvin per second.
    pub fn slope_mk_per_s(&self) -> i32 {
        let lead = ucelsius(self.latest) - self.filtered_ucelsius;
        let tau_ms = i64::try_from(SLOPE_TIME_CONSTANT.micros() / 1000).unwrap_or(i64::MAX);
        i32::try_from(signed_quotient(lead, tau_ms)).unwrap_or(if lead > 0 { i32::MAX } else { i32::MIN })
    }
}

/// Micro-degrees Celsius.
fn ucelsius(temperature: MilliCelsius) -> i64 {
    i64::from(temperature.0) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// `filtered + lead·dt / (dt + tau)`, the quotient towards zero.
        #[test]
        fn the_filter_steps_as_in_wider_numbers(first in -300_000i32..600_000, second in -300_000i32..600_000, micros in 1u64.., less in 0u32..64) {
            let elapsed = (micros >> less).max(1);
            let mut trend = Trend::new(MilliCelsius(first), Instant::ZERO);
            trend.follow(MilliCelsius(second), Instant::from_micros(elapsed));
            let (dt, lead) = (i128::from(elapsed), 1000 * i128::from(second - first));
            let step = lead * dt / (dt + i128::from(SLOPE_TIME_CONSTANT.micros()));
            prop_assert_eq!(i128::from(trend.filtered_ucelsius), 1000 * i128::from(first) + step);
        }
    }

    #[test]
    fn a_ramp_reads_as_its_slope() {
        let mut trend = Trend::new(MilliCelsius(40_000), Instant::ZERO);
        for second in 0..300u32 {
            let at = Instant::ZERO + Duration::from_secs(second);
            trend.follow(MilliCelsius(40_000 + 50 * i32::try_from(second).unwrap()), at);
        }
        assert!((48..=52).contains(&trend.slope_mk_per_s()), "{}", trend.slope_mk_per_s());
    }
}
