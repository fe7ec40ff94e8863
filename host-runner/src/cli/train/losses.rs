//! The log of losses: one row per update, the first four columns as the published prototype called them.

use crate::input_file;
use crate::report::csv_log::{CsvLog, CsvLogError, cell};
use crate::report::figure::{Figure, Line, Panel};
use anyhow::Context as _;
use std::path::Path;

/// Names of the columns.
pub const COLUMNS: [&str; 13] = [
    "update_step",
    "policy_loss",
    "kl_divergence",
    "policy_entropy",
    "loss",
    "reward",
    "best_reward",
    "violations",
    "learning_rate",
    "clip_fraction",
    "gradient_norm",
    "parameter_updates",
    "evaluations",
];

/// One row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    /// Number of the update, from 0.
    pub update_step: u32,
    /// What the update did.
    pub losses: crate::grpo::update::Losses,
    /// Mean reward of all members.
    pub reward: f64,
    /// Mean of the best of each group.
    pub best_reward: f64,
    /// Share of members that passed the temperature limit.
    pub violations: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Actions tried so far.
    pub evaluations: u64,
}

impl Row {
    /// Adds it to a log.
    pub fn write(&self, log: &mut CsvLog) -> Result<(), CsvLogError> {
        let Self { losses, .. } = self;
        let number = |value: f64| cell(Some(value));
        log.row(&[
            self.update_step.to_string(),
            number(losses.policy_loss),
            number(losses.kl),
            number(losses.entropy),
            number(losses.loss),
            number(self.reward),
            number(self.best_reward),
            number(self.violations),
            number(self.learning_rate),
            number(losses.clip_fraction),
            number(losses.gradient_norm),
            losses.updates.to_string(),
            self.evaluations.to_string(),
        ])
    }
}

/// Draws a log of losses, the rows of a resumed training included.
pub fn draw(log: &Path, title: &str, figure: &Path) -> anyhow::Result<()> {
    let text = input_file::read(log).with_context(|| format!("cannot read the log {}", log.display()))?;
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let rows: Vec<Vec<f64>> = reader
        .records()
        .map(|record| Ok(record?.iter().map(|value| value.parse().unwrap_or(f64::NAN)).collect()))
        .collect::<Result<_, csv::Error>>()
        .with_context(|| format!("{} is no log of losses", log.display()))?;
    let line = |column: &str, scale: f64| {
        let place = COLUMNS.iter().position(|name| *name == column).unwrap_or(0);
        let point =
            |row: &Vec<f64>| Some((*row.first()?, *row.get(place)? * scale)).filter(|(_, value)| value.is_finite());
        Line { name: column.replace('_', " "), points: rows.iter().filter_map(point).collect() }
    };
    let panel = |label: &str, columns: &[&str], scale: f64| Panel {
        label: label.to_owned(),
        lines: columns.iter().map(|column| line(column, scale)).collect(),
        limit: None,
        steps: false,
    };
    let figure_of = Figure {
        title: title.to_owned(),
        time_label: "update".to_owned(),
        panels: vec![
            panel("reward", &["reward", "best_reward"], 1.0),
            panel("policy loss", &["policy_loss"], 1.0),
            panel("loss", &["loss"], 1.0),
            panel("KL, nats", &["kl_divergence"], 1.0),
            panel("entropy, nats", &["policy_entropy"], 1.0),
            panel("Clip share, %", &["clip_fraction"], 100.0),
            panel("violations, %", &["violations"], 100.0),
            panel("learning rate, 1e-3", &["learning_rate"], 1000.0),
        ],
        mark: None,
    };
    Ok(figure_of.draw(figure)?)
}
