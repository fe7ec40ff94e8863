//! `energyllm eval`: governors and policies side by side.

mod closed_loop;
mod fan_off;
mod fan_off_real;
mod prototype;

use super::board::place::{DEFAULT_PROFILE, board_or_profile, is_jetson, profile_only};
use super::board::work::Work;
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
  energyllm eval --suite fan-off
  energyllm eval --suite fan-off --governor learned --bare max --requests 350 --fan-off-at 50
  sudo energyllm eval --suite fan-off --board jetson --apply --model model.gguf --threads 8

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
    /// Suites closed-loop and fan-off: a governor, the one under test first; give it again for more. Default: all that
    /// have a name, learned first; for fan-off learned and the published best setting.
    #[arg(long = "governor", value_name = "GOVERNOR", value_parser = Choice::from_str)]
    governors: Vec<Choice>,
    /// Suite closed-loop: episodes per governor and scenario.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Suite closed-loop: episodes of the oracle, which takes long.
    #[arg(long, default_value_t = 5)]
    oracle_seeds: u64,
    /// Suite fan-off: a fixed setting without a supervisor; give it again for more. Default: max and the published best.
    #[arg(long, value_name = "GOVERNOR", value_parser = Choice::from_str)]
    bare: Vec<Choice>,
    /// Suite fan-off: batches.
    #[arg(long, value_name = "N", default_value_t = 350)]
    requests: u32,
    /// Suite fan-off: the fan stops before this batch, from 0.
    #[arg(long, value_name = "N", default_value_t = 50)]
    fan_off_at: u32,
    /// Suite fan-off: time between two samples of the temperatures.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    sample_s: f64,
    /// Suite fan-off: wait before the first batch, with the fan full.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    warm_up: f64,
    /// Suite fan-off: new tokens of each sequence.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    answer_tokens: u32,
    /// Suite fan-off: air around the simulated board. Default: 25.
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    ambient: Option<f64>,
    /// Suites closed-loop and fan-off: policy image for the governor `learned`.
    #[arg(long, value_name = "FILE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    /// Suites closed-loop and fan-off: quality of the answers per depth. A real board takes that beside its model.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/depths.json")]
    depths: PathBuf,
    /// Threads; they do not change the result. On a real board those of llama.cpp, which spin: never more than free cores.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Board: a profile to simulate (`sim` is the shipped one); for suite fan-off also `jetson`, the real one.
    #[arg(long, value_name = "FILE|sim|jetson", default_value = DEFAULT_PROFILE, value_parser = board_or_profile)]
    board: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for figures and files.
    #[arg(long, value_name = "DIR", default_value = "out/eval")]
    out: PathBuf,
    #[command(flatten)]
    real: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Governors in scenarios on the simulated board: heat, load, a failing fan.
    ClosedLoop,
    /// Policies on the temperatures of a published training log, under its reward `step`.
    Prototype,
    /// Batch after batch with a fan that stops for good: fixed settings against policies, as the published test.
    FanOff,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let real = is_jetson(&arguments.board);
    if real && arguments.suite != Suite::FanOff {
        // Governors are compared on equal boards, again and again.
        profile_only("jetson").map_err(anyhow::Error::msg)?;
    }
    if !real {
        arguments.real.check_simulated()?;
    }
    match arguments.suite {
        Suite::FanOff if real => fan_off_real::run(arguments, format),
        Suite::ClosedLoop => closed_loop::run(arguments, format),
        Suite::Prototype => prototype::run(arguments, format),
        Suite::FanOff => fan_off::run(arguments, format),
    }
}
