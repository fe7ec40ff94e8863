//! The figure of a run: temperature, clocks, batch, depth and energy over time.

use super::TurnRecord;
use crate::report::figure::{Figure, Line, Panel};

/// Turns over which batch and energy per token are averaged, so that the chance of single batches
/// does not hide the trend.
const WINDOW: usize = 50;

/// One line per run in every panel; all times are the board's.
#[must_use]
pub fn of_runs(runs: &[(String, &[TurnRecord])], limit_c: f64, place: &str) -> Figure {
    let panel = |label: &str, steps: bool, value: &dyn Fn(&TurnRecord) -> Option<f64>| Panel {
        label: label.to_owned(),
        lines: runs
            .iter()
            .map(|(name, turns)| Line {
                name: name.clone(),
                points: turns.iter().filter_map(|turn| Some((seconds(turn), value(turn)?))).collect(),
            })
            .collect(),
        limit: None,
        steps,
    };
    let mut temperature = panel("die, °C", false, &|turn| turn.die_c);
    temperature.limit = Some((limit_c, format!("limit {limit_c} °C")));
    let sliding = |label: &str, value: &dyn Fn(&[TurnRecord]) -> Option<f64>| Panel {
        label: label.to_owned(),
        lines: runs.iter().map(|(name, turns)| Line { name: name.clone(), points: windowed(turns, value) }).collect(),
        limit: None,
        steps: false,
    };
    let failed = runs.iter().filter_map(|(_, turns)| turns.iter().find(|turn| !turn.fan_working)).map(seconds);
    Figure {
        title: format!("energyllm run, {place}"),
        time_label: "time on the board, s".to_owned(),
        panels: vec![
            temperature,
            panel("prefill, MHz", true, &|turn| Some(f64::from(turn.step.setting.prefill.0) / 1000.0)),
            panel("decode, MHz", true, &|turn| Some(f64::from(turn.step.setting.decode.0) / 1000.0)),
            sliding("batch (mean of 50)", &mean_batch),
            panel("layers", true, &|turn| Some(f64::from(turn.step.setting.depth))),
            sliding("J/token (over 50)", &energy_per_token),
        ],
        mark: failed.min_by(f64::total_cmp).map(|at| (at, "fan fails".to_owned())),
    }
}

fn seconds(turn: &TurnRecord) -> f64 {
    turn.step.decided_at.micros() as f64 / 1e6
}

/// A value over every window of turns, at the time of the last one.
fn windowed(turns: &[TurnRecord], value: &dyn Fn(&[TurnRecord]) -> Option<f64>) -> Vec<(f64, f64)> {
    let windows = turns.windows(WINDOW.min(turns.len().max(1)));
    windows.filter_map(|window| Some((seconds(window.last()?), value(window)?))).collect()
}

fn energy_per_token(window: &[TurnRecord]) -> Option<f64> {
    let window: Vec<&TurnRecord> = window.iter().filter(|turn| !turn.energy_unknown).collect();
    let energy: u64 = window.iter().map(|turn| turn.step.measurement.energy.0).sum();
    let tokens: u64 = window.iter().map(|turn| u64::from(turn.step.measurement.generated_tokens)).sum();
    (tokens > 0).then(|| energy as f64 / 1e6 / tokens as f64)
}

fn mean_batch(window: &[TurnRecord]) -> Option<f64> {
    let requests: u64 = window.iter().map(|turn| u64::from(turn.step.measurement.requests)).sum();
    (!window.is_empty()).then(|| requests as f64 / window.len() as f64)
}
