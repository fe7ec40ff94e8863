//! The figure of a run: temperature, clocks, batch, depth and energy over time.

use super::TurnRecord;
use crate::report::figure::{Figure, Line, Panel};

/// Turns over which the energy per token is averaged, so that single batches do not hide the trend.
const ENERGY_WINDOW: usize = 20;

/// One line per run in every panel; all times are the board's.
#[must_use]
pub fn of_runs(runs: &[(String, &[TurnRecord])], limit_c: f64, place: &str) -> Figure {
    let panel = |label: &str, steps: bool, value: &dyn Fn(&TurnRecord) -> f64| Panel {
        label: label.to_owned(),
        lines: runs
            .iter()
            .map(|(name, turns)| Line {
                name: name.clone(),
                points: turns.iter().map(|turn| (seconds(turn), value(turn))).collect(),
            })
            .collect(),
        limit: None,
        steps,
    };
    let mut temperature = panel("die, °C", false, &|turn| turn.die_c);
    temperature.limit = Some((limit_c, format!("limit {limit_c} °C")));
    let energy = Panel {
        label: "J/token".to_owned(),
        lines: runs.iter().map(|(name, turns)| Line { name: name.clone(), points: energy_per_token(turns) }).collect(),
        limit: None,
        steps: false,
    };
    let failed = runs.iter().filter_map(|(_, turns)| turns.iter().find(|turn| !turn.fan_working)).map(seconds);
    Figure {
        title: format!("energyllm run, simulated board: {place}"),
        time_label: "time on the board, s".to_owned(),
        panels: vec![
            temperature,
            panel("prefill, MHz", true, &|turn| f64::from(turn.step.setting.prefill.0) / 1000.0),
            panel("decode, MHz", true, &|turn| f64::from(turn.step.setting.decode.0) / 1000.0),
            panel("batch", true, &|turn| f64::from(turn.step.measurement.requests)),
            panel("layers", true, &|turn| f64::from(turn.step.setting.depth)),
            energy,
        ],
        mark: failed.min_by(f64::total_cmp).map(|at| (at, "fan fails".to_owned())),
    }
}

fn seconds(turn: &TurnRecord) -> f64 {
    turn.step.decided_at.micros() as f64 / 1e6
}

/// Energy per token over a sliding window of turns.
fn energy_per_token(turns: &[TurnRecord]) -> Vec<(f64, f64)> {
    let windows = turns.windows(ENERGY_WINDOW.min(turns.len().max(1)));
    windows
        .filter_map(|window| {
            let energy: u64 = window.iter().map(|turn| turn.step.measurement.energy.0).sum();
            let tokens: u64 = window.iter().map(|turn| u64::from(turn.step.measurement.generated_tokens)).sum();
            let last = window.last()?;
            (tokens > 0).then(|| (seconds(last), energy as f64 / 1e6 / tokens as f64))
        })
        .collect()
}
