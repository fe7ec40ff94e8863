//! How long a phase takes, from clock, batch and depth.
//!
//! Both phases are a roofline: the CPU needs a *floor* to launch the kernels, at any GPU clock, and the GPU needs a time
//! that shrinks with its clock. The longer one sets the pace; near the knee they add up softly:
//! `t = (floor^q + gpu^q)^(1/q)`.
//!
//! Fitted to 3,872 settings of one AGX Orin (fan-on grid): decode within 0.85 % (mean absolute), prefill within 2.0 %.
//! Another session of the same board differs by one scalar on the decode floor, `floor_scale`: 0.96..1.05 seen.

use super::profile::{Profile, Tile};

/// Decode steps that the formulas' coefficients are written for.
pub const REFERENCE_STEPS: f64 = 100.0;

/// Seconds of one decode step: one more token for each of `sequences`.
///
/// `clock_khz` above 0; `sequences` below 1 counts as 1; `depth` is clamped to 1..=layers of the profile; `floor_scale`
/// is the session scalar, 1 for the session of the fit.
#[must_use]
pub fn decode_step_seconds(profile: &Profile, clock_khz: u32, sequences: u32, depth: u32, floor_scale: f64) -> f64 {
    let decode = &profile.decode;
    let batch = f64::from(sequences.max(1));
    let floor_s = (decode.floor_s + decode.floor_per_sequence_s * batch) * floor_scale * floor_share(profile, depth);
    let work_s_ghz = decode.gpu_s_ghz + decode.gpu_per_sequence_s_ghz * batch;
    let gpu_s = (work_s_ghz / ghz(clock_khz) + decode.memory_s) * layer_share(profile, depth);
    join(floor_s, gpu_s, decode.sharpness) / REFERENCE_STEPS
}

/// Seconds of one prefill of `sequences` prompts with `prompt_tokens` tokens in all, padding included (batch x padded
/// length). Depth scales it like decode: an assumption, the logs give prefill at less than full depth within 10 %.
#[must_use]
pub fn prefill_seconds(profile: &Profile, clock_khz: u32, sequences: u32, prompt_tokens: u32, depth: u32) -> f64 {
    let prefill = &profile.prefill;
    let batch = f64::from(sequences.max(1));
    let tile = prefill.tiles.iter().find(|tile| prompt_tokens <= tile.max_tokens).or(prefill.tiles.last());
    let work_s_ghz = tile.map_or(0.0, |tile: &Tile| tile.base_s_ghz + tile.per_token_s_ghz * f64::from(prompt_tokens));
    let floor_s = (prefill.floor_s + prefill.floor_per_sequence_s * batch) * floor_share(profile, depth);
    let gpu_s = (work_s_ghz / ghz(clock_khz) + prefill.memory_s) * layer_share(profile, depth);
    join(floor_s, gpu_s, prefill.sharpness)
}

/// Share of the whole model's layers that run at `depth`, above 0 and at most 1.
#[must_use]
pub fn layer_share(profile: &Profile, depth: u32) -> f64 {
    f64::from(depth.clamp(1, profile.layers)) / f64::from(profile.layers)
}

/// Share of the launch floor that is left at `depth`: 7.5 ms + 2.39 ms per layer and token on AGX Orin.
fn floor_share(profile: &Profile, depth: u32) -> f64 {
    let seconds = |layers: u32| profile.depth.fixed_s + profile.depth.per_layer_s * f64::from(layers);
    seconds(depth.clamp(1, profile.layers)) / seconds(profile.layers)
}

/// `(floor^q + gpu^q)^(1/q)`, scaled by the larger one so that no power overflows. A floor below zero (a profile with a
/// negative slope, far outside its batch range) counts as none.
fn join(floor_s: f64, gpu_s: f64, sharpness: f64) -> f64 {
    let (long, short) = if floor_s > gpu_s { (floor_s, gpu_s) } else { (gpu_s, floor_s.max(0.0)) };
    // Powers by logarithms: half the time of `pow`, and the last bits that they lose do not matter here.
    let power = libm::exp(sharpness * libm::log(short / long));
    long * libm::exp(libm::log1p(power) / sharpness)
}

/// Clock in GHz.
#[must_use]
pub fn ghz(clock_khz: u32) -> f64 {
    f64::from(clock_khz) / 1e6
}
