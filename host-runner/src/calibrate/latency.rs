//! Decode and prefill time: the plant's own formulas, relative residuals.

use super::data::SweepRow;
use super::{Part, fit_robustly};
use crate::fit::{FitError, Parameter};
use firmware_sim::plant::Profile;
use firmware_sim::plant::latency::{decode_step_seconds, prefill_seconds};

fn parameter(name: &'static str, start: f64, range: (f64, f64)) -> Parameter {
    Parameter { name, start, range }
}

/// Rows at full depth: less depth has a law of its own, which a sweep over clocks does not tell.
fn full_depth(rows: &[SweepRow], profile: &Profile) -> Vec<usize> {
    (0..rows.len()).filter(|&place| rows[place].depth == profile.layers).collect()
}

/// Parameters of the decode time, starting at a profile.
pub(super) fn decode_parameters(profile: &Profile) -> [Parameter; 6] {
    let decode = &profile.decode;
    [
        parameter("decode.floor_s", decode.floor_s, (1e-6, 600.0)),
        parameter("decode.floor_per_sequence_s", decode.floor_per_sequence_s, (-60.0, 60.0)),
        parameter("decode.gpu_s_ghz", decode.gpu_s_ghz, (1e-6, 600.0)),
        parameter("decode.gpu_per_sequence_s_ghz", decode.gpu_per_sequence_s_ghz, (0.0, 600.0)),
        parameter("decode.memory_s", decode.memory_s, (0.0, 600.0)),
        parameter("decode.sharpness", decode.sharpness, (1.0, 100.0)),
    ]
}

/// Writes them into a profile.
pub(super) fn set_decode(profile: &mut Profile, values: &[f64]) {
    let decode = &mut profile.decode;
    decode.floor_s = values[0];
    decode.floor_per_sequence_s = values[1];
    decode.gpu_s_ghz = values[2];
    decode.gpu_per_sequence_s_ghz = values[3];
    decode.memory_s = values[4];
    decode.sharpness = values[5];
}

/// Predicted decode time of a row, s.
pub(super) fn decode_s(profile: &Profile, row: &SweepRow) -> f64 {
    let khz = profile.gpu_clock_khz[row.decode_clock];
    f64::from(row.steps) * decode_step_seconds(profile, khz, row.batch, row.depth, 1.0)
}

/// Fits the decode time and puts it into the profile.
///
/// # Errors
/// Too few rows at full depth.
pub fn fit_decode(rows: &[SweepRow], profile: &mut Profile) -> Result<Part, FitError> {
    let base = profile.clone();
    let part =
        fit_robustly("decode time", &decode_parameters(&base), rows, &full_depth(rows, &base), |values, row| {
            let mut trial = base.clone();
            set_decode(&mut trial, values);
            (decode_s(&trial, row) / row.decode_s).ln()
        })?;
    set_decode(profile, &part.fit.values());
    Ok(part)
}

/// Names of the tiles' parameters, for as many tiles as a profile may have.
const BASES: [&str; 16] = [
    "prefill.tiles[0].base_s_ghz",
    "prefill.tiles[1].base_s_ghz",
    "prefill.tiles[2].base_s_ghz",
    "prefill.tiles[3].base_s_ghz",
    "prefill.tiles[4].base_s_ghz",
    "prefill.tiles[5].base_s_ghz",
    "prefill.tiles[6].base_s_ghz",
    "prefill.tiles[7].base_s_ghz",
    "prefill.tiles[8].base_s_ghz",
    "prefill.tiles[9].base_s_ghz",
    "prefill.tiles[10].base_s_ghz",
    "prefill.tiles[11].base_s_ghz",
    "prefill.tiles[12].base_s_ghz",
    "prefill.tiles[13].base_s_ghz",
    "prefill.tiles[14].base_s_ghz",
    "prefill.tiles[15].base_s_ghz",
];
const SLOPES: [&str; 16] = [
    "prefill.tiles[0].per_token_s_ghz",
    "prefill.tiles[1].per_token_s_ghz",
    "prefill.tiles[2].per_token_s_ghz",
    "prefill.tiles[3].per_token_s_ghz",
    "prefill.tiles[4].per_token_s_ghz",
    "prefill.tiles[5].per_token_s_ghz",
    "prefill.tiles[6].per_token_s_ghz",
    "prefill.tiles[7].per_token_s_ghz",
    "prefill.tiles[8].per_token_s_ghz",
    "prefill.tiles[9].per_token_s_ghz",
    "prefill.tiles[10].per_token_s_ghz",
    "prefill.tiles[11].per_token_s_ghz",
    "prefill.tiles[12].per_token_s_ghz",
    "prefill.tiles[13].per_token_s_ghz",
    "prefill.tiles[14].per_token_s_ghz",
    "prefill.tiles[15].per_token_s_ghz",
];

fn prefill_parameters(profile: &Profile) -> Vec<Parameter> {
    let prefill = &profile.prefill;
    let mut parameters = vec![
        parameter("prefill.floor_s", prefill.floor_s, (1e-6, 600.0)),
        parameter("prefill.floor_per_sequence_s", prefill.floor_per_sequence_s, (-60.0, 60.0)),
        parameter("prefill.memory_s", prefill.memory_s, (0.0, 600.0)),
        parameter("prefill.sharpness", prefill.sharpness, (1.0, 100.0)),
    ];
    for ((tile, base), slope) in prefill.tiles.iter().zip(BASES).zip(SLOPES) {
        parameters.push(parameter(base, tile.base_s_ghz, (1e-6, 600.0)));
        parameters.push(parameter(slope, tile.per_token_s_ghz, (0.0, 1.0)));
    }
    parameters
}

fn set_prefill(profile: &mut Profile, values: &[f64]) {
    let prefill = &mut profile.prefill;
    prefill.floor_s = values[0];
    prefill.floor_per_sequence_s = values[1];
    prefill.memory_s = values[2];
    prefill.sharpness = values[3];
    for (tile, pair) in prefill.tiles.iter_mut().zip(values[4..].chunks_exact(2)) {
        (tile.base_s_ghz, tile.per_token_s_ghz) = (pair[0], pair[1]);
    }
}

/// Predicted prefill time of a row, s.
pub(super) fn prefill_s(profile: &Profile, row: &SweepRow) -> f64 {
    let khz = profile.gpu_clock_khz[row.prefill_clock];
    prefill_seconds(profile, khz, row.batch, row.prompt_tokens, row.depth)
}

/// Fits the prefill time, tile by tile, and puts it into the profile. The edges of the tiles are kernels' and stay.
///
/// # Errors
/// Too few rows at full depth.
pub fn fit_prefill(rows: &[SweepRow], profile: &mut Profile) -> Result<Part, FitError> {
    let base = profile.clone();
    let part =
        fit_robustly("prefill time", &prefill_parameters(&base), rows, &full_depth(rows, &base), |values, row| {
            let mut trial = base.clone();
            set_prefill(&mut trial, values);
            (prefill_s(&trial, row) / row.prefill_s).ln()
        })?;
    set_prefill(profile, &part.fit.values());
    Ok(part)
}
