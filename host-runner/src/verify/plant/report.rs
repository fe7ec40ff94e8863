//! What the comparison found: figures, limits, a table.

use super::fan_state::Segment;
use super::log::{Format, Log};
use super::phases;
use super::session::Session;
use super::trajectory::Trajectory;
use crate::measure::percentile::percentile;
use firmware_sim::plant::power::Lag;
use std::collections::BTreeMap;
use std::fmt;

/// Shortest first segment with the fan running that the temperature limit is applied to, rows.
const MIN_FAN_ON_ROWS: usize = 100;
/// Limit on the replayed temperature over such a segment, root mean square, K.
const TEMPERATURE_LIMIT_K: f64 = 0.5;
/// Above this error over all rows the replay does not explain the temperatures, K. The published logs stay below.
const UNEXPLAINED_K: f64 = 3.0;

/// Errors of one quantity, plant against log, in percent of the log.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Figure {
    /// Name with unit.
    pub quantity: &'static str,
    /// Rows compared.
    pub rows: usize,
    /// Mean absolute error.
    pub mape_pct: f64,
    /// Median absolute error.
    pub median_pct: f64,
    /// 95th percentile of the absolute error.
    pub p95_pct: f64,
    /// Mean error; positive: the plant says more than the log.
    pub bias_pct: f64,
    /// Limit on `mape_pct`, where there is one.
    pub limit_pct: Option<f64>,
}

impl Figure {
    /// From relative errors; `None` without any.
    pub(super) fn of(quantity: &'static str, errors: Vec<f64>) -> Option<Self> {
        if errors.is_empty() {
            return None;
        }
        let rows = errors.len();
        let bias = errors.iter().sum::<f64>() / rows as f64;
        let mut sizes = errors;
        for error in &mut sizes {
            *error = error.abs();
        }
        sizes.sort_by(f64::total_cmp);
        Some(Self {
            quantity,
            rows,
            mape_pct: 100.0 * sizes.iter().sum::<f64>() / rows as f64,
            median_pct: 100.0 * percentile(&sizes, 50.0)?,
            p95_pct: 100.0 * percentile(&sizes, 95.0)?,
            bias_pct: 100.0 * bias,
            limit_pct: None,
        })
    }

    fn passes(&self) -> bool {
        self.limit_pct.is_none_or(|limit| self.mape_pct <= limit)
    }
}

/// Rows that were not compared.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Why.
    pub reason: String,
    /// How many.
    pub rows: usize,
}

/// Everything `energyllm verify plant` prints.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PlantReport {
    /// What the log's header said.
    pub format: Format,
    /// Session scalar on the decode launch floor.
    pub floor_scale: f64,
    /// By quantity.
    pub rows: Vec<Figure>,
    /// Fan states found and how the temperature was met in each; empty without measured temperatures.
    pub segments: Vec<Segment>,
    /// Rows left out of `rows`, by reason.
    pub skipped: Vec<Skipped>,
    /// What was assumed or fitted, as sentences.
    pub notes: Vec<String>,
    /// The same numbers flat, name with unit to value.
    pub figures: BTreeMap<String, f64>,
    /// Every limit that applies is kept.
    pub pass: bool,
}

/// Limits on the mean absolute error, percent. Measured temperatures tell the fan-off grid from the fan-on one: it was
/// taken in another session, hot, and is held to the wider limits of a session that the profile was not fitted to.
fn limit_pct(format: Format, measured_temperature: bool, quantity: &str) -> Option<f64> {
    match (format, measured_temperature, quantity) {
        (Format::Training, _, "latency_s") | (Format::Grid, false, "decode_s" | "energy_j") => Some(1.0),
        (Format::Training, _, "energy_j") | (Format::Grid, true, "decode_s") => Some(1.5),
        // Repeats of one action in the deployment log spread by up to 1.4 %: no model meets 1.5.
        (Format::EarlyExit, _, "decode_s")
        | (Format::Deploy, _, "latency_s" | "energy_j")
        | (Format::Grid, true, "decode_power_w" | "energy_j") => Some(2.0),
        _ => None,
    }
}

pub(super) fn assemble(
    log: &Log,
    session: &Session,
    mut rows: Vec<Figure>,
    trajectory: Option<Trajectory>,
) -> PlantReport {
    for figure in &mut rows {
        figure.limit_pct = limit_pct(log.format, log.measured_temperature, figure.quantity);
    }
    let notes = notes(log, session, trajectory.as_ref());
    let mut figures = BTreeMap::from([("floor_scale".to_owned(), session.floor_scale)]);
    for figure in &rows {
        figures.insert(format!("{}_mape_pct", figure.quantity), figure.mape_pct);
        figures.insert(format!("{}_bias_pct", figure.quantity), figure.bias_pct);
    }
    if let Some(trajectory) = &trajectory {
        figures.insert("ambient_c".to_owned(), trajectory.ambient_c);
        figures.insert("temperature_rmse_k".to_owned(), trajectory.rmse_k);
    }
    let segments = trajectory.map(|trajectory| trajectory.segments).unwrap_or_default();
    if let Some(segment) = limited_segment(&segments) {
        figures.insert("temperature_fan_on_rmse_k".to_owned(), segment.rmse_k);
    }
    for (number, segment) in (1..).zip(&segments) {
        let Segment { first, end, pwm, observed_k_per_w, rmse_k, bias_k } = *segment;
        for (name, value) in [
            ("first_row", first as f64),
            ("rows", (end - first) as f64),
            ("fan_pwm", f64::from(pwm)),
            ("observed_k_per_w", observed_k_per_w),
            ("rmse_k", rmse_k),
            ("bias_k", bias_k),
        ] {
            figures.insert(format!("segment_{number}_{name}"), value);
        }
    }
    let pass = rows.iter().all(Figure::passes)
        && limited_segment(&segments).is_none_or(|segment| segment.rmse_k <= TEMPERATURE_LIMIT_K);
    PlantReport {
        format: log.format,
        floor_scale: session.floor_scale,
        rows,
        segments,
        skipped: skipped(log, session),
        notes,
        figures,
        pass,
    }
}

/// The segment that the temperature limit applies to: the first one, where nothing unlogged has happened before it.
fn limited_segment(segments: &[Segment]) -> Option<&Segment> {
    segments.first().filter(|segment| segment.pwm > 0 && segment.end - segment.first >= MIN_FAN_ON_ROWS)
}

fn skipped(log: &Log, session: &Session) -> Vec<Skipped> {
    let read = log.unreadable.iter().map(|(&reason, &rows)| (reason, rows));
    let session = [
        ("within 1 K of throttling: the clock that ran is not the one logged", session.throttled),
        ("more than 1.12 times slower than the plant: another process, or warming up", session.disturbed),
    ];
    let skipped = |(reason, rows): (&str, usize)| Skipped { reason: reason.to_owned(), rows };
    read.chain(session).filter(|&(_, rows)| rows > 0).map(skipped).collect()
}

fn notes(log: &Log, session: &Session, trajectory: Option<&Trajectory>) -> Vec<String> {
    let how = |fitted: bool| if fitted { "fitted to this log" } else { "as given" };
    let mut notes =
        vec![format!("session scalar on the launch floor: {:.4}, {}", session.floor_scale, how(session.fitted))];
    let at_edge = |what: &str| format!("the {what} is at the edge of the search: not to be trusted");
    if session.at_edge() {
        notes.push(at_edge("session scalar"));
    }
    if log.rows.iter().any(|row| row.energy_j.is_some()) {
        notes.push(format!(
            "energy counts prefill power as the log does: a lagged reading of the decode {}, not physics",
            match phases::lag(log) {
                Lag::SameRow => "of the same row",
                Lag::PreviousRow => "of the row before",
            }
        ));
    }
    match trajectory {
        Some(trajectory) => {
            notes.push(format!("room: {:.1} C, {}", trajectory.ambient_c, how(trajectory.ambient_fitted)));
            if trajectory.room_at_edge() {
                notes.push(at_edge("room"));
            }
            if trajectory.rmse_k > UNEXPLAINED_K {
                notes.push(format!(
                    "the temperatures are not explained, RMSE {:.1} K: rows out of order or missing, or an unlogged \
                     change of air",
                    trajectory.rmse_k
                ));
            }
            notes.push(format!(
                "idle before a batch: {:.2} s on average, {} batch(es) a row; logs hold no clock times",
                trajectory.gap_s,
                log.format.batches_per_row()
            ));
            notes.push(
                "fan state is not logged: inferred from the heat balance; temperature replayed open loop".to_owned(),
            );
        }
        None => notes.push(
            "temperature not compared: the column is absent or holds whole tenths only, so it is no sensor's mean"
                .to_owned(),
        ),
    }
    notes
}

impl fmt::Display for PlantReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:>6}{:>9}{:>9}{:>9}{:>9}{:>8}",
            "quantity", "rows", "MAPE %", "median %", "p95 %", "bias %", "limit %"
        )?;
        for figure in &self.rows {
            let Figure { quantity, rows, mape_pct, median_pct, p95_pct, bias_pct, limit_pct } = figure;
            let limit = limit_pct.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.1}"));
            let mark = if figure.passes() { "" } else { "  FAIL" };
            writeln!(
                f,
                "{quantity:<16}{rows:>6}{mape_pct:>9.2}{median_pct:>9.2}{p95_pct:>9.2}{bias_pct:>+9.2}{limit:>8}{mark}"
            )?;
        }
        if !self.segments.is_empty() {
            writeln!(
                f,
                "\n{:<16}{:>6}{:>15}{:>9}{:>9}{:>8}",
                "fan, rows", "pwm", "observed K/W", "RMSE K", "bias K", "limit K"
            )?;
        }
        for segment in &self.segments {
            let Segment { first, end, pwm, observed_k_per_w, rmse_k, bias_k } = segment;
            let limited = limited_segment(&self.segments) == Some(segment);
            let limit = if limited { format!("{TEMPERATURE_LIMIT_K:.1}") } else { "-".to_owned() };
            let mark = if limited && *rmse_k > TEMPERATURE_LIMIT_K { "  FAIL" } else { "" };
            let span = format!("{first}..{}", end - 1);
            writeln!(f, "{span:<16}{pwm:>6}{observed_k_per_w:>15.2}{rmse_k:>9.2}{bias_k:>+9.2}{limit:>8}{mark}")?;
        }
        writeln!(f)?;
        for Skipped { reason, rows } in &self.skipped {
            writeln!(f, "skipped {rows} rows: {reason}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        write!(f, "{}", if self.pass { "pass" } else { "FAIL" })
    }
}
