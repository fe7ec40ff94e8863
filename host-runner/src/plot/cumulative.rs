//! Energy and regret over evaluations. The optimum is a real one: the best that any action would have earned in that very
//! step, from the file where a search on the simulated board wrote it, else from the plant at the temperature of the row.

use super::PlotError;
use crate::dataset::table::{LATENCY, Table};
use crate::eval::prototype::log::TrainingLog;
use crate::eval::prototype::table::Table as Plant;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Shape};
use firmware_sim::plant::Profile;

/// Columns of a training log that tell its reward.
const RANGES: [&str; 6] =
    ["throughput_min", "throughput_max", "edp_efficiency_min", "edp_efficiency_max", "energy_min", "energy_max"];

/// One way of going through settings.
struct Run {
    name: String,
    /// Per evaluation: energy, reward, best possible reward.
    steps: Vec<(f64, f64, f64)>,
}

/// A training log whose optimum can be found. Logs of our own trainings, known by their column `role`, have other rewards
/// and a board that the published actions do not describe.
#[must_use]
pub fn is_log(table: &Table) -> bool {
    let has = |name: &&str| table.column(name).is_some();
    table.text("role").is_none()
        && RANGES.iter().all(has)
        && ["temperature", "reward", "energy"].iter().all(has)
        && table.any(LATENCY).is_some()
}

/// The figure.
pub fn sheet(table: &Table) -> Result<Sheet, PlotError> {
    let (runs, optimum) = if table.column("best_reward").is_some() {
        (searches(table), "of the simulated board, noise off")
    } else {
        (vec![log(table)?], "of the plant at the row's temperature")
    };
    let window = runs.iter().map(|run| run.steps.len()).max().unwrap_or(0) / 20;
    let axis = || Axis::new("evaluation");
    let mut panels = vec![
        Panel::new("Energy spent", axis(), Axis::new("kJ").from_zero()),
        Panel::new("Regret: best reward less the one had, summed", axis(), Axis::new("reward")),
        Panel::new(&format!("Reward, mean of {}", window.max(1)), axis(), Axis::new("reward")),
        Panel::new("Regret of single evaluations", Axis::new("regret, reward"), Axis::new("share of evaluations")),
    ];
    for run in &runs {
        let sums = |value: &dyn Fn(&(f64, f64, f64)) -> f64| {
            let mut sum = 0.0;
            let sum = run.steps.iter().map(|step| {
                sum += value(step);
                sum
            });
            (1u32..).map(f64::from).zip(sum).collect::<Vec<_>>()
        };
        let over = |value: &dyn Fn(&(f64, f64, f64)) -> f64| {
            let points: Vec<(f64, f64)> = (1u32..).map(f64::from).zip(run.steps.iter().map(value)).collect();
            crate::report::sheet::panel::moving_average(&points, window.max(1))
        };
        let shapes = [
            Shape::Line(sums(&|(energy, _, _)| energy / 1000.0)),
            Shape::Line(sums(&|(_, reward, best)| best - reward)),
            Shape::Line(over(&|(_, reward, _)| *reward)),
            Shape::Steps(distribution(&run.steps)),
        ];
        panels = panels.into_iter().zip(shapes).map(|(panel, shape)| panel.with(&run.name, shape)).collect();
    }
    Ok(Sheet {
        title: format!("Energy and regret over evaluations; optimum {optimum}"),
        columns: 2,
        panel_size: (560, 280),
        shared_legend: true,
        panels,
        ..Sheet::default()
    })
}

fn searches(table: &Table) -> Vec<Run> {
    let cell = |name: &str, row: usize| table.column(name).map_or(f64::NAN, |column| column[row]);
    let mut runs: Vec<Run> = Vec::new();
    for (row, name) in table.text("method").unwrap_or_default().iter().enumerate() {
        let step = (cell("energy", row), cell("reward", row), cell("best_reward", row));
        if ![step.0, step.1, step.2].iter().all(|value| value.is_finite()) {
            continue;
        }
        match runs.iter_mut().find(|run| run.name == *name) {
            Some(run) => run.steps.push(step),
            None => runs.push(Run { name: name.clone(), steps: vec![step] }),
        }
    }
    runs
}

/// A log under its own reward, with the ranges of its first row, as `eval --suite prototype` has it.
fn log(table: &Table) -> Result<Run, PlotError> {
    let failed = |cause: String| PlotError::Optimum { file: table.file().to_owned(), cause };
    let cell = |name: &str, row: usize| table.column(name).map_or(f64::NAN, |column| column[row]);
    let names = ["temperature", "reward"].into_iter().chain(RANGES).collect::<Vec<_>>();
    let mut text = names.join(",");
    for row in 0..table.rows() {
        let cells: Vec<String> = names.iter().map(|name| cell(name, row).to_string()).collect();
        text.push('\n');
        text.push_str(&cells.join(","));
    }
    let log = TrainingLog::parse(text.as_bytes(), table.file().as_ref()).map_err(|error| failed(error.to_string()))?;
    let plant = Plant::new(&Profile::agx_orin_hf(), 1.0, log.rule());
    let steps = log.rows.iter().enumerate().map(|(number, row)| {
        let best = plant.rewards(row.temperature_c).into_iter().fold(f64::NEG_INFINITY, f64::max);
        (cell("energy", number), row.reward, best)
    });
    Ok(Run { name: table.stem().to_owned(), steps: steps.collect() })
}

/// Share of evaluations by regret, in 40 steps.
fn distribution(steps: &[(f64, f64, f64)]) -> Vec<(f64, f64)> {
    const BINS: usize = 40;
    let regrets: Vec<f64> = steps.iter().map(|(_, reward, best)| best - reward).collect();
    let (low, high) = crate::dataset::grid::range(regrets.iter().copied());
    let width = ((high - low) / BINS as f64).max(1e-9);
    let mut counts = vec![0u32; BINS];
    for regret in &regrets {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 39")]
        let bin = ((regret - low) / width) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    let share = |count: u32| f64::from(count) / regrets.len() as f64;
    let bars = (0u32..).zip(counts).map(|(bin, count)| (low + f64::from(bin) * width, share(count)));
    bars.chain([(low + BINS as f64 * width, 0.0)]).collect()
}
