//! `energyllm calibrate`: a board profile from measurements.

mod board;
mod llama_bench;

use super::{Format, Outcome};
use clap::Args;
use std::path::PathBuf;

/// Fit a board profile to measurements.
///
/// From sweeps (CSV with the columns of `energyllm sweep`) and logs: latency, power, thermal and
/// throttling numbers, each with its 95 % interval, or the statement that the data do not identify it.
///
/// With --from-llama-bench: starts a profile for another model or quantization of llama.cpp from measured
/// points, the board's bandwidth and its power modes; each board and mode is held out once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm calibrate grid_fan_on.csv --log online_training.csv --log grid_fan_off.csv
  energyllm calibrate out/sweep.csv --profile models/boards/agx-orin-hf.toml --out out/mine
  energyllm calibrate --recover 100                          are hidden parameters found again?
  energyllm calibrate --from-llama-bench models/boards/llamacpp-points.csv --out out/llamacpp
  energyllm calibrate --from-llama-bench mine.csv --model Qwen2.5-1.5B --parameters 1.54B --quantization Q8_0 \\
      --profile models/boards/orin-nano-super-llamacpp.toml --out out/qwen")]
pub struct Arguments {
    /// Sweeps, CSV: latency and power.
    sweeps: Vec<PathBuf>,
    /// Logs and cool-down traces with measured temperatures: heat and throttling.
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// Room of the logs, °C; found by replay when absent.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true)]
    ambient: Option<f64>,
    /// Sweep and calibrate so many plants with hidden random numbers, and count how often the truth lies in its interval.
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["sweeps", "log", "from_llama_bench"])]
    recover: Option<u64>,
    /// Seed of the halves and of hidden plants.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Points of llama.cpp, CSV (docs/calibration.md).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sweeps", "log"])]
    from_llama_bench: Option<PathBuf>,
    /// Profile to start from; several with --from-llama-bench.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Take the profile's engine as it is: only the model, the mode and what follows from them change.
    #[arg(long, requires = "from_llama_bench")]
    keep_engine: bool,
    /// Model that the new profile simulates, with --parameters and --quantization.
    #[arg(long, value_name = "NAME", requires = "from_llama_bench")]
    model: Option<String>,
    /// Its parameters: 1236000000, 1.236B or 1.236.
    #[arg(long, value_name = "COUNT", requires = "model")]
    parameters: Option<String>,
    /// Its quantization: `Q4_K_M`, or bits per weight.
    #[arg(long, value_name = "TYPE", requires = "model")]
    quantization: Option<String>,
    /// Power mode that the new profile simulates.
    #[arg(long, value_name = "MODE", requires = "from_llama_bench")]
    mode: Option<String>,
    /// Folder for the new profile, its manifest and the residual plot.
    #[arg(long, value_name = "DIR", default_value = "out/calibrate")]
    out: PathBuf,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.from_llama_bench {
        Some(points) => llama_bench::run(arguments, points, format),
        None => board::run(arguments, format),
    }
}
