//! The numbers of one board: everything the plant knows about it.
//!
//! A profile is data. `models/boards/*.toml` holds one per board, each number marked *measured* (and where) or
//! *assumption*; [`Profile::agx_orin_hf`] is the same AGX Orin compiled in, for firmware that has no files.
//!
//! Units are in the field names. A field that ends in `_s_ghz` is a time that shrinks with the clock: divide it by the
//! GPU clock in GHz.

mod agx_orin;
mod check;

pub use check::ProfileError;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Most GPU clocks a profile may list.
pub const MAX_CLOCKS: usize = 16;
/// Most prompt-length tiles a profile may list.
pub const MAX_TILES: usize = 16;
/// Most points of a fan table.
pub const MAX_FAN_POINTS: usize = 8;

/// One board, one model and one runtime, as numbers. Run [`check`](Self::check) on a profile that came from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name, as in the file name: `agx-orin-hf`.
    pub name: String<32>,
    /// GPU clocks in kHz, ascending; an index into this table is what the controller chooses.
    pub gpu_clock_khz: Vec<u32, MAX_CLOCKS>,
    /// Time from writing a clock until it runs, s.
    pub actuation_delay_s: f64,
    /// Decoder layers of the whole model.
    pub layers: u32,
    /// How the launch floor shrinks with depth.
    pub depth: DepthScaling,
    /// Decode latency.
    pub decode: DecodeLatency,
    /// Prefill latency.
    pub prefill: PrefillLatency,
    /// Power of the rails.
    pub power: Power,
    /// The two thermal nodes.
    pub thermal: Thermal,
    /// Fan: cooling, vendor curve, consumption.
    pub fan: Fan,
    /// What the board does when it is too hot.
    pub throttle: Throttling,
    /// The junction temperature sensor.
    pub sensor: Sensor,
    /// Run-to-run spread.
    pub noise: Noise,
}

/// Launch-floor time against depth: proportional to `fixed_s + per_layer_s * depth`. The GPU term is proportional to
/// the depth itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthScaling {
    /// Part that does not depend on depth, s per 100 tokens.
    pub fixed_s: f64,
    /// One decoder layer, s per 100 tokens.
    pub per_layer_s: f64,
}

/// Decode latency of 100 tokens at full depth: [`decode_step_seconds`](super::latency::decode_step_seconds).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeLatency {
    /// Launch floor, s: what the CPU needs to launch the kernels, at any GPU clock.
    pub floor_s: f64,
    /// Change of the floor per sequence, s; may be negative.
    pub floor_per_sequence_s: f64,
    /// GPU work, s x GHz.
    pub gpu_s_ghz: f64,
    /// GPU work per sequence, s x GHz.
    pub gpu_per_sequence_s_ghz: f64,
    /// GPU time that does not shrink with the clock (memory), s.
    pub memory_s: f64,
    /// Exponent that joins floor and GPU term; infinity would be their maximum.
    pub sharpness: f64,
}

/// Prefill latency at full depth: [`prefill_seconds`](super::latency::prefill_seconds).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillLatency {
    /// Launch floor, s.
    pub floor_s: f64,
    /// Change of the floor per sequence, s.
    pub floor_per_sequence_s: f64,
    /// GPU time that does not shrink with the clock, s.
    pub memory_s: f64,
    /// Exponent that joins floor and GPU term.
    pub sharpness: f64,
    /// GPU work by number of prompt tokens: matrix kernels change shape at these edges. Ascending; a longer prompt
    /// continues the last line.
    pub tiles: Vec<Tile, MAX_TILES>,
}

/// GPU work of prompts of up to `max_tokens` tokens (batch x padded length).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// Longest prompt of this tile, tokens.
    pub max_tokens: u32,
    /// Work of the tile, s x GHz.
    pub base_s_ghz: f64,
    /// Work per prompt token, s x GHz.
    pub per_token_s_ghz: f64,
}

/// Power of the measured rails, W: [`power`](super::power).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Board waiting for work, GPU gated, W; taken not to depend on temperature.
    pub idle_w: f64,
    /// Decode.
    pub decode: DecodePower,
    /// Prefill.
    pub prefill: PrefillPower,
    /// What heat adds while the GPU is powered.
    pub leakage: Leakage,
}

/// Decode power at the leakage reference temperature; `f` in GHz, `t` seconds per 100 tokens, `r` generated tokens/s:
/// `base + clock f + clock_squared f^2 + launch / t + token r + token_clock r f`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodePower {
    /// Constant part, W.
    pub base_w: f64,
    /// W per GHz; may be negative.
    pub clock_w_per_ghz: f64,
    /// W per GHz squared.
    pub clock_squared_w_per_ghz2: f64,
    /// J per 100 decode steps.
    pub launch_j: f64,
    /// J per generated token.
    pub token_j: f64,
    /// J per generated token and GHz.
    pub token_clock_j_per_ghz: f64,
}

/// Prefill power, GPU saturated, at the leakage reference temperature: `base + clock f + clock_squared f^2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillPower {
    /// Constant part, W.
    pub base_w: f64,
    /// W per GHz.
    pub clock_w_per_ghz: f64,
    /// W per GHz squared.
    pub clock_squared_w_per_ghz2: f64,
}

/// Leakage relative to `reference_c`: two straight lines that meet at `knee_c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leakage {
    /// Die temperature at which the power fits hold as written, C.
    pub reference_c: f64,
    /// Where the slope changes, C.
    pub knee_c: f64,
    /// Slope below the knee, W/K.
    pub cool_w_per_k: f64,
    /// Slope above the knee, W/K.
    pub hot_w_per_k: f64,
}

/// Die and heat sink: [`thermal`](super::thermal).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thermal {
    /// Die and spreader, J/K.
    pub die_j_per_k: f64,
    /// Heat sink, J/K.
    pub sink_j_per_k: f64,
    /// Die to sink, K/W.
    pub die_to_sink_k_per_w: f64,
}

/// Fan: [`fan`](super::fan).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fan {
    /// Sink to ambient by duty, ascending, first at duty 0.
    pub cooling: Vec<CoolingPoint, MAX_FAN_POINTS>,
    /// Vendor curve by margin, ascending.
    pub vendor_curve: Vec<CurvePoint, MAX_FAN_POINTS>,
    /// Temperature that the vendor's margin counts down to, C.
    pub margin_to_c: f64,
    /// How often the vendor's daemon looks, s; a multiple of [`TICK_S`](super::TICK_S).
    pub vendor_period_s: f64,
    /// Speed at duty 255, rpm.
    pub full_rpm: f64,
    /// Electrical power at duty 255, W; cubic in duty. The fan is not on the measured rails.
    pub full_w: f64,
}

/// One measured point: thermal resistance sink to ambient at a duty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoolingPoint {
    /// Fan duty, 0..=255.
    pub pwm: u8,
    /// Sink to ambient, K/W.
    pub sink_to_ambient_k_per_w: f64,
}

/// One line of the vendor's fan table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Margin below [`Fan::margin_to_c`], K.
    pub margin_k: f64,
    /// Fan duty, 0..=255.
    pub pwm: u8,
}

/// Software throttling and the hardware's last word: [`throttle`](super::throttle).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttling {
    /// At or above this die temperature the cap falls one clock per period, C.
    pub onset_c: f64,
    /// Below this one the cap rises one clock per period, C.
    pub release_c: f64,
    /// Period, s; a multiple of [`TICK_S`](super::TICK_S).
    pub period_s: f64,
    /// At or above this die temperature the board switches itself off, C.
    pub shutdown_c: f64,
}

/// The junction temperature sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// Standard deviation of one reading, K.
    pub noise_sd_k: f64,
    /// Step of the reading, K.
    pub resolution_k: f64,
    /// Time constant of the reading behind the die, s.
    pub lag_s: f64,
}

/// Spread between equal runs, as factors around 1. Drawn once a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Standard deviation of decode time.
    pub decode_time_sd: f64,
    /// Standard deviation of decode power.
    pub decode_power_sd: f64,
    /// Standard deviation of prefill time.
    pub prefill_time_sd: f64,
    /// Probability that a prefill stalls, 0..=1.
    pub prefill_stall_probability: f64,
    /// What a stall adds, as a share of the prefill time.
    pub prefill_stall_share: f64,
}
