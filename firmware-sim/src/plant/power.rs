//! What the measured rails draw, W.
//!
//! Rails are those of the logs: `VDD_GPU_SOC`, `VDD_CPU_CV`, `VDDQ_VDD2_1V8AO`, `VIN_SYS_5V0`, summed. The fan is not
//! among them.
//!
//! Decode power is a fit to the same 3,872 settings as the latency (0.6 %, mean absolute). Prefill power is an
//! assumption: a prefill is shorter than the sensor's window, so the logs hold only a lagging mixture
//! ([`logged_prefill_watts`]) and no measurement of the phase itself.

use super::latency::{REFERENCE_STEPS, ghz, layer_share};
use super::profile::{Leakage, Profile};

/// Power while decoding; `step_s` is the time of one step at this clock ([`decode_step_seconds`]), `die_c` in C.
///
/// Below full depth the work per step, launches and arithmetic alike, is taken proportional to the layers that run: an
/// assumption, no log has power at less than full depth.
///
/// [`decode_step_seconds`]: super::latency::decode_step_seconds
#[must_use]
pub fn decode_watts(profile: &Profile, clock_khz: u32, sequences: u32, depth: u32, step_s: f64, die_c: f64) -> f64 {
    let decode = &profile.power.decode;
    let f = ghz(clock_khz);
    let tokens_per_s = f64::from(sequences.max(1)) / step_s;
    let work_w = decode.launch_j / (REFERENCE_STEPS * step_s)
        + tokens_per_s * (decode.token_j + decode.token_clock_j_per_ghz * f);
    decode.base_w
        + decode.clock_w_per_ghz * f
        + decode.clock_squared_w_per_ghz2 * f * f
        + work_w * layer_share(profile, depth)
        + leakage_watts(&profile.power.leakage, die_c)
}

/// Power while prefilling: the GPU is saturated, so only clock and temperature matter.
#[must_use]
pub fn prefill_watts(profile: &Profile, clock_khz: u32, die_c: f64) -> f64 {
    let prefill = &profile.power.prefill;
    let f = ghz(clock_khz);
    prefill.base_w
        + prefill.clock_w_per_ghz * f
        + prefill.clock_squared_w_per_ghz2 * f * f
        + leakage_watts(&profile.power.leakage, die_c)
}

/// What heat adds to (or, below the reference, takes from) the power fits, W.
#[must_use]
pub fn leakage_watts(leakage: &Leakage, die_c: f64) -> f64 {
    from_knee_watts(leakage, die_c) - from_knee_watts(leakage, leakage.reference_c)
}

fn from_knee_watts(leakage: &Leakage, die_c: f64) -> f64 {
    let above_k = die_c - leakage.knee_c;
    above_k * if above_k > 0.0 { leakage.hot_w_per_k } else { leakage.cool_w_per_k }
}

/// Which decode a logged prefill power still shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// The row's own: the best guess where rows are not in the order they were measured (fan-on grid, R2 0.88).
    SameRow,
    /// The row's predecessor, as the sensor does it (fan-off grid, R2 0.81).
    PreviousRow,
}

/// The prefill power *as the published logs hold it*, W: 75 % the decode power that the sensor still remembers
/// (`decode_w`, of the row that `lag` names). Emulates their recorder, to compare with them; it is not physics.
#[must_use]
pub fn logged_prefill_watts(lag: Lag, decode_w: f64, prefill_clock_khz: u32) -> f64 {
    let f = ghz(prefill_clock_khz);
    match lag {
        Lag::SameRow => 1.172 + 0.7509 * decode_w + 3.389 * f,
        Lag::PreviousRow => 3.93 + 0.649 * decode_w + 1.00 * f,
    }
}
