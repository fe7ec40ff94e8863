//! The temperature's way through the whole log, replayed open loop.
//!
//! The plant starts at the log's first temperature and then sees settings only, never a temperature again. Its reading
//! is made as the log's was: the plain mean of the prefill's and the decode's mean.

use super::fan_state::{self, Segment};
use super::log::{Log, STEPS};
use super::phases::decode_watts;
use super::session::is_at_edge;
use super::{Options, Row};
use firmware_sim::plant::{Conditions, Plant, Profile};
use std::ops::Range;

/// Rooms that a board may stand in, C: a winter shed to a closed cabinet.
const ROOM_C: (f64, f64) = (-10.0, 60.0);
/// Where the search for the room begins.
const USUAL_ROOM_C: f64 = 25.0;
/// How far a found switch of the fan may move to where the replay fits best, rows.
const NUDGE_ROWS: usize = 8;
/// Rounds of switches by room, room by switches.
const MAX_ROUNDS: usize = 8;

/// A replayed log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trajectory {
    pub ambient_c: f64,
    pub ambient_fitted: bool,
    pub gap_s: f64,
    pub segments: Vec<Segment>,
    /// Over all rows, K.
    pub rmse_k: f64,
}

impl Trajectory {
    /// The fit of the room wanted to leave its range.
    pub(super) fn room_at_edge(&self) -> bool {
        self.ambient_fitted && is_at_edge(ROOM_C, self.ambient_c)
    }
}

/// Replays a log with measured temperatures; `None` for one without.
pub(super) fn replay(log: &Log, profile: &Profile, floor_scale: f64, options: &Options) -> Option<Trajectory> {
    if !log.measured_temperature {
        return None;
    }
    let gap_of = |row: &Row| options.gap_s.or(row.gap_s).unwrap_or(log.format.default_gap_s());
    let gaps_s: Vec<f64> = log.rows.iter().map(gap_of).collect();
    let replay = Replay { log, profile, floor_scale, gaps_s: &gaps_s };

    let fit_room = |segments: &[Segment]| {
        options.ambient_c.unwrap_or_else(|| golden_section(ROOM_C, |c| square_sum(&replay.residuals_k(segments, c))))
    };
    let mut ambient_c = options.ambient_c.unwrap_or(USUAL_ROOM_C);
    let mut segments = Vec::new();
    // Switches and room depend on each other; they settle within a few rounds.
    for _ in 0..MAX_ROUNDS {
        let mut found = fan_state::infer(log, profile, floor_scale, ambient_c, &gaps_s);
        replay.nudge_switches(&mut found, ambient_c);
        let settled = spans(&found).eq(spans(&segments));
        segments = found;
        if settled {
            break;
        }
        ambient_c = fit_room(&segments);
    }
    let residuals_k = replay.residuals_k(&segments, ambient_c);
    for segment in &mut segments {
        let part = &residuals_k[segment.first..segment.end];
        segment.rmse_k = root_mean_square(part);
        segment.bias_k = part.iter().sum::<f64>() / part.len() as f64;
    }
    Some(Trajectory {
        ambient_c,
        ambient_fitted: options.ambient_c.is_none(),
        gap_s: gaps_s.iter().sum::<f64>() / gaps_s.len() as f64,
        rmse_k: root_mean_square(&residuals_k),
        segments,
    })
}

/// Replays rows at a fan duty from their own first reading. Replay minus log, by row, K.
pub(super) fn replay_alone(
    log: &Log,
    profile: &Profile,
    floor_scale: f64,
    options: &Options,
    (rows, pwm): (Range<usize>, u8),
    ambient_c: f64,
) -> Vec<f64> {
    let gap_of = |row: &Row| options.gap_s.or(row.gap_s).unwrap_or(log.format.default_gap_s());
    let gaps_s: Vec<f64> = log.rows.iter().map(gap_of).collect();
    let replay = Replay { log, profile, floor_scale, gaps_s: &gaps_s };
    let mut plant = replay.plant_at(rows.start, ambient_c);
    replay.run(&mut plant, rows, pwm)
}

struct Replay<'a> {
    log: &'a Log,
    profile: &'a Profile,
    floor_scale: f64,
    gaps_s: &'a [f64],
}

impl Replay<'_> {
    /// The board as the log begins: both nodes at the sink temperature that belongs to the first reading, since the die
    /// rises above it within seconds.
    fn plant(&self, ambient_c: f64) -> Plant {
        self.plant_at(0, ambient_c)
    }

    /// The same for a log that begins at `row`.
    fn plant_at(&self, row: usize, ambient_c: f64) -> Plant {
        let first = &self.log.rows[row];
        let decode_w = decode_watts(self.log, first, self.profile, self.floor_scale);
        let above_sink_k = self.profile.thermal.die_to_sink_k_per_w * decode_w;
        let conditions = Conditions {
            ambient_c,
            start_c: first.temperature_c.map_or(ambient_c, |c| c - above_sink_k),
            noise: false,
            vendor_fan: false,
            floor_scale: self.floor_scale,
            ..Conditions::default()
        };
        Plant::new(self.profile, conditions)
    }

    /// Runs some rows at a fan duty. Replay minus log, by row, K.
    fn run(&self, plant: &mut Plant, rows: Range<usize>, pwm: u8) -> Vec<f64> {
        plant.set_fan_pwm_floor(pwm);
        let batches = self.log.format.batches_per_row();
        let rows = self.log.rows[rows.clone()].iter().zip(&self.gaps_s[rows]);
        rows.map(|(row, &gap_s)| {
            let reading_c = run_row(plant, row, gap_s, batches);
            reading_c - row.temperature_c.unwrap_or(reading_c)
        })
        .collect()
    }

    fn residuals_k(&self, segments: &[Segment], ambient_c: f64) -> Vec<f64> {
        let mut plant = self.plant(ambient_c);
        segments.iter().flat_map(|segment| self.run(&mut plant, segment.first..segment.end, segment.pwm)).collect()
    }

    /// Moves each switch to the row, within reach, from which the replay up to the next switch fits best.
    fn nudge_switches(&self, segments: &mut [Segment], ambient_c: f64) {
        let mut plant = self.plant(ambient_c);
        for switch in 1..segments.len() {
            let (before, after) = (segments[switch - 1], segments[switch]);
            let low = after.first.saturating_sub(NUDGE_ROWS).max(before.first + 1);
            let high = (after.first + NUDGE_ROWS).min(after.end - 1);
            self.run(&mut plant, before.first..low, before.pwm);

            let cost = |row: usize| {
                let mut trial = plant.clone();
                let early = self.run(&mut trial, low..row, before.pwm);
                let late = self.run(&mut trial, row..after.end, after.pwm);
                square_sum(&early) + square_sum(&late)
            };
            let costs = (low..=high).map(|row| (cost(row), row));
            let (_, best) = costs.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, after.first));
            self.run(&mut plant, low..best, before.pwm);
            segments[switch - 1].end = best;
            segments[switch].first = best;
        }
    }
}

/// What a segment is, without what was observed in it.
fn spans(segments: &[Segment]) -> impl Iterator<Item = (usize, usize, u8)> {
    segments.iter().map(|segment| (segment.first, segment.end, segment.pwm))
}

fn run_row(plant: &mut Plant, row: &Row, gap_s: f64, batches: u32) -> f64 {
    let mut reading_c = plant.temperature_c();
    for _ in 0..batches {
        plant.set_gpu_clock(row.prefill_clock);
        plant.idle(gap_s);
        let prefill = plant.prefill(row.batch, row.prompt_tokens, row.depth);
        plant.set_gpu_clock(row.decode_clock);
        let decode = plant.decode(row.batch, STEPS, row.depth);
        reading_c = f64::midpoint(prefill.mean_temperature_c, decode.mean_temperature_c);
    }
    reading_c
}

fn square_sum(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

fn root_mean_square(values: &[f64]) -> f64 {
    (square_sum(values) / values.len().max(1) as f64).sqrt()
}

/// The lowest point of a function with one valley, to half a thousandth of the range. Deterministic.
#[must_use]
pub fn golden_section((mut low, mut high): (f64, f64), cost: impl Fn(f64) -> f64) -> f64 {
    const SHARE: f64 = 0.618_033_988_749_894_9;
    let stop = (high - low) * 5e-4;
    let (mut left, mut right) = (high - SHARE * (high - low), low + SHARE * (high - low));
    let (mut at_left, mut at_right) = (cost(left), cost(right));
    while high - low > stop {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - SHARE * (high - low);
            at_left = cost(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + SHARE * (high - low);
            at_right = cost(right);
        }
    }
    f64::midpoint(low, high)
}
