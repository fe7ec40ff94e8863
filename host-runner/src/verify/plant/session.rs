//! The one scalar that differs between sessions of one board, and the rows fit for comparison.
//!
//! The launch floor is CPU time: another process state, another Python, another power mode move it by a few percent,
//! and every decode with it. Published sessions: 1.00 (fan-on grid), 0.96 (fan-off grid, training), 0.98 (deployment),
//! 1.04 (early exit).

use super::log::{Log, LogError, Row, STEPS};
use super::{MIN_COMPARED, trajectory::golden_section};
use firmware_sim::plant::{Profile, latency};

/// Where the scalar is looked for; outside, it is not the same board and model.
const RANGE: (f64, f64) = (0.8, 1.3);
/// A result this near to an end of its range, as a share of it, ran into the end. The search stops at half a thousandth.
const EDGE_SHARE: f64 = 2e-3;
/// Below onset by this much heat may already cap the clock for part of a batch, K.
const NEAR_ONSET_K: f64 = 1.0;
/// A batch slower than this against the plant was disturbed, not slow. In four published logs the honest rows end at
/// 1.07 and the disturbed ones (another process, warming up) begin at 1.13.
const DISTURBED: f64 = 1.12;
/// Above this share disturbance would be a name for a wrong model; then no row is excused.
const MOST_DISTURBED: f64 = 0.10;

/// What became of the rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Session {
    pub floor_scale: f64,
    pub fitted: bool,
    /// By row: compare it?
    pub used: Vec<bool>,
    pub throttled: usize,
    pub disturbed: usize,
}

impl Session {
    /// The fit wanted to leave its range.
    pub(super) fn at_edge(&self) -> bool {
        self.fitted && is_at_edge(RANGE, self.floor_scale)
    }
}

pub(super) fn is_at_edge((low, high): (f64, f64), found: f64) -> bool {
    (found - low).min(high - found) < EDGE_SHARE * (high - low)
}

/// Predicted times of a row, s.
pub(super) struct Times {
    pub prefill_s: f64,
    pub decode_s: f64,
}

impl Times {
    pub(super) fn of(row: &Row, profile: &Profile, floor_scale: f64) -> Self {
        let clock = |index: usize| profile.gpu_clock_khz[index];
        let (prefill_khz, decode_khz) = (clock(row.prefill_clock), clock(row.decode_clock));
        Self {
            prefill_s: latency::prefill_seconds(profile, prefill_khz, row.batch, row.prompt_tokens, row.depth),
            decode_s: f64::from(STEPS)
                * latency::decode_step_seconds(profile, decode_khz, row.batch, row.depth, floor_scale),
        }
    }
}

/// Fits the scalar (unless given) to the decode time, or to the whole latency where the log has no decode time, by
/// least absolute relative error; then sets disturbed rows aside and fits once more.
pub(super) fn fit(log: &Log, profile: &Profile, given: Option<f64>) -> Result<Session, LogError> {
    let limit_c = profile.throttle.onset_c - NEAR_ONSET_K;
    let is_cool = |row: &Row| !log.measured_temperature || row.temperature_c.is_none_or(|c| c < limit_c);
    let cool: Vec<bool> = log.rows.iter().map(is_cool).collect();
    let throttled = cool.iter().filter(|&&cool| !cool).count();

    let fit_on =
        |used: &[bool]| given.unwrap_or_else(|| golden_section(RANGE, |scale| error(log, profile, used, scale)));
    let first = fit_on(&cool);
    let mut used = cool.clone();
    for (row, used) in log.rows.iter().zip(&mut used) {
        let (predicted, logged) = compared(row, profile, first);
        *used &= logged < DISTURBED * predicted;
    }
    let left = used.iter().filter(|&&used| used).count();
    let mut disturbed = log.rows.len() - throttled - left;
    if disturbed as f64 > MOST_DISTURBED * log.rows.len() as f64 {
        (used, disturbed) = (cool, 0);
    }
    let usable = log.rows.len() - throttled - disturbed;
    if usable < MIN_COMPARED {
        return Err(LogError::TooShort { usable, total: log.rows.len(), needed: MIN_COMPARED });
    }
    Ok(Session { floor_scale: fit_on(&used), fitted: given.is_none(), used, throttled, disturbed })
}

fn compared(row: &Row, profile: &Profile, floor_scale: f64) -> (f64, f64) {
    let times = Times::of(row, profile, floor_scale);
    match row.decode_s {
        Some(logged) => (times.decode_s, logged),
        None => (times.prefill_s + times.decode_s, row.latency_s),
    }
}

fn error(log: &Log, profile: &Profile, used: &[bool], floor_scale: f64) -> f64 {
    let rows = log.rows.iter().zip(used).filter(|&(_, &used)| used);
    rows.map(|(row, _)| {
        let (predicted, logged) = compared(row, profile, floor_scale);
        (predicted / logged).ln().abs()
    })
    .sum()
}
