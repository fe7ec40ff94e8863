//! `energyllm eval`: governors and policies side by side.

mod prototype;

use super::{Format, Outcome};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Compare governors and policies under the same conditions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm eval --suite prototype --log online_training.csv")]
pub struct Arguments {
    /// What to compare on.
    #[arg(long)]
    suite: Suite,
    /// Suite prototype: a training log with the published columns.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Board profile.
    #[arg(long, value_name = "FILE", default_value = "models/boards/agx-orin-hf.toml")]
    board: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the figure.
    #[arg(long, value_name = "DIR", default_value = "out/eval")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Policies on the temperatures of a published training log, under its reward `step`.
    Prototype,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match arguments.suite {
        Suite::Prototype => prototype::run(arguments, format),
    }
}
