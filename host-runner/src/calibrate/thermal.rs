//! Heat capacity, resistances and throttling from logs and cool-down traces.
//!
//! Each stretch of one fan state is replayed alone, from its own first reading, and never sees a temperature again. The
//! residuals of a replay hang together from row to row, so that they hold less information than their number; the
//! intervals are widened by `sqrt((1 + r) / (1 - r))` with the correlation `r` of neighbours.

use crate::fit::{Estimate, FitError, Parameter, least_squares};
use crate::verify::plant::{Segment, ThermalLog};
use firmware_sim::plant::Profile;

/// Shortest stretch that is fitted, rows.
const MIN_ROWS: usize = 20;
/// Limit on a stretch with the fan off, root mean square, K.
pub const LIMIT_K: f64 = 1.0;

/// One stretch, replayed with the fitted profile.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Stretch {
    /// Place of the log in the list given.
    pub log: usize,
    /// First row.
    pub first: usize,
    /// Rows.
    pub rows: usize,
    /// Fan duty as inferred.
    pub fan_pwm: u8,
    /// Before the fit, K.
    pub rmse_before_k: f64,
    /// After it, K.
    pub rmse_k: f64,
}

/// A fitted thermal part.
#[derive(Clone, Debug, PartialEq)]
pub struct ThermalFit {
    /// The profile with it.
    pub profile: Profile,
    /// Capacities, resistances.
    pub estimates: Vec<Estimate>,
    /// Where the module throttles; absent where no log reaches it.
    pub throttle_onset_c: Option<(f64, f64)>,
    /// Every stretch that is long enough.
    pub stretches: Vec<Stretch>,
    /// Residuals in order, K.
    pub residuals_k: Vec<f64>,
}

impl ThermalFit {
    /// Every stretch with the fan off within [`LIMIT_K`].
    #[must_use]
    pub fn pass(&self) -> bool {
        self.stretches.iter().filter(|stretch| stretch.fan_pwm == 0).all(|stretch| stretch.rmse_k <= LIMIT_K)
    }
}

/// Names of the resistances, by place in the fan table.
const RESISTANCES: [&str; 8] = [
    "fan.cooling[0].sink_to_ambient_k_per_w",
    "fan.cooling[1].sink_to_ambient_k_per_w",
    "fan.cooling[2].sink_to_ambient_k_per_w",
    "fan.cooling[3].sink_to_ambient_k_per_w",
    "fan.cooling[4].sink_to_ambient_k_per_w",
    "fan.cooling[5].sink_to_ambient_k_per_w",
    "fan.cooling[6].sink_to_ambient_k_per_w",
    "fan.cooling[7].sink_to_ambient_k_per_w",
];

/// Fits heat to the stretches of logs. Duties that no log shows keep their resistance.
///
/// # Errors
/// No stretch long enough.
pub fn fit_thermal(logs: &[ThermalLog], start: &Profile) -> Result<ThermalFit, FitError> {
    let stretches: Vec<(usize, &Segment)> = logs
        .iter()
        .enumerate()
        .flat_map(|(place, log)| log.segments.iter().map(move |segment| (place, segment)))
        .filter(|(_, segment)| segment.end - segment.first >= MIN_ROWS)
        .collect();
    let shown: Vec<usize> = (0..start.fan.cooling.len())
        .filter(|&place| stretches.iter().any(|(_, segment)| segment.pwm == start.fan.cooling[place].pwm))
        .collect();
    let thermal = &start.thermal;
    let positive = |name, value: f64, low: f64, high: f64| Parameter { name, start: value, range: (low, high) };
    let mut parameters = vec![
        positive("thermal.die_j_per_k", thermal.die_j_per_k, 1.0, 1e4),
        positive("thermal.sink_j_per_k", thermal.sink_j_per_k, 1.0, 1e5),
        positive("thermal.die_to_sink_k_per_w", thermal.die_to_sink_k_per_w, 1e-3, 10.0),
    ];
    parameters.extend(
        shown
            .iter()
            .map(|&place| positive(RESISTANCES[place], start.fan.cooling[place].sink_to_ambient_k_per_w, 0.05, 50.0)),
    );
    let with = |values: &[f64]| {
        let mut profile = start.clone();
        profile.thermal.die_j_per_k = values[0];
        profile.thermal.sink_j_per_k = values[1];
        profile.thermal.die_to_sink_k_per_w = values[2];
        for (&place, &value) in shown.iter().zip(&values[3..]) {
            profile.fan.cooling[place].sink_to_ambient_k_per_w = value;
        }
        profile
    };
    let residuals = |profile: &Profile, (place, segment): (usize, &Segment)| {
        let log = &logs[place];
        log.residuals_k(profile, segment, log.ambient_c)
    };
    let fit = least_squares(&parameters, |values| {
        let profile = with(values);
        stretches.iter().flat_map(|&stretch| residuals(&profile, stretch)).collect()
    })?;
    let profile = with(&fit.values());
    let widening = widening(&fit.residuals);
    let estimates = fit
        .estimates
        .iter()
        .map(|estimate| Estimate { half_width: estimate.half_width.map(|half| half * widening), ..estimate.clone() })
        .collect();
    let stretch = |&(log, segment): &(usize, &Segment)| Stretch {
        log,
        first: segment.first,
        rows: segment.end - segment.first,
        fan_pwm: segment.pwm,
        rmse_before_k: root_mean_square(&residuals(start, (log, segment))),
        rmse_k: root_mean_square(&residuals(&profile, (log, segment))),
    };
    Ok(ThermalFit {
        estimates,
        throttle_onset_c: throttle_onset_c(logs, start),
        stretches: stretches.iter().map(stretch).collect(),
        residuals_k: fit.residuals,
        profile,
    })
}

/// Slower than the plant at the clock asked for by this factor: throttled.
const THROTTLED: f64 = 1.08;
/// Fewest such rows that tell a temperature.
const MIN_THROTTLED: usize = 8;

/// The die stands at the onset while it throttles: median and spread of the hottest throttled rows, C.
fn throttle_onset_c(logs: &[ThermalLog], profile: &Profile) -> Option<(f64, f64)> {
    let readings = logs.iter().flat_map(|log| log.segments.iter().flat_map(|segment| log.readings(profile, segment)));
    let throttled: Vec<f64> = readings.filter(|&(_, slower)| slower > THROTTLED).map(|(c, _)| c).collect();
    let top = throttled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut plateau: Vec<f64> = throttled.into_iter().filter(|c| *c > top - 1.0).collect();
    if plateau.len() < MIN_THROTTLED {
        return None;
    }
    plateau.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
        let place = (share * (plateau.len() - 1) as f64) as usize;
        plateau[place]
    };
    Some((at(0.5), (at(0.975) - at(0.025)) / 2.0))
}

fn widening(residuals: &[f64]) -> f64 {
    let mean = residuals.iter().sum::<f64>() / residuals.len().max(1) as f64;
    let variance: f64 = residuals.iter().map(|r| (r - mean).powi(2)).sum();
    let together: f64 = residuals.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let r = (together / variance.max(1e-300)).clamp(0.0, 0.999);
    ((1.0 + r) / (1.0 - r)).sqrt()
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64).sqrt()
}
