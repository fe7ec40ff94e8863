//! When did the fan run? No log says; the heat does.
//!
//! Over a window of rows the heat that neither came to rest in die and sink nor was there before must have gone to the
//! air: `conductance = (energy in - heat stored) / integral of (sink - ambient)`. Fan off and fan on differ by a factor
//! of three, far more than the noise of a one-minute window. The window classifies each row as on or off; the pooled
//! conductance of each run of rows then picks the nearest duty that the profile has measured.

use super::log::Log;
use super::phases::decode_watts;
use super::session::Times;
use firmware_sim::plant::{Profile, power};

/// Shortest window: this much time and this many rows.
const WINDOW_S: f64 = 60.0;
const WINDOW_ROWS: usize = 5;

/// Rows with one fan state.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Segment {
    /// First row, counted from 0 in the rows that were read.
    pub first: usize,
    /// One behind the last row.
    pub end: usize,
    /// Fan duty, one of the profile's measured points.
    pub pwm: u8,
    /// What the rows themselves say, sink to ambient, K/W.
    pub observed_k_per_w: f64,
    /// Replay against log over these rows: root mean square, K.
    pub rmse_k: f64,
    /// Replay minus log, mean, K.
    pub bias_k: f64,
}

/// Heat books of one row.
#[derive(Clone, Copy)]
struct Heat {
    duration_s: f64,
    energy_j: f64,
    sink_c: f64,
}

/// Finds the segments, without their replay errors. At least one; each at least one window long.
pub(super) fn infer(log: &Log, profile: &Profile, floor_scale: f64, ambient_c: f64, gaps_s: &[f64]) -> Vec<Segment> {
    let heat = heat_books(log, profile, floor_scale, gaps_s);
    let window = window_rows(&heat);
    let on_above = on_threshold(profile);
    let is_on = |row: usize| {
        let first = row.saturating_sub(window / 2).min(heat.len() - window);
        conductance(&heat[first..first + window], profile, ambient_c) > on_above
    };
    let states = drop_short_runs((0..heat.len()).map(is_on).collect(), window);

    let mut segments = Vec::new();
    let mut first = 0;
    for run in states.chunk_by(|a, b| a == b) {
        let end = first + run.len();
        let w_per_k = conductance(&heat[first..end], profile, ambient_c);
        let pwm = if run[0] { nearest_running_pwm(profile, w_per_k) } else { 0 };
        let observed_k_per_w = 1.0 / w_per_k;
        segments.push(Segment { first, end, pwm, observed_k_per_w, rmse_k: 0.0, bias_k: 0.0 });
        first = end;
    }
    segments
}

fn heat_books(log: &Log, profile: &Profile, floor_scale: f64, gaps_s: &[f64]) -> Vec<Heat> {
    let batches = f64::from(log.format.batches_per_row());
    let book = |(row, &gap_s): (&super::Row, &f64)| {
        let times = Times::of(row, profile, floor_scale);
        let die_c = row.temperature_c.unwrap_or(profile.power.leakage.reference_c);
        let prefill_j =
            times.prefill_s * power::prefill_watts(profile, profile.gpu_clock_khz[row.prefill_clock], die_c);
        let decode_w = decode_watts(log, row, profile, floor_scale);
        let duration_s = batches * (gap_s + row.latency_s);
        // The logged time at the predicted power: a throttled or disturbed row is longer than predicted.
        let decode_j = decode_w * (row.latency_s - times.prefill_s).max(0.0);
        let energy_j = batches * (gap_s * profile.power.idle_w + prefill_j + decode_j);
        Heat { duration_s, energy_j, sink_c: die_c - profile.thermal.die_to_sink_k_per_w * decode_w }
    };
    log.rows.iter().zip(gaps_s).map(book).collect()
}

fn window_rows(heat: &[Heat]) -> usize {
    let mean_s = heat.iter().map(|h| h.duration_s).sum::<f64>() / heat.len() as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number of rows")]
    let rows = (WINDOW_S / mean_s).ceil() as usize;
    rows.clamp(WINDOW_ROWS, heat.len())
}

/// Conductance sink to ambient over some rows, W/K, kept above zero. The stored heat comes from a straight line through
/// the temperatures, which uses every row and not the two noisy ends.
fn conductance(heat: &[Heat], profile: &Profile, ambient_c: f64) -> f64 {
    let capacity_j_per_k = profile.thermal.die_j_per_k + profile.thermal.sink_j_per_k;
    let duration_s: f64 = heat.iter().map(|h| h.duration_s).sum();
    let energy_j: f64 = heat.iter().map(|h| h.energy_j).sum();
    let lift_k_s: f64 = heat.iter().map(|h| h.duration_s * (h.sink_c - ambient_c)).sum();
    let stored_j = capacity_j_per_k * slope_k_per_s(heat) * duration_s;
    // A lift below 1 K on average says nothing about cooling; it then reads as strong cooling, not as a division by zero.
    ((energy_j - stored_j) / lift_k_s.max(duration_s)).clamp(0.05, 5.0)
}

fn slope_k_per_s(heat: &[Heat]) -> f64 {
    let mut now_s = 0.0;
    let times: Vec<f64> = heat
        .iter()
        .map(|h| {
            now_s += h.duration_s;
            now_s - h.duration_s / 2.0
        })
        .collect();
    let count = heat.len() as f64;
    let (mean_s, mean_c) = (times.iter().sum::<f64>() / count, heat.iter().map(|h| h.sink_c).sum::<f64>() / count);
    let spread: f64 = times.iter().map(|s| (s - mean_s) * (s - mean_s)).sum();
    let together: f64 = times.iter().zip(heat).map(|(s, h)| (s - mean_s) * (h.sink_c - mean_c)).sum();
    if spread > 0.0 { together / spread } else { 0.0 }
}

/// Half way, by ratio, between standing still and the slowest measured running duty.
fn on_threshold(profile: &Profile) -> f64 {
    let w_per_k = |place: usize| profile.fan.cooling.get(place).map(|point| 1.0 / point.sink_to_ambient_k_per_w);
    match (w_per_k(0), w_per_k(1)) {
        (Some(off), Some(on)) => (off * on).sqrt(),
        _ => f64::INFINITY,
    }
}

fn nearest_running_pwm(profile: &Profile, w_per_k: f64) -> u8 {
    let distance = |k_per_w: f64| (w_per_k * k_per_w).ln().abs();
    let running = profile.fan.cooling.iter().filter(|point| point.pwm > 0);
    running
        .min_by(|a, b| distance(a.sink_to_ambient_k_per_w).total_cmp(&distance(b.sink_to_ambient_k_per_w)))
        .map_or(0, |point| point.pwm)
}

/// A run shorter than the window that found it takes the state of the run before it, or after it at the start.
fn drop_short_runs(mut states: Vec<bool>, window: usize) -> Vec<bool> {
    let mut first = 0;
    while first < states.len() {
        let state = states[first];
        let length = states[first..].iter().take_while(|&&other| other == state).count();
        let end = first + length;
        if length < window && length < states.len() {
            let replacement = if first > 0 { states[first - 1] } else { states[end] };
            states[first..end].fill(replacement);
        }
        first = end;
    }
    states
}
