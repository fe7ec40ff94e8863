//! `energyllm eval --suite closed-loop`.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::Arguments;
use crate::atomic_file::AtomicFile;
use crate::env::account::Account;
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::eval::closed_loop::bench::Setup;
use crate::eval::closed_loop::compare::Verdict;
use crate::eval::closed_loop::scenario::Scenario;
use crate::eval::closed_loop::suite::{Entry, Plan, Played, Player, play};
use crate::import::prototype::Prototype;
use crate::input_file;
use crate::report::figure::{Figure, Line, Panel};
use crate::report::manifest::Manifest;
use crate::report::table::Table;
use crate::run::choice::{Choice, ChoiceError, all};
use anyhow::Context as _;
use clap::ValueEnum as _;
use controller_core::action::Knob;
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Highest share of responses that may miss their deadline.
const MISS_LIMIT: f64 = 0.013;
/// Energy per token at a fixed load may exceed the oracle's by this share.
const ENERGY_LIMIT: f64 = 0.02;

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!((2..=1000).contains(&options.seeds), "--seeds must lie between 2 and 1000, not {}", options.seeds);
    anyhow::ensure!(
        (1..=256).contains(&options.threads),
        "--threads must lie between 1 and 256, not {}",
        options.threads
    );
    anyhow::ensure!(
        (2..=options.seeds).contains(&options.oracle_seeds),
        "--oracle-seeds must lie between 2 and --seeds, {}, not {}",
        options.seeds,
        options.oracle_seeds
    );
    let profile = BoardProfile::read(&options.board)?;
    let quality = Quality::read(&options.depths)?;
    let full = profile.actions.depth.last().copied().unwrap_or(1);
    let reward = Service { quality: quality.table(&profile.actions.depth, full), ..profile.service.clone() };
    let limits = Limits { min_depth: quality.floor(full, reward.quality_floor), ..profile.limits };
    let policy = options.policy.clone();
    let image = input_file::read(&policy).map_err(|source| ChoiceError::Read { path: policy.clone(), source })?;
    let players = players(options, &profile, &image)?;
    let prototype = options.prototype.as_deref().map(|path| -> anyhow::Result<_> {
        let prototype = Prototype::read(path).with_context(|| format!("cannot import {}", path.display()))?;
        Ok(prototype.checkpoint())
    });
    let prototype = prototype.transpose()?;
    let figure = options.out.join("closed-loop.png");
    AtomicFile::check(&figure)?;
    let mut inputs = vec![options.board.as_path(), &options.depths, &policy];
    inputs.extend(options.prototype.as_deref());
    Manifest::of("eval closed-loop", options.seed, &inputs)?.write(&options.out.join("closed-loop.manifest.json"))?;

    let started = Instant::now();
    let scenarios = if options.scenario.is_empty() { Scenario::value_variants() } else { &options.scenario[..] };
    let plan = Plan {
        seed: options.seed,
        seeds: options.seeds,
        oracle_seeds: options.oracle_seeds,
        threads: options.threads,
        policy: (policy, image),
        prototype,
    };
    let episodes = (players.len() as u64 - 1) * options.seeds + options.oracle_seeds;
    let bar = ProgressBar::new(episodes * scenarios.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {msg} (eta {eta})")?);
    let mut played = Vec::new();
    for scenario in scenarios {
        bar.set_message(scenario.name());
        let setup = Setup::new(&profile, &reward, limits, *scenario);
        played.push(play(*scenario, setup, &players, &plan, &|| bar.inc(1))?);
    }
    bar.finish_and_clear();
    draw(&played, options.seeds).draw(&figure)?;
    let missed: Vec<String> = played.iter().flat_map(|played| missed(played, &players[0])).collect();
    match format {
        Format::Text => print(&describe(&played, &players[0], &missed, options))?,
        Format::Json => {
            let mut object = object(&played, &players[0], options);
            object.pass = missed.is_empty();
            object.wall("seconds", started.elapsed().as_secs_f64());
            object.wall("out", options.out.display().to_string());
            object.print()?;
        }
    }
    Ok(if missed.is_empty() { Outcome::Passed } else { Outcome::Failed })
}

/// The governor under test first, then the others, then the yardsticks. Every governor is made once before the first
/// episode, so that a bad one costs no time.
fn players(options: &Arguments, profile: &BoardProfile, image: &[u8]) -> anyhow::Result<Vec<Player>> {
    let mut choices = options.governors.clone();
    if choices.is_empty() {
        choices = all();
    }
    for choice in &choices {
        choice.build(&profile.actions, &options.policy, image)?;
    }
    let mut players: Vec<Player> = choices.into_iter().map(Player::Governor).collect();
    players.extend(options.prototype.is_some().then_some(Player::Prototype));
    players.extend([Player::BestStatic, Player::Oracle]);
    Ok(players)
}

/// What the governor under test should have kept in a scenario and did not.
fn missed(played: &Played, ours: &Player) -> Vec<String> {
    let name = played.scenario.name();
    let (Some(ours), Some(oracle)) = (played.entry(ours), played.entry(&Player::Oracle)) else { return Vec::new() };
    let mut missed = Vec::new();
    let above = ours.samples_above_limit();
    if above > 0 {
        missed.push(format!("{name}: {above} temperature samples above the limit"));
    }
    let late = ours.mean(Account::miss_share);
    if late > MISS_LIMIT {
        missed.push(format!("{name}: {:.1} % of the responses missed their deadline", late * 100.0));
    }
    let energy = ours.energy_above(oracle);
    if played.scenario.is_fixed_load() && energy > ENERGY_LIMIT {
        missed.push(format!("{name}: energy per token is {:.1} % above the oracle's", energy * 100.0));
    }
    let rivals = played.entries.iter().filter(|entry| entry.player != ours.player && entry.player != Player::Oracle);
    for rival in rivals.filter(|rival| played.verdict(ours, rival) == Verdict::Worse) {
        let less = ours.less(rival, |account| account.reward(played.setup.terms()));
        missed.push(format!(
            "{name}: worse than {} by {:.4} ± {:.4} of reward, energy per token {:+.1} %",
            rival.player,
            -less.mean,
            less.half_width,
            ours.energy_above(rival) * 100.0
        ));
    }
    missed
}

fn figures(played: &Played, entry: &Entry, ours: &Entry) -> Map<String, Value> {
    let terms = played.setup.terms();
    let reward = ours.less(entry, |account| account.reward(terms));
    let energy = ours.less(entry, Account::energy_per_token_j);
    let mut figures = Map::new();
    let mut add = |name: &str, value: f64| figures.insert(name.to_owned(), value.into());
    add("energy_per_token_j", entry.mean(Account::energy_per_token_j));
    add("mean_reward", entry.mean(|account| account.reward(terms)));
    add("miss_share", entry.mean(Account::miss_share));
    add("throughput_tokens_per_s", entry.mean(Account::tokens_per_s));
    add("samples_above_limit", entry.samples_above_limit() as f64);
    add("max_temperature_c", entry.hottest_c());
    add("overruled_share", entry.mean(Account::overruled_share));
    add("seeds", entry.accounts.len() as f64);
    if entry.player != ours.player {
        add("ours_reward_more", reward.mean);
        add("ours_reward_more_half_width", reward.half_width);
        add("ours_energy_per_token_more_j", energy.mean);
        add("ours_energy_per_token_more_half_width_j", energy.half_width);
        add("ours_energy_per_token_more_share", ours.energy_above(entry));
    }
    figures
}

fn object(played: &[Played], ours: &Player, options: &Arguments) -> Object {
    let mut object = Object::new("eval closed-loop", Some(options.seed), true);
    for played in played {
        let Some(ours) = played.entry(ours) else { continue };
        for entry in &played.entries {
            object.rows.push(json!({
                "scenario": played.scenario.name(),
                "governor": entry.player.to_string(),
                "setting": (entry.player == Player::BestStatic).then(|| setting(played)),
                "ours_is": (entry.player != ours.player).then(|| played.verdict(ours, entry).to_string()),
                "figures": figures(played, entry, ours),
            }));
            if entry.player == ours.player {
                let name = played.scenario.name().replace('-', "_");
                object.figure(&format!("{name}_energy_per_token_j"), entry.mean(Account::energy_per_token_j));
                object.figure(&format!("{name}_miss_share"), entry.mean(Account::miss_share));
            }
        }
    }
    object
}

/// The best static setting, as `--governor` takes it.
fn setting(played: &Played) -> String {
    let (actions, best) = (played.setup.actions(), played.best_static);
    let value = |knob| usize::from(best.get(knob));
    let (batch, depth, fan) =
        (actions.batch[value(Knob::Batch)], actions.depth[value(Knob::Depth)], actions.fan_pwm[value(Knob::Fan)]);
    let (prefill, decode) = (best.prefill, best.decode);
    Choice::Fixed { prefill, decode, batch, depth, fan_pwm: fan }.to_string()
}

fn describe(played: &[Played], ours: &Player, missed: &[String], options: &Arguments) -> String {
    let tables: Vec<String> = played.iter().filter_map(|played| describe_one(played, ours)).collect();
    let verdict = if missed.is_empty() {
        format!("{ours} keeps all its limits")
    } else {
        format!("missed:\n  {}", missed.join("\n  "))
    };
    format!(
        "{}\n{} seeds (oracle: {}); last column: difference of reward on the same seeds with its 95 % interval\n\
         vs oracle: on the seeds that both played; best static: found on seeds of this very table\n{verdict}\nfigure: {}",
        tables.join("\n"),
        options.seeds,
        options.oracle_seeds,
        options.out.join("closed-loop.png").display()
    )
}

fn describe_one(played: &Played, ours: &Player) -> Option<String> {
    let terms = played.setup.terms();
    let (own, oracle) = (played.entry(ours)?, played.entry(&Player::Oracle)?);
    let numbers = ["J/token", "vs oracle %", "reward", "misses %", "> limit", "max °C", "overruled %"];
    let first = format!("{} (simulated)", played.scenario.name());
    let numbers = numbers.map(str::to_owned);
    let mut table = Table::new([first].into_iter().chain(numbers).chain([format!("{ours} is")]));
    for entry in &played.entries {
        let verdict = || {
            let less = own.less(entry, |account| account.reward(terms));
            format!("{} ({:+.4} ± {:.4})", less.verdict(), less.mean, less.half_width)
        };
        table.row([
            entry.player.to_string(),
            format!("{:.4}", entry.mean(Account::energy_per_token_j)),
            format!("{:+.1}", entry.energy_above(oracle) * 100.0),
            format!("{:.4}", entry.mean(|account| account.reward(terms))),
            format!("{:.2}", entry.mean(Account::miss_share) * 100.0),
            entry.samples_above_limit().to_string(),
            format!("{:.1}", entry.hottest_c()),
            format!("{:.2}", entry.mean(Account::overruled_share) * 100.0),
            if entry.player == *ours { String::new() } else { verdict() },
        ]);
    }
    Some(format!("{table}best static: {}; a miss: above {:.1} s\n", setting(played), terms.deadline_s))
}

/// One line per player over the scenarios.
fn draw(played: &[Played], seeds: u64) -> Figure {
    let names: Vec<String> = played.iter().map(|played| played.scenario.name()).collect();
    // `min` would hide all others, and the caps are many.
    let shown = |player: &&Player| !matches!(player, Player::Governor(Choice::Min | Choice::Capped { .. }));
    let players: Vec<&Player> = played
        .first()
        .map_or_else(Vec::new, |first| first.entries.iter().map(|entry| &entry.player).filter(shown).collect());
    let panel = |label: &str, value: &dyn Fn(&Played, &Entry) -> f64| {
        let line = |player: &&Player| Line {
            name: player.to_string(),
            points: played
                .iter()
                .zip(1..)
                .filter_map(|(played, number)| Some((f64::from(number), value(played, played.entry(player)?))))
                .collect(),
        };
        Panel { label: label.to_owned(), lines: players.iter().map(line).collect(), limit: None, steps: false }
    };
    Figure {
        title: format!("energyllm eval, closed loop on the simulated board, {seeds} seeds; min and caps not shown"),
        time_label: format!("scenario: {}", names.join(", ")),
        panels: vec![
            panel("J/token vs oracle, %", &|played, entry| {
                played.entry(&Player::Oracle).map_or(f64::NAN, |oracle| entry.energy_above(oracle) * 100.0)
            }),
            panel("misses, %", &|_, entry| entry.mean(Account::miss_share) * 100.0),
            panel("highest, °C", &|_, entry| entry.hottest_c()),
        ],
        mark: None,
    }
}
