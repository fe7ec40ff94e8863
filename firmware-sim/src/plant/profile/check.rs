//! Is a profile a board that the plant can run?

use super::{Fan, Leakage, Noise, Profile, Thermal, Throttling};
use crate::plant::TICK_S;
use core::fmt;

/// What is wrong with a profile, by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// A list needs at least one entry.
    Empty(&'static str),
    /// A number must be finite and above zero.
    NotPositive(&'static str),
    /// A number must be finite.
    NotFinite(&'static str),
    /// A number must be finite and zero or above.
    Negative(&'static str),
    /// A list must rise from entry to entry.
    NotAscending(&'static str),
    /// A probability must lie in 0..=1.
    NotAProbability(&'static str),
    /// A period must be a whole number of plant ticks.
    NotATick(&'static str),
    /// The first cooling point must be at duty 0.
    NoCoolingAtRest,
    /// More duty must never cool less.
    CoolingFalls,
    /// Must hold: release < onset < shutdown.
    ThrottleOrder,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(field) => write!(f, "the profile's `{field}` is empty; give it at least one entry"),
            Self::NotPositive(field) => write!(f, "the profile's `{field}` must be a number above zero"),
            Self::NotFinite(field) => write!(f, "the profile's `{field}` must be a finite number"),
            Self::Negative(field) => write!(f, "the profile's `{field}` must be zero or above"),
            Self::NotAscending(field) => write!(f, "the profile's `{field}` must rise from entry to entry; sort it"),
            Self::NotAProbability(field) => write!(f, "the profile's `{field}` must lie between 0 and 1"),
            Self::NotATick(field) => {
                write!(f, "the profile's `{field}` must be a multiple of the plant's tick of {TICK_S} s")
            }
            Self::NoCoolingAtRest => {
                f.write_str("the profile's `fan.cooling` must begin at pwm 0: say how the sink cools without a fan")
            }
            Self::CoolingFalls => {
                f.write_str("the profile's `fan.cooling` must not cool less at a higher pwm; check the resistances")
            }
            Self::ThrottleOrder => f.write_str(
                "the profile's `throttle` must hold release_c < onset_c < shutdown_c; put the temperatures in order",
            ),
        }
    }
}

impl core::error::Error for ProfileError {}

impl Profile {
    /// Checks what the plant relies on: finite numbers, positive times and capacities, ascending tables, temperatures
    /// in order. The plant neither panics nor produces a NaN for a profile that passes.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn check(&self) -> Result<(), ProfileError> {
        ascending("gpu_clock_khz", self.gpu_clock_khz.iter().map(|&khz| f64::from(khz)))?;
        not_negative("actuation_delay_s", self.actuation_delay_s)?;
        positive("layers", f64::from(self.layers))?;
        not_negative("depth.fixed_s", self.depth.fixed_s)?;
        positive("depth.per_layer_s", self.depth.per_layer_s)?;
        self.check_latency()?;
        self.check_power()?;
        check_leakage(&self.power.leakage)?;
        check_thermal(&self.thermal)?;
        check_fan(&self.fan)?;
        check_throttle(&self.throttle)?;
        not_negative("sensor.noise_sd_k", self.sensor.noise_sd_k)?;
        positive("sensor.resolution_k", self.sensor.resolution_k)?;
        not_negative("sensor.lag_s", self.sensor.lag_s)?;
        check_noise(&self.noise)
    }

    fn check_latency(&self) -> Result<(), ProfileError> {
        positive("decode.floor_s", self.decode.floor_s)?;
        finite("decode.floor_per_sequence_s", self.decode.floor_per_sequence_s)?;
        positive("decode.gpu_s_ghz", self.decode.gpu_s_ghz)?;
        not_negative("decode.gpu_per_sequence_s_ghz", self.decode.gpu_per_sequence_s_ghz)?;
        not_negative("decode.memory_s", self.decode.memory_s)?;
        positive("decode.sharpness", self.decode.sharpness)?;
        positive("prefill.floor_s", self.prefill.floor_s)?;
        finite("prefill.floor_per_sequence_s", self.prefill.floor_per_sequence_s)?;
        not_negative("prefill.memory_s", self.prefill.memory_s)?;
        positive("prefill.sharpness", self.prefill.sharpness)?;
        ascending("prefill.tiles", self.prefill.tiles.iter().map(|tile| f64::from(tile.max_tokens)))?;
        for tile in &self.prefill.tiles {
            positive("prefill.tiles.base_s_ghz", tile.base_s_ghz)?;
            not_negative("prefill.tiles.per_token_s_ghz", tile.per_token_s_ghz)?;
        }
        Ok(())
    }

    fn check_power(&self) -> Result<(), ProfileError> {
        let (decode, prefill) = (&self.power.decode, &self.power.prefill);
        positive("power.idle_w", self.power.idle_w)?;
        positive("power.decode.base_w", decode.base_w)?;
        finite("power.decode.clock_w_per_ghz", decode.clock_w_per_ghz)?;
        not_negative("power.decode.clock_squared_w_per_ghz2", decode.clock_squared_w_per_ghz2)?;
        not_negative("power.decode.launch_j", decode.launch_j)?;
        not_negative("power.decode.token_j", decode.token_j)?;
        not_negative("power.decode.token_clock_j_per_ghz", decode.token_clock_j_per_ghz)?;
        positive("power.prefill.base_w", prefill.base_w)?;
        finite("power.prefill.clock_w_per_ghz", prefill.clock_w_per_ghz)?;
        not_negative("power.prefill.clock_squared_w_per_ghz2", prefill.clock_squared_w_per_ghz2)
    }
}

fn check_leakage(leakage: &Leakage) -> Result<(), ProfileError> {
    finite("power.leakage.reference_c", leakage.reference_c)?;
    finite("power.leakage.knee_c", leakage.knee_c)?;
    not_negative("power.leakage.cool_w_per_k", leakage.cool_w_per_k)?;
    not_negative("power.leakage.hot_w_per_k", leakage.hot_w_per_k)
}

fn check_thermal(thermal: &Thermal) -> Result<(), ProfileError> {
    positive("thermal.die_j_per_k", thermal.die_j_per_k)?;
    positive("thermal.sink_j_per_k", thermal.sink_j_per_k)?;
    positive("thermal.die_to_sink_k_per_w", thermal.die_to_sink_k_per_w)
}

fn check_fan(fan: &Fan) -> Result<(), ProfileError> {
    ascending("fan.cooling", fan.cooling.iter().map(|point| f64::from(point.pwm)))?;
    if fan.cooling.first().is_some_and(|point| point.pwm != 0) {
        return Err(ProfileError::NoCoolingAtRest);
    }
    for point in &fan.cooling {
        positive("fan.cooling.sink_to_ambient_k_per_w", point.sink_to_ambient_k_per_w)?;
    }
    if fan.cooling.windows(2).any(|pair| pair[1].sink_to_ambient_k_per_w > pair[0].sink_to_ambient_k_per_w) {
        return Err(ProfileError::CoolingFalls);
    }
    ascending("fan.vendor_curve", fan.vendor_curve.iter().map(|point| point.margin_k))?;
    finite("fan.margin_to_c", fan.margin_to_c)?;
    whole_ticks("fan.vendor_period_s", fan.vendor_period_s)?;
    not_negative("fan.full_rpm", fan.full_rpm)?;
    not_negative("fan.full_w", fan.full_w)
}

fn check_throttle(throttle: &Throttling) -> Result<(), ProfileError> {
    whole_ticks("throttle.period_s", throttle.period_s)?;
    finite("throttle.release_c", throttle.release_c)?;
    finite("throttle.shutdown_c", throttle.shutdown_c)?;
    if throttle.release_c < throttle.onset_c && throttle.onset_c < throttle.shutdown_c {
        Ok(())
    } else {
        Err(ProfileError::ThrottleOrder)
    }
}

fn check_noise(noise: &Noise) -> Result<(), ProfileError> {
    not_negative("noise.decode_time_sd", noise.decode_time_sd)?;
    not_negative("noise.decode_power_sd", noise.decode_power_sd)?;
    not_negative("noise.prefill_time_sd", noise.prefill_time_sd)?;
    not_negative("noise.prefill_stall_share", noise.prefill_stall_share)?;
    if (0.0..=1.0).contains(&noise.prefill_stall_probability) {
        Ok(())
    } else {
        Err(ProfileError::NotAProbability("noise.prefill_stall_probability"))
    }
}

fn finite(field: &'static str, value: f64) -> Result<(), ProfileError> {
    if value.is_finite() { Ok(()) } else { Err(ProfileError::NotFinite(field)) }
}

fn positive(field: &'static str, value: f64) -> Result<(), ProfileError> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(ProfileError::NotPositive(field)) }
}

fn not_negative(field: &'static str, value: f64) -> Result<(), ProfileError> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(ProfileError::Negative(field)) }
}

fn whole_ticks(field: &'static str, period_s: f64) -> Result<(), ProfileError> {
    positive(field, period_s)?;
    let ticks = period_s / TICK_S;
    // Exact on purpose: a tick is a power of two, so a true multiple divides without rounding.
    if libm::floor(ticks) < ticks { Err(ProfileError::NotATick(field)) } else { Ok(()) }
}

fn ascending(field: &'static str, values: impl Iterator<Item = f64>) -> Result<(), ProfileError> {
    let mut last = None;
    for value in values {
        not_negative(field, value)?;
        if last.is_some_and(|last| value <= last) {
            return Err(ProfileError::NotAscending(field));
        }
        last = Some(value);
    }
    if last.is_some() { Ok(()) } else { Err(ProfileError::Empty(field)) }
}
