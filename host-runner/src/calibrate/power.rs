//! Power of the rails: the plant's own formulas, relative residuals.

use super::data::SweepRow;
use super::latency::{decode_s, prefill_s};
use super::{Part, fit_robustly};
use crate::fit::{FitError, Parameter};
use firmware_sim::plant::Profile;
use firmware_sim::plant::power::{Lag, decode_watts, logged_prefill_watts, prefill_watts};

const TOP_W: f64 = 1e4;

fn parameter(name: &'static str, start: f64, range: (f64, f64)) -> Parameter {
    Parameter { name, start, range }
}

fn decode_parameters(profile: &Profile) -> [Parameter; 6] {
    let decode = &profile.power.decode;
    [
        parameter("power.decode.base_w", decode.base_w, (1e-3, TOP_W)),
        parameter("power.decode.clock_w_per_ghz", decode.clock_w_per_ghz, (-TOP_W, TOP_W)),
        parameter("power.decode.clock_squared_w_per_ghz2", decode.clock_squared_w_per_ghz2, (0.0, TOP_W)),
        parameter("power.decode.launch_j", decode.launch_j, (0.0, TOP_W)),
        parameter("power.decode.token_j", decode.token_j, (0.0, TOP_W)),
        parameter("power.decode.token_clock_j_per_ghz", decode.token_clock_j_per_ghz, (0.0, TOP_W)),
    ]
}

fn set_decode(profile: &mut Profile, values: &[f64]) {
    let decode = &mut profile.power.decode;
    decode.base_w = values[0];
    decode.clock_w_per_ghz = values[1];
    decode.clock_squared_w_per_ghz2 = values[2];
    decode.launch_j = values[3];
    decode.token_j = values[4];
    decode.token_clock_j_per_ghz = values[5];
}

/// Predicted decode power of a row, W: at its temperature, or at the one that the profile's fit stands for.
pub(super) fn decode_w(profile: &Profile, row: &SweepRow) -> f64 {
    let khz = profile.gpu_clock_khz[row.decode_clock];
    let die_c = row.temperature_c.unwrap_or(profile.power.leakage.reference_c);
    let step_s = decode_s(profile, row) / f64::from(row.steps);
    decode_watts(profile, khz, row.batch, row.depth, step_s, die_c)
}

/// Fits the decode power and puts it into the profile. The leakage stays: a sweep at one temperature does not tell it.
///
/// # Errors
/// Too few rows at full depth.
pub fn fit_decode(rows: &[SweepRow], profile: &mut Profile) -> Result<Part, FitError> {
    let base = profile.clone();
    let places: Vec<usize> = (0..rows.len()).filter(|&place| rows[place].depth == base.layers).collect();
    let part = fit_robustly("decode power", &decode_parameters(&base), rows, &places, |values, row| {
        let mut trial = base.clone();
        set_decode(&mut trial, values);
        decode_w(&trial, row) / row.decode_w - 1.0
    })?;
    set_decode(profile, &part.fit.values());
    Ok(part)
}

/// Fits the prefill power where the rows have measured it; `None` for published grids, whose column is a lagging reading.
///
/// # Errors
/// Too few rows.
pub fn fit_prefill(rows: &[SweepRow], profile: &mut Profile) -> Result<Option<Part>, FitError> {
    let places: Vec<usize> = (0..rows.len()).filter(|&place| rows[place].prefill_w.is_some()).collect();
    if places.is_empty() {
        return Ok(None);
    }
    let base = profile.clone();
    let prefill = &base.power.prefill;
    let parameters = [
        parameter("power.prefill.base_w", prefill.base_w, (1e-3, TOP_W)),
        parameter("power.prefill.clock_w_per_ghz", prefill.clock_w_per_ghz, (-TOP_W, TOP_W)),
        parameter("power.prefill.clock_squared_w_per_ghz2", prefill.clock_squared_w_per_ghz2, (0.0, TOP_W)),
    ];
    let set = |profile: &mut Profile, values: &[f64]| {
        let prefill = &mut profile.power.prefill;
        prefill.base_w = values[0];
        prefill.clock_w_per_ghz = values[1];
        prefill.clock_squared_w_per_ghz2 = values[2];
    };
    let part = fit_robustly("prefill power", &parameters, rows, &places, |values, row| {
        let mut trial = base.clone();
        set(&mut trial, values);
        let die_c = row.temperature_c.unwrap_or(trial.power.leakage.reference_c);
        let khz = trial.gpu_clock_khz[row.prefill_clock];
        row.prefill_w.map_or(0.0, |measured| prefill_watts(&trial, khz, die_c) / measured - 1.0)
    })?;
    set(profile, &part.fit.values());
    Ok(Some(part))
}

/// Predicted energy of a row as its file counts it, J: with the prefill power of the plant, or, for a published grid, with
/// the lagging reading that its recorder took for it.
pub(super) fn energy_j(profile: &Profile, row: &SweepRow) -> f64 {
    let decode_w = decode_w(profile, row);
    let khz = profile.gpu_clock_khz[row.prefill_clock];
    let prefill_w = match row.prefill_w {
        Some(_) => prefill_watts(profile, khz, row.temperature_c.unwrap_or(profile.power.leakage.reference_c)),
        None => logged_prefill_watts(Lag::SameRow, decode_w, khz),
    };
    decode_w * decode_s(profile, row) + prefill_w * prefill_s(profile, row)
}
