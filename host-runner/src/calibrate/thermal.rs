//! Heat capacity, resistances and throttling from logs and cool-down traces.
//!
//! Each stretch of one fan state is replayed alone, from its own first reading, and never sees a temperature again. Where one
//! resistance to the air does not explain it, it is cut: published logs have changes of the air that nobody wrote down. The
//! residuals of a replay hang together from row to row, so that they hold less information than their number; the
//! intervals are widened by `sqrt((1 + r) / (1 - r))` with the correlation `r` of neighbours.

use super::trace::Trace;
use crate::fit::{Estimate, FitError, Parameter, least_squares};
use crate::measure::percentile::percentile;
use crate::verify::plant::{Segment, ThermalLog, golden_section};
use firmware_sim::plant::Profile;

/// Shortest stretch that is fitted, rows.
const MIN_ROWS: usize = 20;
/// A stretch whose own resistance still leaves this much, K, is cut in two where that helps most: nobody logged the air.
const CUT_ABOVE_K: f64 = 0.7;
/// Places where a cut is tried.
const CUTS: usize = 16;
/// Resistances that a heat sink may have, K/W.
const RESISTANCE: (f64, f64) = (0.1, 12.0);
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
    /// Sink to ambient over this stretch alone, K/W.
    pub k_per_w: f64,
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
/// Names of the resistances of single stretches, which are nobody's numbers but the stretch's.
const OF_STRETCH: &str = "resistance of a stretch";

/// Where temperatures come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A log of batches.
    Log(ThermalLog),
    /// Temperature over time at a known power.
    Trace(Trace),
}

/// The die answers within this, s; only what is sampled faster can tell its capacity.
const DIE_S: f64 = 2.0;

impl Source {
    fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Log(log) => log.segments.clone(),
            Self::Trace(trace) => trace.segments(),
        }
    }

    fn residuals_k(&self, profile: &Profile, segment: &Segment) -> Vec<f64> {
        match self {
            Self::Log(log) => log.residuals_k(profile, segment, log.ambient_c),
            Self::Trace(trace) => trace.residuals_k(profile, segment.first..segment.end),
        }
    }

    /// Temperatures with how much slower than the plant the board ran then; a trace has no batches.
    fn readings(&self, profile: &Profile) -> Vec<(f64, f64)> {
        match self {
            Self::Log(log) => log.segments.iter().flat_map(|segment| log.readings(profile, segment)).collect(),
            Self::Trace(_) => Vec::new(),
        }
    }

    fn shows_the_die(&self) -> bool {
        matches!(self, Self::Trace(trace) if trace.spacing_s() < DIE_S)
    }
}

/// A stretch with what surrounds it.
#[derive(Clone, Copy)]
struct Piece<'a> {
    place: usize,
    source: &'a Source,
    segment: Segment,
}

impl Piece<'_> {
    /// Replay minus log with another resistance at its duty, K.
    fn residuals(&self, profile: &Profile, k_per_w: f64) -> Vec<f64> {
        let mut profile = profile.clone();
        if let Some(point) = profile.fan.cooling.iter_mut().find(|point| point.pwm == self.segment.pwm) {
            point.sink_to_ambient_k_per_w = k_per_w;
        }
        self.source.residuals_k(&profile, &self.segment)
    }

    /// The resistance that fits best, and what it leaves, K.
    fn best(&self, profile: &Profile) -> (f64, f64) {
        let cost = |ln: f64| square_sum(&self.residuals(profile, ln.exp()));
        let k_per_w = golden_section((RESISTANCE.0.ln(), RESISTANCE.1.ln()), cost).exp();
        (k_per_w, root_mean_square(&self.residuals(profile, k_per_w)))
    }

    fn part(&self, first: usize, end: usize) -> Self {
        Self { segment: Segment { first, end, ..self.segment }, ..*self }
    }

    /// Itself, or its parts where one resistance does not explain it.
    fn cut(self, profile: &Profile) -> Vec<Self> {
        let Segment { first, end, .. } = self.segment;
        let rows = end - first;
        if rows < 2 * MIN_ROWS || self.best(profile).1 <= CUT_ABOVE_K {
            return vec![self];
        }
        let step = ((rows - 2 * MIN_ROWS) / CUTS).max(1);
        let halves = (first + MIN_ROWS..=end - MIN_ROWS).step_by(step).map(|at| {
            let (left, right) = (self.part(first, at), self.part(at, end));
            let left_cost = left.best(profile).1.powi(2) * (at - first) as f64;
            (left_cost + right.best(profile).1.powi(2) * (end - at) as f64, at)
        });
        let Some((_, at)) = halves.min_by(|a, b| a.0.total_cmp(&b.0)) else { return vec![self] };
        [self.part(first, at), self.part(at, end)].into_iter().flat_map(|part| part.cut(profile)).collect()
    }
}

/// Fits heat to the stretches of logs. Duties that no log shows keep their resistance.
///
/// Each stretch has a resistance of its own, since the air around a board changes and nobody logs it; what they share is
/// the heat sink. The capacity of the die is kept but for traces that are fast enough: it follows the sink within seconds,
/// and rows of logs are that far apart.
///
/// # Errors
/// No stretch long enough.
pub fn fit_thermal(sources: &[Source], start: &Profile) -> Result<ThermalFit, FitError> {
    let pieces: Vec<Piece> = sources
        .iter()
        .enumerate()
        .flat_map(|(place, source)| source.segments().into_iter().map(move |segment| Piece { place, source, segment }))
        .filter(|piece| piece.segment.end - piece.segment.first >= MIN_ROWS)
        .flat_map(|piece| piece.cut(start))
        .collect();
    let thermal = &start.thermal;
    let die_range =
        if sources.iter().any(Source::shows_the_die) { (0.1, 1e4) } else { (thermal.die_j_per_k, thermal.die_j_per_k) };
    let mut parameters = vec![
        Parameter { name: "thermal.die_j_per_k", start: thermal.die_j_per_k, range: die_range },
        Parameter { name: "thermal.sink_j_per_k", start: thermal.sink_j_per_k, range: (1.0, 1e5) },
        Parameter { name: "thermal.die_to_sink_k_per_w", start: thermal.die_to_sink_k_per_w, range: (1e-3, 2.0) },
    ];
    parameters.extend(pieces.iter().map(|piece| Parameter {
        name: OF_STRETCH,
        start: piece.best(start).0,
        range: RESISTANCE,
    }));
    let with = |values: &[f64]| {
        let mut profile = start.clone();
        profile.thermal.die_j_per_k = values[0];
        profile.thermal.sink_j_per_k = values[1];
        profile.thermal.die_to_sink_k_per_w = values[2];
        profile
    };
    let fit = least_squares(&parameters, |values| {
        let profile = with(values);
        pieces.iter().zip(&values[3..]).flat_map(|(piece, &k_per_w)| piece.residuals(&profile, k_per_w)).collect()
    })?;
    let values = fit.values();
    let mut profile = with(&values);
    let widening = widening(&fit.residuals);
    let mut estimates: Vec<Estimate> = fit.estimates[..3]
        .iter()
        .map(|estimate| Estimate { half_width: estimate.half_width.map(|half| half * widening), ..estimate.clone() })
        .collect();
    estimates.extend(resistances(&pieces, &values[3..], &mut profile));
    let stretch = |(piece, &k_per_w): (&Piece, &f64)| Stretch {
        log: piece.place,
        first: piece.segment.first,
        rows: piece.segment.end - piece.segment.first,
        fan_pwm: piece.segment.pwm,
        k_per_w,
        rmse_before_k: root_mean_square(&piece.source.residuals_k(start, &piece.segment)),
        rmse_k: root_mean_square(&piece.residuals(&profile, k_per_w)),
    };
    Ok(ThermalFit {
        estimates,
        throttle_onset_c: throttle_onset_c(sources, start),
        stretches: pieces.iter().zip(&values[3..]).map(stretch).collect(),
        residuals_k: fit.residuals,
        profile,
    })
}

/// One resistance per duty from those of its stretches: their mean, each weighted by its rows, with their spread as the
/// interval. It is the changing air that spreads them, not the noise of the sensor.
fn resistances(pieces: &[Piece], values: &[f64], profile: &mut Profile) -> Vec<Estimate> {
    let mut estimates = Vec::new();
    for (point, name) in profile.fan.cooling.iter_mut().zip(RESISTANCES) {
        let own = pieces.iter().zip(values).filter(|(piece, _)| piece.segment.pwm == point.pwm);
        let own: Vec<(f64, f64)> =
            own.map(|(piece, &value)| ((piece.segment.end - piece.segment.first) as f64, value)).collect();
        let rows: f64 = own.iter().map(|(rows, _)| rows).sum();
        if own.is_empty() {
            let value = point.sink_to_ambient_k_per_w;
            estimates.push(Estimate { name, value, half_width: None, identified: false });
            continue;
        }
        let mean = own.iter().map(|(rows, value)| rows * value).sum::<f64>() / rows;
        let spread = (own.iter().map(|(rows, value)| rows * (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
        point.sink_to_ambient_k_per_w = mean;
        let half_width = (own.len() > 1).then_some(1.96 * spread);
        estimates.push(Estimate { name, value: mean, half_width, identified: true });
    }
    // More duty never cools less: a duty that no log shows follows its neighbour if it must.
    for place in 1..profile.fan.cooling.len() {
        let before = profile.fan.cooling[place - 1].sink_to_ambient_k_per_w;
        let point = &mut profile.fan.cooling[place];
        point.sink_to_ambient_k_per_w = point.sink_to_ambient_k_per_w.min(before);
    }
    estimates
}

/// Slower than the plant at the clock asked for by this factor: throttled.
const THROTTLED: f64 = 1.08;
/// Fewest such rows that tell a temperature.
const MIN_THROTTLED: usize = 8;

/// The die stands at the onset while it throttles: median and spread of the hottest throttled rows, C.
fn throttle_onset_c(sources: &[Source], profile: &Profile) -> Option<(f64, f64)> {
    let readings = sources.iter().flat_map(|source| source.readings(profile));
    let throttled: Vec<f64> = readings.filter(|&(_, slower)| slower > THROTTLED).map(|(c, _)| c).collect();
    let top = throttled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut plateau: Vec<f64> = throttled.into_iter().filter(|c| *c > top - 1.0).collect();
    if plateau.len() < MIN_THROTTLED {
        return None;
    }
    plateau.sort_by(f64::total_cmp);
    let at = |percent: f64| percentile(&plateau, percent);
    Some((at(50.0)?, (at(97.5)? - at(2.5)?) / 2.0))
}

fn widening(residuals: &[f64]) -> f64 {
    let mean = residuals.iter().sum::<f64>() / residuals.len().max(1) as f64;
    let variance: f64 = residuals.iter().map(|r| (r - mean).powi(2)).sum();
    let together: f64 = residuals.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let r = (together / variance.max(1e-300)).clamp(0.0, 0.999);
    ((1.0 + r) / (1.0 - r)).sqrt()
}

fn square_sum(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

fn root_mean_square(values: &[f64]) -> f64 {
    (square_sum(values) / values.len().max(1) as f64).sqrt()
}
