//! A board profile from measurements: `energyllm calibrate`.
//!
//! Sweeps give latency and power, logs give heat and throttling. Each part is a least-squares problem of its own, since
//! each has its own data: decode time, prefill time, decode power, prefill power, heat. Every parameter comes with its
//! 95 % interval or the statement that the data do not identify it; then it keeps its starting value.
//!
//! | module | role |
//! |---|---|
//! | [`data`] | rows of sweeps, ours and published |
//! | [`latency`] | decode and prefill time |
//! | [`power`] | decode and prefill power |
//! | [`thermal`] | heat capacity, resistances and throttling from logs |
//! | [`trace`] | cool-down traces |
//! | [`halves`] | one half predicts the other |
//! | [`recover`] | are hidden parameters found again? |
//! | [`figure`] | residual plots |

pub mod data;
pub mod figure;
pub mod halves;
pub mod latency;
pub mod power;
pub mod recover;
pub mod thermal;
pub mod trace;

use crate::fit::{Estimate, Fit, FitError};
use crate::measure::percentile::median;
use data::SweepRow;
use firmware_sim::plant::Profile;

/// One part of a profile, fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `decode time`, `prefill time`, ...
    pub name: &'static str,
    /// What was found.
    pub fit: Fit,
    /// Rows that were fitted: places in the data.
    pub rows: Vec<usize>,
    /// Rows set aside as outliers.
    pub outliers: usize,
}

impl Part {
    /// The estimates that the data identify.
    pub fn identified(&self) -> impl Iterator<Item = &Estimate> {
        self.fit.estimates.iter().filter(|estimate| estimate.identified)
    }
}

/// Latency and power of a profile fitted to the rows of sweeps: the new profile and its parts.
///
/// # Errors
/// Too few rows for the parameters.
pub fn fit_sweep(rows: &[SweepRow], start: &Profile) -> Result<(Profile, Vec<Part>), FitError> {
    let mut profile = start.clone();
    let mut parts = vec![latency::fit_decode(rows, &mut profile)?, latency::fit_prefill(rows, &mut profile)?];
    parts.push(power::fit_decode(rows, &mut profile)?);
    if let Some(part) = power::fit_prefill(rows, &mut profile)? {
        parts.push(part);
    }
    Ok((profile, parts))
}

/// A residual this many robust standard deviations off is an accident (a stall, another process), not a measurement.
const OUTLIER: f64 = 5.0;

/// Fits, sets outliers aside, and fits again. `model(parameters, row)` is the residual of one row.
fn fit_robustly(
    name: &'static str,
    parameters: &[crate::fit::Parameter],
    rows: &[SweepRow],
    places: &[usize],
    model: impl Fn(&[f64], &SweepRow) -> f64,
) -> Result<Part, FitError> {
    let run = |places: &[usize]| {
        crate::fit::least_squares(parameters, |values| {
            places.iter().map(|&place| model(values, &rows[place])).collect()
        })
    };
    let first = run(places)?;
    let sizes: Vec<f64> = first.residuals.iter().map(|residual| residual.abs()).collect();
    // 1.4826 times the median size is the standard deviation of a normal spread.
    let limit = OUTLIER * 1.4826 * median(sizes).unwrap_or(0.0);
    let kept: Vec<usize> = places
        .iter()
        .zip(&first.residuals)
        .filter(|(_, residual)| residual.abs() <= limit.max(1e-12))
        .map(|(&place, _)| place)
        .collect();
    let outliers = places.len() - kept.len();
    let fit = if outliers > 0 { run(&kept)? } else { first };
    Ok(Part { name, fit, rows: kept, outliers })
}
