//! `energyllm overhead`: what control costs.

mod real;

use super::board::place::{DEFAULT_PROFILE, board_or_profile, is_jetson};
use super::board::work::Work;
use super::interrupt;
use super::output::{Object, note, print};
use super::{Format, Outcome};
use crate::dataset::table::Table as File;
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::eval::prototype::table::published_actions;
use crate::input_file;
use crate::overhead::files::{Figures, write_comparison, write_steps};
use crate::overhead::ledger::{Ledger, Part};
use crate::overhead::methods::{Comparison, Start};
use crate::overhead::simulated::{Optimum, SimulatedRig};
use crate::overhead::{Account, Step};
use crate::plot::{Kind, draw};
use crate::report::manifest::Manifest;
use crate::report::table::Table;
use crate::run::choice::ChoiceError;
use clap::Args;
use controller_core::supervisor::Limits;
use firmware_sim::plant::Conditions;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Highest share of the time that a frozen policy may take, %. The published one took 2.5 %.
const LIMIT_PCT: f64 = 0.1;
/// The same on a real board, where setting a clock takes until the board has followed: less than the published one.
const REAL_LIMIT_PCT: f64 = 2.5;

const fn limit_pct(simulated: bool) -> f64 {
    if simulated { LIMIT_PCT } else { REAL_LIMIT_PCT }
}

/// Time and energy of control, beside inference alone and beside a grid search.
#[derive(Debug, Args)]
#[command(after_help = "\
Batches and gaps take the simulated board's time; control is measured on this machine while the board idles. Every second
belongs to a part; what is left of the loop is `other`. On a real board everything is measured there; started again with the
same options after a crash or Ctrl-C, it goes on where it was.

Examples:
  energyllm overhead
  energyllm overhead --evaluations 823 --group 4 --grid-stride 1
  sudo energyllm overhead --board jetson --apply --model model.gguf --threads 8 --evaluations 100 --grid-stride 20")]
pub struct Arguments {
    /// Evaluations of every method but the grid search; the published training had 860.
    #[arg(long, value_name = "N", default_value_t = 860)]
    evaluations: usize,
    /// Run every n-th setting of the published grid of 3,872 (both clocks, batches 1 to 32).
    #[arg(long, value_name = "N", default_value_t = 1)]
    grid_stride: usize,
    /// Actions that the learning policy draws at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    group: usize,
    /// The frozen policy.
    #[arg(long, value_name = "FILE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    /// Quality of the answers per depth. A real board takes that beside its model.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/depths.json")]
    depths: PathBuf,
    /// Board: a profile to simulate (`sim` is the shipped one), or `jetson` for the real one.
    #[arg(long, value_name = "FILE|sim|jetson", default_value = DEFAULT_PROFILE, value_parser = board_or_profile)]
    board: PathBuf,
    /// New tokens of each answer on a real board.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    answer_tokens: u32,
    /// CPU threads of llama.cpp, on a real board. They spin: never more than free cores.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for files and figures.
    #[arg(long, value_name = "DIR", default_value = "out/overhead")]
    out: PathBuf,
    #[command(flatten)]
    real: Work,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!((1..=1_000_000).contains(&options.evaluations), "--evaluations must lie between 1 and 1000000");
    anyhow::ensure!((1..=3872).contains(&options.grid_stride), "--grid-stride must lie between 1 and 3872");
    anyhow::ensure!((2..=256).contains(&options.group), "--group must lie between 2 and 256");
    if is_jetson(&options.board) {
        return real::run(options, format);
    }
    options.real.check_simulated()?;
    let profile = BoardProfile::read(&options.board)?;
    let quality = Quality::read(&options.depths)?;
    let full = profile.actions.depth.last().copied().unwrap_or(1);
    let limits = Limits { min_depth: quality.floor(full, profile.service.quality_floor), ..profile.limits };
    let image = input_file::read(&options.policy)
        .map_err(|source| ChoiceError::Read { path: options.policy.clone(), source })?;
    let name = profile.plant.name.to_string();
    let manifest = Manifest::of("overhead", options.seed, &[&options.board, &options.depths, &options.policy])?
        .on_simulated(&name);
    let conditions = Conditions { seed: options.seed, ..Conditions::default() };
    let optimum = Optimum::new(&profile.plant);
    let plant = profile.plant.clone();
    let rig = || SimulatedRig::new(&plant, conditions, optimum.clone());
    let comparison = Comparison {
        actions: published_actions(&profile.plant),
        profile,
        limits,
        evaluations: options.evaluations,
        grid_stride: options.grid_stride,
        group: options.group,
    };

    interrupt::watch()?;
    let started = Instant::now();
    let bar = progress_bar(options.evaluations * 4 + comparison.grid_len())?;
    // The bar is part of `other`.
    let mut go_on = |_: &[Step], _: &Ledger| {
        bar.inc(1);
        !interrupt::is_wanted()
    };
    let accounts = vec![
        comparison.inference(rig(), Vec::new(), &mut go_on)?,
        comparison.deployed(rig(), &image, Vec::new(), &mut go_on)?,
        comparison.learning(rig(), Start::Nothing, options.seed, &mut go_on)?,
        comparison.learning(rig(), Start::Simulation, options.seed, &mut go_on)?,
        comparison.grid_search(rig(), Vec::new(), &mut go_on)?,
    ];
    bar.finish_and_clear();
    report(options, accounts, &manifest, None, started.elapsed().as_secs_f64(), format)
}

fn progress_bar(batches: usize) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(batches as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} batches (eta {eta})")?);
    Ok(bar)
}

/// Writes files and figures, and says what came of it. `real` is the name of a real board.
fn report(
    options: &Arguments,
    mut accounts: Vec<Account>,
    manifest: &Manifest,
    real: Option<&str>,
    seconds: f64,
    format: Format,
) -> anyhow::Result<Outcome> {
    let complete = accounts.iter().all(|account| account.complete);
    accounts.retain(|account| !account.steps.is_empty());
    if !complete {
        note("stopped by the user; what was run so far is written");
    }
    anyhow::ensure!(!accounts.is_empty(), "stopped before the first batch; nothing is written");

    let (table, steps) = (options.out.join("overhead.csv"), options.out.join("steps.csv"));
    write_comparison(&accounts, &table)?;
    write_steps(&accounts, &steps)?;
    let figures = [(&table, Kind::Overhead, "overhead.png"), (&steps, Kind::Cumulative, "cumulative.png")];
    for (file, kind, figure) in figures {
        manifest.write(&file.with_extension("manifest.json"))?;
        // Regret needs an optimum, which nobody knows on a real board.
        if real.is_none() || kind == Kind::Overhead {
            draw(&File::read(file)?, &[], kind)?.draw(&options.out.join(figure))?;
        }
    }
    let deployed = accounts.iter().find(|account| account.method == "frozen policy");
    let pass = deployed.is_some_and(|account| Figures::of(account).overhead_pct <= limit_pct(real.is_none()));
    match format {
        Format::Json => object(options, &accounts, pass, real.is_none(), seconds).print()?,
        Format::Text => print(&describe(options, &accounts, pass, real))?,
    }
    Ok(Outcome::of(pass, !complete))
}

/// Times of our code depend on the machine, so they are in `wall`; rewards and the board's time and energy are not.
fn object(options: &Arguments, accounts: &[Account], pass: bool, simulated: bool, seconds: f64) -> Object {
    let mut object = Object::new("overhead", Some(options.seed), simulated);
    let mut walls = Vec::new();
    for account in accounts {
        let (figures, ledger) = (Figures::of(account), &account.ledger);
        object.rows.push(json!({
            "method": account.method,
            "evaluations": account.steps.len(),
            "inference_s": ledger.seconds(Part::Inference),
            "inference_j": ledger.joules(Part::Inference),
            "gap_s": ledger.seconds(Part::Gap),
            "gap_j": ledger.joules(Part::Gap),
            "updates": account.updates,
            "energy_per_token_j": figures.energy_per_token_j,
            "mean_reward": figures.reward.map(|(mean, _)| mean),
            "highest_reward": figures.reward.map(|(_, highest)| highest),
            "regret": figures.regret,
        }));
        let parts: serde_json::Map<String, serde_json::Value> =
            Part::ALL.iter().map(|part| (format!("{}_s", part.name()), ledger.seconds(*part).into())).collect();
        walls.push(json!({
            "method": account.method,
            "control_per_evaluation_ms": figures.control_ms,
            "control_pct": figures.overhead_pct,
            "control_energy_pct": figures.energy_overhead_pct,
            "total_s": ledger.total_s(),
            "total_j": ledger.total_j(),
            "parts": parts,
        }));
    }
    object.figure("methods", accounts.len());
    object.pass = pass;
    object.wall("methods", walls);
    object.wall("seconds", seconds);
    object.wall("out", options.out.display().to_string());
    object
}

fn describe(options: &Arguments, accounts: &[Account], pass: bool, real: Option<&str>) -> String {
    let titles = std::iter::once(real.unwrap_or("simulated board; control on this machine").to_owned());
    let mut table = Table::new(titles.chain(accounts.iter().map(|account| account.method.to_owned())));
    let mut row = |name: &str, value: &dyn Fn(&Account) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(accounts.iter().map(value)));
    };
    row("evaluations", &|a| a.steps.len().to_string());
    row("time of all, s", &|a| format!("{:.1}", a.ledger.total_s()));
    for part in Part::ALL {
        let unit = if part.is_control() { "ms" } else { "s" };
        let scale = if part.is_control() { 1000.0 } else { 1.0 };
        row(&format!("  {}, {unit}", part.name()), &|a| format!("{:.2}", a.ledger.seconds(part) * scale));
    }
    row("energy of all, J", &|a| format!("{:.1}", a.ledger.total_j()));
    row("  of control, J", &|a| format!("{:.4}", a.ledger.control_j()));
    row("control per evaluation, ms", &|a| format!("{:.4}", Figures::of(a).control_ms));
    row("control by time, %", &|a| format!("{:.5}", Figures::of(a).overhead_pct));
    row("control by energy, %", &|a| format!("{:.5}", Figures::of(a).energy_overhead_pct));
    row("J per generated token", &|a| format!("{:.4}", Figures::of(a).energy_per_token_j));
    let reward = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    row("mean reward (published, step)", &|a| reward(Figures::of(a).reward.map(|(mean, _)| mean)));
    row("regret against the optimum", &|a| reward(Figures::of(a).regret));
    let verdict = if pass { "keeps" } else { "misses" };
    format!(
        "{table}\npublished, on a Jetson: control 2.526 % by time and 2.45 % by energy, 483 ms per evaluation (docs/study.md)\n\
         the frozen policy {verdict} its limit of {} % of the time\nfiles and figures: {}",
        limit_pct(real.is_none()),
        options.out.display()
    )
}
