//! `energyllm eval`: governors and policies side by side.

mod closed_loop;
mod prototype;

use super::{Format, Outcome};
use crate::eval::closed_loop::scenario::Scenario;
use crate::run::choice::Choice;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

/// Compare governors and policies under the same conditions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm eval --suite closed-loop
  energyllm eval --suite closed-loop --scenario fan-fails --scenario load-400 --seeds 40
  energyllm eval --suite closed-loop --governor learned --governor fixed:4,2,32,12
  energyllm eval --suite closed-loop --prototype grpo_model_FINAL.pth
  energyllm eval --suite prototype --log online_training.csv --prototype grpo_model_FINAL.pth")]
pub struct Arguments {
    /// What to compare on.
    #[arg(long)]
    suite: Suite,
    /// Suite prototype: a training log with the published columns.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// A checkpoint (.pth) of the published prototype, as one more policy: closed-loop `prototype`, on the nearest settings of
    /// the board; prototype `prototype-policy`.
    #[arg(long, value_name = "FILE")]
    prototype: Option<PathBuf>,
    /// Suite closed-loop: only these scenarios; give it again for more.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Suite closed-loop: a governor, the one under test first; give it again for more. Default: all that
    /// have a name, learned first.
    #[arg(long = "governor", value_name = "GOVERNOR", value_parser = Choice::from_str)]
    governors: Vec<Choice>,
    /// Suite closed-loop: episodes per governor and scenario.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Suite closed-loop: episodes of the oracle, which takes long.
    #[arg(long, default_value_t = 5)]
    oracle_seeds: u64,
    /// Suite closed-loop: policy image for the governor `learned`.
    #[arg(long, value_name = "FILE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    /// Suite closed-loop: quality of the answers per depth.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/depths.json")]
    depths: PathBuf,
    /// Threads; they do not change the result.
    #[arg(long, default_value_t = 2)]
    threads: usize,
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
    /// Governors in scenarios on the simulated board: heat, load, a failing fan.
    ClosedLoop,
    /// Policies on the temperatures of a published training log, under its reward `step`.
    Prototype,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match arguments.suite {
        Suite::ClosedLoop => closed_loop::run(arguments, format),
        Suite::Prototype => prototype::run(arguments, format),
    }
}
