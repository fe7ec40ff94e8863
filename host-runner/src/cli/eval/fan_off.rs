//! `energyllm eval --suite fan-off`.

use super::super::interrupt;
use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::Arguments;
use crate::dataset::table::Table as File;
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::eval::fan_off::files::{write_results, write_temperatures};
use crate::eval::fan_off::{Ending, Plan, Player, Run, Setup, play};
use crate::input_file;
use crate::plot::{Kind, draw};
use crate::report::manifest::Manifest;
use crate::report::table::{Table, number};
use crate::run::choice::{Choice, ChoiceError, PUBLISHED_BEST};
use anyhow::Context as _;
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use firmware_sim::plant::Conditions;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!((1..=100_000).contains(&options.requests), "--requests must lie between 1 and 100000");
    anyhow::ensure!((0.01..=600.0).contains(&options.sample_s), "--sample-s must lie between 0.01 and 600 seconds");
    anyhow::ensure!((-20.0..=60.0).contains(&options.ambient), "--ambient must lie between -20 and 60 °C");
    let profile = BoardProfile::read(&options.board)?;
    let quality = Quality::read(&options.depths)?;
    let full = profile.actions.depth.last().copied().unwrap_or(1);
    let reward = Service { quality: quality.table(&profile.actions.depth, full), ..profile.service.clone() };
    let limits = Limits { min_depth: quality.floor(full, reward.quality_floor), ..profile.limits };
    let players = players(options);
    let learned = players.contains(&Player::Supervised(Choice::Learned));
    let policy = options.policy.clone();
    let image = if learned {
        input_file::read(&policy).map_err(|source| ChoiceError::Read { path: policy.clone(), source })?
    } else {
        vec![]
    };
    let name = profile.plant.name.to_string();
    let setup = Setup {
        conditions: Conditions {
            ambient_c: options.ambient,
            start_c: options.ambient + 20.0,
            seed: options.seed,
            limit_c: f64::from(limits.temperature.0) / 1000.0,
            vendor_fan: false,
            ..Conditions::default()
        },
        profile: profile.plant,
        actions: profile.actions,
        limits,
        reward,
        policy: (policy.clone(), image),
        plan: Plan {
            requests: options.requests,
            fan_off_at: options.fan_off_at,
            sample_s: options.sample_s,
            ..Plan::default()
        },
    };
    let mut inputs = vec![options.board.as_path(), options.depths.as_path()];
    inputs.extend(learned.then_some(policy.as_path()));
    let manifest = Manifest::of("eval fan-off", options.seed, &inputs)?.on_simulated(&name);

    interrupt::watch()?;
    let started = Instant::now();
    let bar = ProgressBar::new(u64::from(options.requests) * players.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} batches, {msg} (eta {eta})")?);
    let (mut runs, mut interrupted) = (Vec::new(), false);
    for player in &players {
        bar.set_message(player.to_string());
        let run = play(&setup, player, || {
            bar.inc(1);
            !interrupt::is_wanted()
        })?;
        interrupted = run.ending == Ending::Interrupted;
        runs.push(run);
        if interrupted {
            note("stopped by the user; what was run so far is written");
            break;
        }
    }
    bar.finish_and_clear();
    let files = write(options, &runs, &manifest)?;
    let first = runs.first().context("no governor was run")?;
    let pass = first.is_safe();
    match format {
        Format::Json => object(options, &runs, pass, started.elapsed().as_secs_f64()).print()?,
        Format::Text => print(&describe(options, &runs, pass, &files))?,
    }
    Ok(Outcome::of(pass, interrupted))
}

/// The governors under the supervisor, the one under test first, then the bare settings.
fn players(options: &Arguments) -> Vec<Player> {
    let given = |list: &[Choice], otherwise: &[Choice]| {
        if list.is_empty() { otherwise.to_vec() } else { list.to_vec() }
    };
    let supervised = given(&options.governors, &[Choice::Learned, PUBLISHED_BEST]);
    let bare = given(&options.bare, &[Choice::Max, PUBLISHED_BEST]);
    let mut players: Vec<Player> = Vec::new();
    for player in supervised.into_iter().map(Player::Supervised).chain(bare.into_iter().map(Player::Bare)) {
        if !players.contains(&player) {
            players.push(player);
        }
    }
    players
}

/// A governor as part of a file's name.
fn file_name(player: &Player) -> String {
    player.to_string().replace([':', ',', ' '], "-")
}

/// Writes both files of every run, their manifests, and both figures. A run that was stopped before its first batch leaves
/// no file.
fn write(options: &Arguments, runs: &[Run], manifest: &Manifest) -> anyhow::Result<Vec<PathBuf>> {
    let (mut results, mut traces) = (Vec::new(), Vec::new());
    for run in runs.iter().filter(|run| !run.batches.is_empty()) {
        let result = options.out.join(format!("FAN_OFF_RESULTS_{}.csv", file_name(&run.player)));
        let trace = options.out.join(format!("FAN_OFF_TEMPERATURES_{}.csv", file_name(&run.player)));
        write_results(run, &result)?;
        write_temperatures(run, &trace)?;
        for path in [&result, &trace] {
            manifest.write(&path.with_extension("manifest.json"))?;
        }
        results.push(result);
        traces.push(trace);
    }
    for (paths, kind, name) in
        [(&results, Kind::Throttling, "fan-off.png"), (&traces, Kind::Trace, "fan-off-trace.png")]
    {
        let tables = paths.iter().map(|path| File::read(path)).collect::<Result<Vec<_>, _>>()?;
        if let Some((first, also)) = tables.split_first() {
            draw(first, also, kind)?.draw(&options.out.join(name))?;
        }
    }
    Ok(results.into_iter().chain(traces).collect())
}

fn figures(run: &Run) -> Map<String, Value> {
    let summary = run.summary();
    let [rate, last_rate] = summary.tokens_per_s;
    let [p50, p95] = summary.latency_s;
    let mut figures = Map::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            figures.insert(name.to_owned(), value.into());
        }
    };
    put("batches", Some(summary.batches as f64));
    put("duration_s", Some(summary.duration_s));
    put("energy_per_token_j", summary.energy_per_token_j);
    put("throughput_tokens_per_s", rate);
    put("last_throughput_tokens_per_s", last_rate);
    put("latency_p50_s", p50);
    put("latency_p95_s", p95);
    put("max_temperature_c", Some(summary.max_temperature_c));
    put("above_limit_s", Some(summary.above_limit_s));
    put("throttled_s", Some(summary.throttled_s));
    put("throttles_after_s", summary.throttles_after_s);
    figures
}

fn object(options: &Arguments, runs: &[Run], pass: bool, seconds: f64) -> Object {
    let mut object = Object::new("eval fan-off", Some(options.seed), true);
    if let Some(first) = runs.first() {
        object.figures = figures(first);
    }
    for run in runs {
        object.rows.push(json!({
            "governor": run.player.to_string(), "ending": run.ending.to_string(), "figures": figures(run),
        }));
    }
    object.pass = pass;
    object.wall("seconds", seconds);
    object.wall("out", options.out.display().to_string());
    object
}

fn describe(options: &Arguments, runs: &[Run], pass: bool, files: &[PathBuf]) -> String {
    let titles = std::iter::once("simulated board".to_owned()).chain(runs.iter().map(|run| run.player.to_string()));
    let mut table = Table::new(titles);
    let summaries: Vec<_> = runs.iter().map(Run::summary).collect();
    let mut row = |name: &str, decimals: usize, value: &dyn Fn(&crate::eval::fan_off::Summary) -> Option<f64>| {
        let cells = summaries.iter().map(|summary| number(value(summary), decimals));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    };
    row("batches", 0, &|s| Some(s.batches as f64));
    row("energy per token, J", 4, &|s| s.energy_per_token_j);
    row("tokens per second", 1, &|s| s.tokens_per_s[0]);
    row("  over the last 50 batches", 1, &|s| s.tokens_per_s[1]);
    row("latency p50, s", 2, &|s| s.latency_s[0]);
    row("latency p95, s", 2, &|s| s.latency_s[1]);
    row("highest temperature, °C", 2, &|s| Some(s.max_temperature_c));
    row("time above the limit, s", 1, &|s| Some(s.above_limit_s));
    row("throttled by the board, s", 1, &|s| Some(s.throttled_s));
    row("throttles after the fan stops, s", 0, &|s| s.throttles_after_s);
    row("length of the run, s", 0, &|s| Some(s.duration_s));
    table.row(std::iter::once("ended".to_owned()).chain(runs.iter().map(|run| run.ending.to_string())));
    let first = runs.first().map_or(String::new(), |run| run.player.to_string());
    let verdict =
        if pass { "kept its limit and never throttled" } else { "passed its limit, throttled or did not finish" };
    format!(
        "{table}\nfull batches of 100 new tokens, the fan stops before batch {}; bare: without a supervisor, as the \
         published baseline\n{first} {verdict}\n{} files and two figures in {}",
        options.fan_off_at,
        files.len(),
        options.out.display()
    )
}
