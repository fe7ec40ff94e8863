//! `energyllm eval --suite fan-off`.

use super::super::interrupt;
use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::Arguments;
use crate::dataset::table::Table as File;
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::eval::fan_off::files::{write_results, write_temperatures};
use crate::eval::fan_off::simulated::SimulatedRig;
use crate::eval::fan_off::{Ending, Plan, Played, Player, Run, Setup, play};
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

/// Air around the simulated board, °C.
const USUAL_AIR_C: f64 = 25.0;

/// The test that was asked for.
pub(super) fn plan(options: &Arguments) -> anyhow::Result<Plan> {
    anyhow::ensure!((1..=100_000).contains(&options.requests), "--requests must lie between 1 and 100000");
    anyhow::ensure!((0.01..=600.0).contains(&options.sample_s), "--sample-s must lie between 0.01 and 600 seconds");
    anyhow::ensure!((0.0..=3600.0).contains(&options.warm_up), "--warm-up must lie between 0 and 3600 seconds");
    anyhow::ensure!(
        options.fan_off_at < options.requests,
        "--fan-off-at {} lies behind the last of {} batches, so the fan would never stop; write a lower one or more --requests",
        options.fan_off_at,
        options.requests
    );
    Ok(Plan {
        requests: options.requests,
        fan_off_at: options.fan_off_at,
        warm_up_s: options.warm_up,
        answer_tokens: options.answer_tokens,
        sample_s: options.sample_s,
        ..Plan::default()
    })
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let ambient_c = options.ambient.unwrap_or(USUAL_AIR_C);
    anyhow::ensure!((-20.0..=60.0).contains(&ambient_c), "--ambient must lie between -20 and 60 °C");
    let plan = plan(options)?;
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
    let conditions = Conditions {
        ambient_c,
        start_c: ambient_c + 20.0,
        seed: options.seed,
        limit_c: f64::from(limits.temperature.0) / 1000.0,
        vendor_fan: false,
        ..Conditions::default()
    };
    let plant = profile.plant;
    let setup = Setup { actions: profile.actions, limits, reward, policy: (policy.clone(), image), plan };
    let mut inputs = vec![options.board.as_path(), options.depths.as_path()];
    inputs.extend(learned.then_some(policy.as_path()));
    let manifest = Manifest::of("eval fan-off", options.seed, &inputs)?.on_simulated(&name);

    interrupt::watch()?;
    let started = Instant::now();
    let bar = progress_bar(options, &players)?;
    let (mut runs, mut interrupted) = (Vec::new(), false);
    for player in &players {
        bar.set_message(player.to_string());
        let mut rig = SimulatedRig::new(&plant, conditions, plan);
        let Played { ending, batches } = play(&setup, player, &mut rig, || {
            bar.inc(1);
            !interrupt::is_wanted()
        })?;
        let (samples, whole) = rig.finish();
        interrupted = ending == Ending::Interrupted;
        runs.push(Run { player: player.clone(), ending, batches, samples, whole });
        if interrupted {
            note("stopped by the user; what was run so far is written");
            break;
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    report(options, &runs, &manifest, None, seconds, format).map(|pass| Outcome::of(pass, interrupted))
}

/// Counts the batches of all players.
pub(super) fn progress_bar(options: &Arguments, players: &[Player]) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(u64::from(options.requests) * players.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} batches, {msg} (eta {eta})")?);
    Ok(bar)
}

/// Writes the files and says what came of it; whether the first player is safe. `real` is the name of a real board.
pub(super) fn report(
    options: &Arguments,
    runs: &[Run],
    manifest: &Manifest,
    real: Option<&str>,
    seconds: f64,
    format: Format,
) -> anyhow::Result<bool> {
    let files = write(options, runs, manifest)?;
    let first = runs.first().context("no governor was run")?;
    let pass = first.is_safe();
    match format {
        Format::Json => object(options, runs, pass, real.is_none(), seconds).print()?,
        Format::Text => print(&describe(options, runs, pass, real.unwrap_or("simulated board"), &files))?,
    }
    Ok(pass)
}

/// The governors under the supervisor, the one under test first, then the bare settings.
pub(super) fn players(options: &Arguments) -> Vec<Player> {
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
pub(super) fn file_name(player: &Player) -> String {
    player.to_string().replace([':', ',', ' '], "-")
}

/// Where the temperatures of a player lie.
pub(super) fn trace_path(options: &Arguments, player: &Player) -> PathBuf {
    options.out.join(format!("FAN_OFF_TEMPERATURES_{}.csv", file_name(player)))
}

/// Writes both files of every run, their manifests, and both figures. A run that was stopped before its first batch leaves
/// no file.
fn write(options: &Arguments, runs: &[Run], manifest: &Manifest) -> anyhow::Result<Vec<PathBuf>> {
    let (mut results, mut traces) = (Vec::new(), Vec::new());
    for run in runs.iter().filter(|run| !run.batches.is_empty()) {
        let result = options.out.join(format!("FAN_OFF_RESULTS_{}.csv", file_name(&run.player)));
        let trace = trace_path(options, &run.player);
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

fn object(options: &Arguments, runs: &[Run], pass: bool, simulated: bool, seconds: f64) -> Object {
    let mut object = Object::new("eval fan-off", Some(options.seed), simulated);
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

fn describe(options: &Arguments, runs: &[Run], pass: bool, board: &str, files: &[PathBuf]) -> String {
    let titles = std::iter::once(board.to_owned()).chain(runs.iter().map(|run| run.player.to_string()));
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
        "{table}\nfull batches of {} new tokens, the fan stops before batch {}; bare: without a supervisor, as the \
         published baseline\n{first} {verdict}\n{} files and two figures in {}",
        options.answer_tokens,
        options.fan_off_at,
        files.len(),
        options.out.display()
    )
}
