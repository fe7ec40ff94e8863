//! One half of a sweep predicts the other.

use super::data::SweepRow;
use super::fit_sweep;
use super::latency::{decode_s, prefill_s};
use super::power::{decode_w, energy_j};
use super::recover;
use crate::fit::FitError;
use firmware_sim::plant::Profile;
use firmware_sim::plant::noise::Generator;

/// Mean absolute errors over the half that was not fitted, percent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Halves {
    /// Rows predicted.
    pub rows: usize,
    /// Decode time.
    pub decode_mape_pct: f64,
    /// Prefill time.
    pub prefill_mape_pct: f64,
    /// Decode power.
    pub decode_power_mape_pct: f64,
    /// Energy of both phases.
    pub energy_mape_pct: f64,
}

/// How far each starting value is off, as a share.
const START_OFF: f64 = 0.2;
/// Limit on decode time and energy, percent.
pub const LIMIT_PCT: f64 = 1.0;

impl Halves {
    /// Decode time and energy within [`LIMIT_PCT`].
    #[must_use]
    pub fn pass(&self) -> bool {
        self.decode_mape_pct <= LIMIT_PCT && self.energy_mape_pct <= LIMIT_PCT
    }
}

/// Draws half of the rows, fits a profile to them from `start`, and predicts the others.
///
/// # Errors
/// Too few rows.
pub fn predict_other_half(rows: &[SweepRow], start: &Profile, seed: u64) -> Result<Halves, FitError> {
    let mut generator = Generator::new(seed);
    let mut order: Vec<(f64, usize)> = (0..rows.len()).map(|place| (generator.uniform(), place)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (fitted, held) = order.split_at(rows.len() / 2);
    let pick = |half: &[(f64, usize)]| half.iter().map(|&(_, place)| rows[place].clone()).collect::<Vec<_>>();
    // The shipped profile has seen the whole published grid. The start knows nothing of it: every number is off.
    let (profile, _) = fit_sweep(&pick(fitted), &recover::spoiled(start, &mut generator, START_OFF))?;
    let held = pick(held);
    let mape = |predict: fn(&Profile, &SweepRow) -> f64, measured: fn(&SweepRow) -> f64| {
        let errors = held.iter().map(|row| (predict(&profile, row) / measured(row) - 1.0).abs());
        100.0 * errors.sum::<f64>() / held.len() as f64
    };
    Ok(Halves {
        rows: held.len(),
        decode_mape_pct: mape(decode_s, |row| row.decode_s),
        prefill_mape_pct: mape(prefill_s, |row| row.prefill_s),
        decode_power_mape_pct: mape(decode_w, |row| row.decode_w),
        energy_mape_pct: mape(energy_j, |row| row.energy_j),
    })
}
