//! Is a profile a board that the plant can run?

use super::{Fan, Noise, Power, Profile};
use crate::plant::TICK_S;
use core::fmt;

/// What is wrong with a profile, by field.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ProfileError {
    /// The name is what records and file names carry.
    Name,
    /// A list needs at least one entry.
    Empty(&'static str),
    /// A number that no board has, or none at all.
    OutOfRange {
        /// The field.
        what: &'static str,
        /// Least value allowed.
        low: f64,
        /// Greatest value allowed.
        high: f64,
    },
    /// A list must rise from entry to entry.
    NotAscending(&'static str),
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
            Self::Name => f.write_str("the profile's `name` must be one or more printable characters; name the board"),
            Self::Empty(field) => write!(f, "the profile's `{field}` is empty; give it at least one entry"),
            Self::OutOfRange { what, low, high } => {
                write!(f, "the profile's `{what}` must lie between {low} and {high}; check its value and unit")
            }
            Self::NotAscending(field) => write!(f, "the profile's `{field}` must rise from entry to entry; sort it"),
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

/// What a number may be, both ends included. Wide enough for any board, narrow enough that every run ends.
type Range = (f64, f64);
/// Slower than 10 MHz or faster than 10 GHz no GPU runs.
const CLOCK_KHZ: Range = (1e4, 1e7);
const LAYERS: Range = (1.0, 512.0);
/// A duration that may be absent.
const SECONDS: Range = (0.0, 600.0);
/// A duration, or seconds x GHz, that must be there.
const SOME_SECONDS: Range = (1e-6, 600.0);
/// A change by sequence, in either direction.
const SLOPE_S: Range = (-60.0, 60.0);
/// Below 1 the two terms would join to more than their sum; above 100 the join is their maximum.
const SHARPNESS: Range = (1.0, 100.0);
const TOKENS: Range = (1.0, 1_048_576.0);
const WATTS: Range = (0.0, 1e4);
const SOME_WATTS: Range = (1e-3, 1e4);
/// W per GHz or GHz squared, in either direction.
const SIGNED_WATTS: Range = (-1e4, 1e4);
const JOULES: Range = (0.0, 1e4);
/// 10 W/K is more than any leakage; the plant takes it as constant within a tick.
const LEAKAGE_W_PER_K: Range = (0.0, 10.0);
const CELSIUS: Range = (-100.0, 300.0);
const KELVIN: Range = (0.0, 400.0);
const CAPACITY_J_PER_K: Range = (0.1, 1e6);
const RESISTANCE_K_PER_W: Range = (1e-3, 1e3);
const PWM: Range = (0.0, 255.0);
const RPM: Range = (0.0, 1e5);
const SENSOR_SD_K: Range = (0.0, 20.0);
const RESOLUTION_K: Range = (1e-6, 20.0);
/// A standard deviation relative to 1, a probability, a share.
const SHARE: Range = (0.0, 1.0);
/// A stall may last several times the prefill that it disturbs.
const STALL: Range = (0.0, 100.0);

impl Profile {
    /// Checks what the plant relies on: every number in a range that some board could have, ascending tables,
    /// temperatures in order. For a profile that passes the plant neither panics nor hangs nor produces a NaN.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(ProfileError::Name);
        }
        ascending("gpu_clock_khz", CLOCK_KHZ, self.gpu_clock_khz.iter().map(|&khz| f64::from(khz)))?;
        ranges(&[
            ("actuation_delay_s", self.actuation_delay_s, SECONDS),
            ("layers", f64::from(self.layers), LAYERS),
            ("depth.fixed_s", self.depth.fixed_s, SECONDS),
            ("depth.per_layer_s", self.depth.per_layer_s, SOME_SECONDS),
            ("thermal.die_j_per_k", self.thermal.die_j_per_k, CAPACITY_J_PER_K),
            ("thermal.sink_j_per_k", self.thermal.sink_j_per_k, CAPACITY_J_PER_K),
            ("thermal.die_to_sink_k_per_w", self.thermal.die_to_sink_k_per_w, RESISTANCE_K_PER_W),
            ("sensor.noise_sd_k", self.sensor.noise_sd_k, SENSOR_SD_K),
            ("sensor.resolution_k", self.sensor.resolution_k, RESOLUTION_K),
            ("sensor.lag_s", self.sensor.lag_s, SECONDS),
        ])?;
        self.check_latency()?;
        check_power(&self.power)?;
        check_fan(&self.fan)?;
        self.check_throttle()?;
        check_noise(&self.noise)
    }

    fn check_latency(&self) -> Result<(), ProfileError> {
        let (decode, prefill) = (&self.decode, &self.prefill);
        ranges(&[
            ("decode.floor_s", decode.floor_s, SOME_SECONDS),
            ("decode.floor_per_sequence_s", decode.floor_per_sequence_s, SLOPE_S),
            ("decode.gpu_s_ghz", decode.gpu_s_ghz, SOME_SECONDS),
            ("decode.gpu_per_sequence_s_ghz", decode.gpu_per_sequence_s_ghz, SECONDS),
            ("decode.memory_s", decode.memory_s, SECONDS),
            ("decode.sharpness", decode.sharpness, SHARPNESS),
            ("prefill.floor_s", prefill.floor_s, SOME_SECONDS),
            ("prefill.floor_per_sequence_s", prefill.floor_per_sequence_s, SLOPE_S),
            ("prefill.memory_s", prefill.memory_s, SECONDS),
            ("prefill.sharpness", prefill.sharpness, SHARPNESS),
        ])?;
        ascending("prefill.tiles", TOKENS, prefill.tiles.iter().map(|tile| f64::from(tile.max_tokens)))?;
        for tile in &prefill.tiles {
            ranges(&[
                ("prefill.tiles.base_s_ghz", tile.base_s_ghz, SOME_SECONDS),
                // A second a token at 1 GHz is slower than decoding it.
                ("prefill.tiles.per_token_s_ghz", tile.per_token_s_ghz, (0.0, 1.0)),
            ])?;
        }
        Ok(())
    }

    fn check_throttle(&self) -> Result<(), ProfileError> {
        let throttle = &self.throttle;
        ranges(&[
            ("throttle.period_s", throttle.period_s, (TICK_S, SECONDS.1)),
            ("throttle.onset_c", throttle.onset_c, CELSIUS),
            ("throttle.release_c", throttle.release_c, CELSIUS),
            ("throttle.shutdown_c", throttle.shutdown_c, CELSIUS),
        ])?;
        whole_ticks("throttle.period_s", throttle.period_s)?;
        if throttle.release_c < throttle.onset_c && throttle.onset_c < throttle.shutdown_c {
            Ok(())
        } else {
            Err(ProfileError::ThrottleOrder)
        }
    }
}

fn check_power(power: &Power) -> Result<(), ProfileError> {
    let Power { idle_w, decode, prefill, leakage } = power;
    ranges(&[
        ("power.idle_w", *idle_w, SOME_WATTS),
        ("power.decode.base_w", decode.base_w, SOME_WATTS),
        ("power.decode.clock_w_per_ghz", decode.clock_w_per_ghz, SIGNED_WATTS),
        ("power.decode.clock_squared_w_per_ghz2", decode.clock_squared_w_per_ghz2, WATTS),
        ("power.decode.launch_j", decode.launch_j, JOULES),
        ("power.decode.token_j", decode.token_j, JOULES),
        ("power.decode.token_clock_j_per_ghz", decode.token_clock_j_per_ghz, JOULES),
        ("power.prefill.base_w", prefill.base_w, SOME_WATTS),
        ("power.prefill.clock_w_per_ghz", prefill.clock_w_per_ghz, SIGNED_WATTS),
        ("power.prefill.clock_squared_w_per_ghz2", prefill.clock_squared_w_per_ghz2, WATTS),
        ("power.leakage.reference_c", leakage.reference_c, CELSIUS),
        ("power.leakage.knee_c", leakage.knee_c, CELSIUS),
        ("power.leakage.cool_w_per_k", leakage.cool_w_per_k, LEAKAGE_W_PER_K),
        ("power.leakage.hot_w_per_k", leakage.hot_w_per_k, LEAKAGE_W_PER_K),
    ])
}

fn check_fan(fan: &Fan) -> Result<(), ProfileError> {
    ascending("fan.cooling", PWM, fan.cooling.iter().map(|point| f64::from(point.pwm)))?;
    if fan.cooling.first().is_some_and(|point| point.pwm != 0) {
        return Err(ProfileError::NoCoolingAtRest);
    }
    for point in &fan.cooling {
        range("fan.cooling.sink_to_ambient_k_per_w", point.sink_to_ambient_k_per_w, RESISTANCE_K_PER_W)?;
    }
    if fan.cooling.windows(2).any(|pair| pair[1].sink_to_ambient_k_per_w > pair[0].sink_to_ambient_k_per_w) {
        return Err(ProfileError::CoolingFalls);
    }
    ascending("fan.vendor_curve", KELVIN, fan.vendor_curve.iter().map(|point| point.margin_k))?;
    ranges(&[
        ("fan.margin_to_c", fan.margin_to_c, CELSIUS),
        ("fan.vendor_period_s", fan.vendor_period_s, (TICK_S, SECONDS.1)),
        ("fan.full_rpm", fan.full_rpm, RPM),
        ("fan.full_w", fan.full_w, WATTS),
    ])?;
    whole_ticks("fan.vendor_period_s", fan.vendor_period_s)
}

fn check_noise(noise: &Noise) -> Result<(), ProfileError> {
    ranges(&[
        ("noise.decode_time_sd", noise.decode_time_sd, SHARE),
        ("noise.decode_power_sd", noise.decode_power_sd, SHARE),
        ("noise.prefill_time_sd", noise.prefill_time_sd, SHARE),
        ("noise.prefill_stall_probability", noise.prefill_stall_probability, SHARE),
        ("noise.prefill_stall_share", noise.prefill_stall_share, STALL),
    ])
}

fn ranges(fields: &[(&'static str, f64, Range)]) -> Result<(), ProfileError> {
    fields.iter().try_for_each(|&(what, value, allowed)| range(what, value, allowed))
}

/// A NaN lies in no range.
fn range(what: &'static str, value: f64, (low, high): Range) -> Result<(), ProfileError> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(ProfileError::OutOfRange { what, low, high }) }
}

fn whole_ticks(field: &'static str, period_s: f64) -> Result<(), ProfileError> {
    let ticks = period_s / TICK_S;
    // Exact on purpose: a tick is a power of two, so a true multiple divides without rounding.
    if libm::floor(ticks) < ticks { Err(ProfileError::NotATick(field)) } else { Ok(()) }
}

fn ascending(field: &'static str, allowed: Range, values: impl Iterator<Item = f64>) -> Result<(), ProfileError> {
    let mut last = None;
    for value in values {
        range(field, value, allowed)?;
        if last.is_some_and(|last| value <= last) {
            return Err(ProfileError::NotAscending(field));
        }
        last = Some(value);
    }
    if last.is_some() { Ok(()) } else { Err(ProfileError::Empty(field)) }
}
