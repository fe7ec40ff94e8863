//! `energyllm search replay`: bandits on a logged grid.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use crate::atomic_file::AtomicFile;
use crate::env::profile::BoardProfile;
use crate::env::replay::{Replay, Selection};
use crate::input_file;
use crate::report::manifest::Manifest;
use crate::report::table::Table;
use crate::search::experiment::{Algorithm, GOOD_WITHIN, Plan, Searches, run as search};
use crate::search::figure;
use crate::verify::plant::Log;
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Instant;

/// Replay a logged grid as a bandit: how much do searches lose before they know the best setting?
///
/// An arm is a clock (prefill and decode alike) with a batch; a pull returns its logged cost plus
/// Gaussian noise. Cost: half energy per request, half response (filling the batch at the offered load,
/// then the batch), relative to the highest clock at the largest batch. Ours is `model_generic`: its prior
/// spreads a few-parameter model of any board over all its possible shapes. `model_profile` begins
/// with the calibrated profile instead; the shipped one was fitted to the published grid itself, so there it
/// only shows what a good profile is worth. Exit code 1 when `model_generic` misses its limits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm search replay --grid grid_fan_on.csv --arms 49 --lambda 1 --noise 0.05 --seeds 100
  energyllm search replay --grid grid_fan_off.csv --arms all --lambda 4 --noise 0.01 --json")]
pub struct Arguments {
    /// The grid: CSV with the columns of the published grid logs.
    #[arg(long, value_name = "FILE")]
    grid: PathBuf,
    /// Which settings are arms: 49 (the seven lowest clocks with batches 4, 8, ..., 28) or all.
    #[arg(long, default_value = "49", value_parser = parse_selection)]
    arms: Selection,
    /// Offered load, requests per second.
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    lambda: f64,
    /// Standard deviation of a pull, in units of the reference arm's cost.
    #[arg(long, value_name = "SD", default_value_t = 0.05)]
    noise: f64,
    /// Searches per algorithm.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Pulls per search.
    #[arg(long, default_value_t = 300)]
    pulls: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Board profile: the clocks behind the log's indices, and the prior of `model_profile`.
    #[arg(long, value_name = "FILE", default_value = "models/boards/agx-orin-hf.toml")]
    board: PathBuf,
    /// Threads; they do not change the result.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where the figure goes.
    #[arg(long, value_name = "FILE", default_value = "out/search-replay.png")]
    figure: PathBuf,
}

fn parse_selection(text: &str) -> Result<Selection, String> {
    match text {
        "49" => Ok(Selection::Camel),
        "all" => Ok(Selection::All),
        _ => Err("give 49 or all".to_owned()),
    }
}

/// Pulls after which regret is reported, where a search is that long.
const STAGES: [usize; 3] = [49, 200, 300];

/// What `model_generic` must keep: mean regret after so many pulls, and when the recommendation is good for good.
const REGRET_LIMITS: [(usize, f64); 2] = [(49, 3.0), (300, 5.0)];
const LAST_OFF_LIMITS: [(u32, usize); 2] = [(50, 12), (95, 40)];

fn check(options: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        (0.001..=1000.0).contains(&options.lambda),
        "--lambda must lie between 0.001 and 1000 requests per second, not {}",
        options.lambda
    );
    anyhow::ensure!(
        (0.0001..=1.0).contains(&options.noise),
        "--noise must lie between 0.0001 and 1, not {}",
        options.noise
    );
    anyhow::ensure!(
        (1..=10_000).contains(&options.seeds),
        "--seeds must lie between 1 and 10000, not {}",
        options.seeds
    );
    anyhow::ensure!(
        (1..=10_000).contains(&options.pulls),
        "--pulls must lie between 1 and 10000, not {}",
        options.pulls
    );
    anyhow::ensure!(
        (1..=256).contains(&options.threads),
        "--threads must lie between 1 and 256, not {}",
        options.threads
    );
    Ok(())
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    check(options)?;
    let profile = BoardProfile::read(&options.board)?.plant;
    let unreadable = || format!("cannot read the grid {}", options.grid.display());
    input_file::check(&options.grid, input_file::MAX_BYTES).with_context(unreadable)?;
    let file = std::fs::File::open(&options.grid).with_context(unreadable)?;
    let log = Log::read(file, &profile).with_context(unreadable)?;
    let replay = Replay::new(&log, &profile.gpu_clock_khz, options.arms, options.lambda, options.noise)
        .with_context(|| format!("cannot replay {}", options.grid.display()))?;
    AtomicFile::check(&options.figure)?;
    Manifest::of("search replay", options.seed, &[&options.grid, &options.board])
        .with_context(unreadable)?
        .write(&options.figure.with_extension("manifest.json"))?;

    let started = Instant::now();
    let plan =
        Plan { seeds: options.seeds, pulls: options.pulls, seed: options.seed, profile, threads: options.threads };
    let bar = ProgressBar::new(Algorithm::ALL.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} (eta {eta})")?);
    let run_one = |algorithm: Algorithm| {
        bar.set_message(algorithm.name());
        let searches = search(&replay, algorithm, &plan);
        bar.inc(1);
        searches
    };
    let searches: Vec<Searches> = Algorithm::ALL.into_iter().map(run_one).collect();
    bar.finish_and_clear();

    let place = format!(
        "{}, {} arms, {} requests/s, noise {}, mean of {} seeds",
        options.grid.file_name().unwrap_or_default().to_string_lossy(),
        replay.arms().len(),
        options.lambda,
        options.noise,
        options.seeds
    );
    figure::of_searches(&searches, &place).draw(&options.figure)?;
    let missed = missed(&searches[0]);
    match format {
        Format::Text => print(&describe(&replay, &searches, &place, &missed, options))?,
        Format::Json => {
            let mut object = object(&replay, &searches, options);
            object.pass = missed.is_empty();
            object.wall("seconds", started.elapsed().as_secs_f64());
            object.wall("figure", options.figure.display().to_string());
            object.print()?;
        }
    }
    Ok(if missed.is_empty() { Outcome::Passed } else { Outcome::Failed })
}

/// What our search should have kept and did not, in words.
fn missed(ours: &Searches) -> Vec<String> {
    let mut missed = Vec::new();
    for (pulls, limit) in REGRET_LIMITS {
        if let Some(regret) = ours.mean_regret(pulls).filter(|regret| *regret > limit) {
            missed.push(format!("regret after {pulls} pulls is {regret:.2}, above {limit}"));
        }
    }
    for (percent, limit) in LAST_OFF_LIMITS {
        let pull = ours.last_off(percent);
        if pull > limit {
            missed.push(format!("percentile {percent} of the last pull off the optimum is {pull}, above {limit}"));
        }
    }
    missed
}

fn figures(search: &Searches) -> Map<String, Value> {
    let mut figures = Map::new();
    for pulls in STAGES {
        if let Some(regret) = search.mean_regret(pulls) {
            figures.insert(format!("regret_{pulls}"), regret.into());
        }
    }
    figures.insert("last_off_p50".to_owned(), search.last_off(50).into());
    figures.insert("last_off_p95".to_owned(), search.last_off(95).into());
    figures
}

fn object(replay: &Replay, searches: &[Searches], options: &Arguments) -> Object {
    let mut object = Object::new("search replay", Some(options.seed), false);
    object.figures = figures(&searches[0]);
    let best = replay.best();
    object.figure("arms", replay.arms().len());
    object.figure("best_clock_ghz", replay.arms()[best].clock_ghz);
    object.figure("best_batch", replay.arms()[best].batch);
    object.figure("best_cost", replay.true_cost(best));
    for search in searches {
        let mut row = Map::new();
        row.insert("algorithm".to_owned(), search.algorithm.name().into());
        row.insert("figures".to_owned(), Value::Object(figures(search)));
        object.rows.push(Value::Object(row));
    }
    object
}

fn describe(replay: &Replay, searches: &[Searches], place: &str, missed: &[String], options: &Arguments) -> String {
    let stages = STAGES.map(|pulls| format!("regret {pulls}"));
    let last = ["last off p50", "last off p95"].map(str::to_owned);
    let mut table = Table::new(["logged grid".to_owned()].into_iter().chain(stages).chain(last));
    for search in searches {
        let regrets = STAGES.map(|pulls| crate::report::table::number(search.mean_regret(pulls), 2));
        let last = [50, 95].map(|percent| search.last_off(percent).to_string());
        table.row([search.algorithm.to_string()].into_iter().chain(regrets).chain(last));
    }
    let best = replay.arms()[replay.best()];
    let verdict = if missed.is_empty() { "model_generic keeps its limits".to_owned() } else { missed.join("\n") };
    format!(
        "{place}\n\n{table}\nbest static setting, in hindsight: {:.0} MHz, batch {:.0}, cost {:.4}, regret 0\n\
         regret: sum of the cost above the best setting's, in units of the reference's; last off: last pull\n\
         after which the recommended setting was more than {:.0} % above the best\n{verdict}\nfigure: {}",
        best.clock_ghz * 1000.0,
        best.batch,
        replay.true_cost(replay.best()),
        (GOOD_WITHIN - 1.0) * 100.0,
        options.figure.display()
    )
}
