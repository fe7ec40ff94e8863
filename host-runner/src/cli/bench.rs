//! `energyllm bench`: what our own code costs on this machine.

use super::output::{Object, print};
use super::world::WorldArguments;
use super::{Format, Outcome};
use crate::bench::decide::{self, Costs};
use crate::bench::telemetry;
use crate::bench::{simulate, train_step};
use crate::eval::closed_loop::bench::Setup;
use crate::eval::closed_loop::scenario::Scenario;
use crate::input_file;
use crate::measure::percentile::Quartiles;
use crate::report::table::Table;
use crate::resources::cpu_seconds;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use firmware_sim::synthetic::{Room, Shape};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Measure what the controller costs on this machine.
#[derive(Debug, Subcommand)]
pub enum Command {
    Decide(Decide),
    Telemetry(Telemetry),
    TrainStep(TrainStep),
    Simulate(Simulate),
}

/// Time one GRPO update of a joint policy, 5-32-32-32-32-5808: 64 samples, 10 epochs, one thread.
///
/// `docs/train_step_pytorch.py` runs this and the same update in `PyTorch`, in turn, and prints the ratio.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm bench train-step --json")]
pub struct TrainStep {
    /// Updates to time.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    updates: u32,
    /// Seed of weights and samples.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Count simulated decisions per minute: a frozen policy in closed loop, every scenario of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm bench simulate --json")]
pub struct Simulate {
    /// The policy image.
    #[arg(long, value_name = "IMAGE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    #[command(flatten)]
    world: WorldArguments,
    /// Episodes of 20 minutes per scenario.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    episodes: u64,
    /// Threads; they do not change the decisions.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: u64,
    /// Seed of the first episode.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Time a decision: the policy alone, a whole step (observe, decide, supervise), and settling it.
///
/// Random inputs, caches warm, 64 calls between two looks at the clock; the table gives the median
/// of all samples. The synthetic policies have random weights and stated shapes.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm bench decide --json")]
pub struct Decide {
    /// Measure this policy image beside the synthetic ones.
    #[arg(long, value_name = "IMAGE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    /// Samples of 64 calls.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    samples: u32,
    /// Seed of weights and inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure nothing: make this many steps and end, for an instruction counter around the program.
    #[arg(long, value_name = "CALLS", requires = "shape")]
    repeat: Option<u32>,
    /// With `--repeat`: which policy.
    #[arg(long)]
    shape: Option<ShapeName>,
}

/// Time one sample of everything that is found on a board.
///
/// With `--root`, of a tree in a folder: then the time is that of our own code and of the file system.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  energyllm bench telemetry\n  energyllm bench telemetry --root captured-board --json"
)]
pub struct Telemetry {
    #[command(flatten)]
    root: super::board::Root,
    /// Samples.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    samples: u32,
}

fn run_telemetry(options: &Telemetry, format: Format) -> anyhow::Result<Outcome> {
    let cost = telemetry::measure(&options.root.place()?, options.samples.try_into()?);
    if cost.channels == 0 {
        anyhow::bail!("there is nothing to sample; `energyllm board info` says what was looked for");
    }
    match format {
        Format::Text => {
            let (median, p99) = (cost.median_ns as f64 / 1000.0, cost.p99_ns as f64 / 1000.0);
            print(&format!("{} channels: median {median:.1} µs, p99 {p99:.1} µs a sample", cost.channels))?;
        }
        Format::Json => {
            let mut object = Object::new("bench telemetry", None, false);
            object.figure("samples", options.samples);
            object.figure("channels", cost.channels);
            object.wall("sample_median_ns", cost.median_ns);
            object.wall("sample_p99_ns", cost.p99_ns);
            object.print()?;
        }
    }
    Ok(Outcome::Passed)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShapeName {
    Factored,
    Joint,
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Decide(decide) => run_decide(decide, format),
        Command::Telemetry(telemetry) => run_telemetry(telemetry, format),
        Command::TrainStep(train_step) => run_train_step(train_step, format),
        Command::Simulate(simulate) => run_simulate(simulate, format),
    }
}

fn run_train_step(options: &TrainStep, format: Format) -> anyhow::Result<Outcome> {
    let times = train_step::measure(usize::try_from(options.updates)?, options.seed)?;
    let (inputs, logits, parameters) = times.shape;
    let (wall, cpu) = (times.wall_ms, times.cpu_ms);
    match format {
        Format::Json => {
            let mut object = Object::new("bench train-step", Some(options.seed), false);
            object.figure("samples", train_step::SAMPLES);
            object.figure("epochs", train_step::EPOCHS);
            object.figure("inputs", inputs);
            object.figure("logits", logits);
            object.figure("parameters", parameters);
            object.figure("updates", options.updates);
            object.wall("processor", processor());
            for (name, Quartiles { lower, median, upper }) in [("wall", wall), ("cpu", cpu)] {
                object.wall(&format!("{name}_lower_quartile_ms"), lower);
                object.wall(&format!("{name}_median_ms"), median);
                object.wall(&format!("{name}_upper_quartile_ms"), upper);
            }
            object.print()?;
        }
        Format::Text => print(&format!(
            "one update of {parameters} parameters, {} samples, {} epochs, one thread: {:.1} ms of CPU time (quartiles {:.1} \
             to {:.1}), {:.1} ms on the wall; medians of {} updates; {}",
            train_step::SAMPLES,
            train_step::EPOCHS,
            cpu.median,
            cpu.lower,
            cpu.upper,
            wall.median,
            options.updates,
            processor()
        ))?,
    }
    Ok(Outcome::Passed)
}

fn run_simulate(options: &Simulate, format: Format) -> anyhow::Result<Outcome> {
    let world = options.world.world()?;
    let image = read(&options.policy)?;
    let setup = |scenario: &Scenario| Setup::new(&world.profile, &world.reward, world.limits, *scenario);
    let setups: Vec<Setup> = Scenario::value_variants().iter().map(setup).collect();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let decisions = simulate::play(&setups, &image, options.episodes, options.seed, options.threads)
        .with_context(|| format!("cannot play {}", options.policy.display()))?;
    let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let per_minute = |seconds: f64| 60.0 * decisions as f64 / seconds;
    match format {
        Format::Json => {
            let mut object = Object::new("bench simulate", Some(options.seed), true);
            object.figure("decisions", decisions);
            object.figure("episodes", options.episodes * setups.len() as u64);
            object.wall("processor", processor());
            object.wall("seconds", seconds);
            object.wall("decisions_per_minute", per_minute(seconds));
            object.wall("decisions_per_cpu_minute", per_minute(cpu_seconds));
            object.print()?;
        }
        Format::Text => print(&format!(
            "{decisions} simulated decisions in {seconds:.1} s: {:.1} million a minute on {} threads, {:.1} million a minute \
             of CPU time; {}",
            per_minute(seconds) / 1e6,
            options.threads,
            per_minute(cpu_seconds) / 1e6,
            processor()
        ))?,
    }
    Ok(Outcome::Passed)
}

fn run_decide(options: &Decide, format: Format) -> anyhow::Result<Outcome> {
    let mut room = Box::new(Room::new());
    if let (Some(calls), Some(shape)) = (options.repeat, options.shape) {
        let shape = match shape {
            ShapeName::Factored => Shape::Factored,
            ShapeName::Joint => Shape::Joint,
        };
        decide::repeat(room.image(shape, options.seed)?, options.seed, calls)?;
        return Ok(Outcome::Passed);
    }
    let samples = usize::try_from(options.samples)?;
    let shipped = read(&options.policy)?;
    let measured = decide::measure(&shipped, options.seed, samples)
        .with_context(|| format!("cannot measure {}", options.policy.display()))?;
    let mut rows = vec![(options.policy.display().to_string(), measured)];
    for shape in Shape::ALL {
        let image = room.image(shape, options.seed)?;
        rows.push((format!("synthetic {}", shape.name()), decide::measure(image, options.seed, samples)?));
    }
    match format {
        Format::Json => json(&rows, options)?,
        Format::Text => print(&text(&rows, options))?,
    }
    Ok(Outcome::Passed)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    input_file::read(path).with_context(|| format!("cannot read the policy {}", path.display()))
}

fn text(rows: &[(String, Costs)], options: &Decide) -> String {
    let mut table = Table::new(["policy", "decide ns", "step ns", "quartiles", "p99", "settle ns"]);
    for (name, costs) in rows {
        let step = costs.step;
        table.row([
            name.clone(),
            format!("{:.0}", costs.decide.median_ns),
            format!("{:.0}", step.median_ns),
            format!("{:.0} to {:.0}", step.lower_quartile_ns, step.upper_quartile_ns),
            format!("{:.0}", step.p99_ns),
            format!("{:.0}", costs.settle.median_ns),
        ]);
    }
    format!(
        "{table}\n{}, {} build, one thread, caches warm; medians of {} samples of 64 calls; quartiles and p99 are those of step",
        processor(),
        std::env::consts::ARCH,
        options.samples
    )
}

fn json(rows: &[(String, Costs)], options: &Decide) -> anyhow::Result<()> {
    let mut object = Object::new("bench decide", Some(options.seed), false);
    object.figure("samples", options.samples);
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|(name, costs)| {
            serde_json::json!({
                "policy": name,
                "decide_median_ns": costs.decide.median_ns,
                "decide_p99_ns": costs.decide.p99_ns,
                "step_median_ns": costs.step.median_ns,
                "step_lower_quartile_ns": costs.step.lower_quartile_ns,
                "step_upper_quartile_ns": costs.step.upper_quartile_ns,
                "step_p99_ns": costs.step.p99_ns,
                "settle_median_ns": costs.settle.median_ns,
            })
        })
        .collect();
    // All of it depends on the clock and the machine.
    object.wall("processor", processor());
    object.wall("policies", rows);
    object.print()
}

/// The name of the processor, as far as it can be told.
fn processor() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    cpu.unwrap_or_else(|| "unknown processor".into())
}
