//! `energyllm train online`: on one living board, which nobody resets.

use super::super::commissioned::{Commissioned, prefer};
use super::super::interrupt;
use super::super::output::{Object, note, print};
use super::super::world::WorldArguments;
use super::super::{Format, Outcome};
use super::losses::{self, Row, draw};
use super::{Files, real, within};
use crate::atomic_file::AtomicFile;
use crate::env::living::{LivingError, Workload};
use crate::env::logged;
use crate::eval::prototype::log::step;
use crate::grpo::checkpoint::{Checkpoint, Content};
use crate::grpo::group::Grouping;
use crate::grpo::layout;
use crate::grpo::network::Network;
use crate::grpo::online::fan::FanSchedule;
use crate::grpo::online::place::{GridFile, Place};
use crate::grpo::online::turn_log::{self, TurnLog};
use crate::grpo::online::{Episode, OnlineError, OnlineTrainer, Plan};
use crate::grpo::rollout::World;
use crate::import::prototype::Prototype;
use crate::import::torch;
use crate::input_file;
use crate::quantize::thaw;
use crate::report::csv_log::CsvLog;
use crate::report::manifest::Manifest;
use crate::verify::plant::Log;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use controller_core::action::ActionSpace;
use controller_core::control::RewardRule;
use controller_core::policy::MAGIC;
use controller_core::reward::published::Range;
use controller_core::reward::step::Step;
use controller_core::reward::{Fixed, Variant};
use controller_core::supervisor::{Limits, Paces};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Instant;

/// On one living board: state is measured and never reset, groups run one member after the other.
///
/// An episode is one group: different actions, each for some turns in random order and once more in mirrored order, then
/// greedy turns of the policy by itself. The supervisor is on. `--from` takes a checkpoint, a policy image or
/// a `PyTorch` checkpoint of the published prototype (.pth), and keeps the policy near it.
///
/// With `--board jetson` llama.cpp answers on this machine, with clocks and fan set for every turn (`--apply`); they are given
/// back, however the training ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm train online --from models/policies/service.elp --episodes 200 --out tuned.ckpt
  energyllm train online --from policy.ckpt --fan cycle:30,70 --ambient 35 --quantized
  energyllm train online --board replay --grid grid_fan_on.csv --grid-fan-off grid_fan_off.csv --fan prototype-continued
  energyllm train online --from grpo_model_FINAL.pth --board replay --grid grid_fan_on.csv
  sudo energyllm train online --board jetson --apply --from models/policies/service.elp --model model.gguf --threads 8")]
pub struct Arguments {
    /// The board.
    #[arg(long, value_enum, default_value_t = Board::Sim)]
    board: Board,
    /// Board profile: physics, knobs, limits and reward.
    #[arg(long, value_name = "FILE", default_value = "models/boards/agx-orin-hf.toml")]
    pub profile: PathBuf,
    /// Quality of the answers per depth, written by the model's maker.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/depths.json")]
    depths: PathBuf,
    /// Start from this policy: a checkpoint, an image, or a .pth of the prototype; or from one that prefers the setting that
    /// `search live` found (its .json). Default: a random one.
    #[arg(long, value_name = "POLICY")]
    from: Option<PathBuf>,
    /// Replay: a grid logged with a working fan; give it again for more.
    #[arg(long, value_name = "CSV")]
    grid: Vec<PathBuf>,
    /// Replay: a grid logged with a stopped fan; give it again for more.
    #[arg(long, value_name = "CSV")]
    grid_fan_off: Vec<PathBuf>,
    /// When the fan works: always, never, prototype, prototype-continued, or cycle:ON,OFF in episodes.
    #[arg(long, default_value = "always", value_parser = FanSchedule::from_str)]
    fan: FanSchedule,
    /// Which reward. Default: that of the policy, and step for a random one on a replay.
    #[arg(long, value_enum)]
    reward: Option<RewardName>,
    /// Requests per second. Default: 4; 10 under the reward step, which keeps every batch full.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Sim: air around the board, °C. Default: 25.
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    ambient: Option<f64>,
    /// Sim: temperature of the board at the start, °C. Default: 20 K above the air.
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    start: Option<f64>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Most episodes.
    #[arg(long, default_value_t = Plan::default().episodes)]
    episodes: u32,
    /// Most answered requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Draw so many different actions for a group. Default: the likely values of one knob and their neighbours; 6 actions
    /// for a policy that is one distribution over all.
    #[arg(long, value_name = "ACTIONS")]
    group: Option<usize>,
    /// Turns of a run; where there are several, the first one settles what the member before has left and does not count.
    #[arg(long, default_value_t = Plan::default().turns, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Episodes between two updates.
    #[arg(long, default_value_t = Plan::default().episodes_per_update, value_parser = clap::value_parser!(u32).range(1..=1000))]
    episodes_per_update: u32,
    /// Learning rate at the start; it falls linearly to a tenth.
    #[arg(long, value_name = "RATE", default_value_t = Plan::default().learning_rate)]
    learning_rate: f64,
    /// Weight of the divergence from the policy that the training begins with.
    #[arg(long, value_name = "WEIGHT", default_value_t = Plan::default().kl)]
    kl: f64,
    /// Decide and learn as the policy's image will (quantization-aware).
    #[arg(long)]
    quantized: bool,
    /// Stop when the mean reward of the last 15 greedy turns reaches this.
    #[arg(long, value_name = "REWARD", allow_negative_numbers = true)]
    stop_at_reward: Option<f64>,
    /// Stop when the loss stands still or the policy is sure of its choices.
    #[arg(long)]
    stop_when_converged: bool,
    /// A checkpoint is written every so many updates, and at the end.
    #[arg(long, value_name = "UPDATES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,
    /// Where the checkpoint goes; logs, figure and manifest lie beside it.
    #[arg(long, value_name = "FILE", default_value = "out/online.ckpt")]
    out: PathBuf,
    #[command(flatten)]
    pub real: real::Arguments,
}

impl Arguments {
    /// Requests per second.
    pub fn rate(&self, reward: RewardName) -> f64 {
        self.rate.unwrap_or(if reward == RewardName::Step { 10.0 } else { 4.0 })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Board {
    /// The simulated board.
    Sim,
    /// Logged grids.
    Replay,
    /// The board of this machine.
    Jetson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RewardName {
    /// Energy per token, response, heat, quality.
    Service,
    /// That of the published training logs.
    Step,
}

/// Air around the simulated board, °C.
const USUAL_AIR_C: f64 = 25.0;
/// Prompts and answers of the service, tokens.
const PROMPT: (u32, u32) = (14, 30);
const ANSWER: (u32, u32) = (12, 28);
/// Those of the published runs.
const PUBLISHED_PROMPT: (u32, u32) = (9, 23);
const PUBLISHED_ANSWER: (u32, u32) = (100, 100);
/// Ranges of the published training log, frozen.
const PUBLISHED: Step<f64> = step(
    Range { low: 7.707_851_057_374_813, high: 920.960_054_059_606_3 },
    Range { low: 0.000_117_531_270_860_798_94, high: 0.002_150_846_451_480_048_3 },
    Range { low: 108.524_687_75, high: 432.197_717_24 },
);

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    check(options)?;
    AtomicFile::check(&options.out)?;
    let world = WorldArguments { board: options.profile.clone(), depths: options.depths.clone(), horizon: 240.0 };
    let world = world.world()?;
    let start = |path: &Path| read_policy(path, &world.profile.actions, options.seed);
    let from = options.from.as_deref().map(start).transpose()?;
    let reward = options.reward.map_or_else(|| default_reward(options, from.as_ref()), Ok)?;
    let plan = Plan {
        seed: options.seed,
        episodes: options.episodes,
        requests: options.requests,
        grouping: grouping(options, from.as_ref()),
        turns: options.turns,
        episodes_per_update: options.episodes_per_update,
        learning_rate: options.learning_rate,
        kl: options.kl,
        fan: options.fan,
        quantized: options.quantized,
        stop_at_reward: options.stop_at_reward,
        stop_when_converged: options.stop_when_converged,
        ..Plan::default()
    };
    let board = world.profile.plant.name.to_string();
    let (policy, place, rule) = match options.board {
        Board::Sim => simulated(options, world, from, reward),
        Board::Replay => replayed(options, &world, from, reward)?,
        Board::Jetson => return real::run(options, &world, from, reward, plan, format),
    };
    let trainer = OnlineTrainer::new(policy, place, rule, plan)?;
    let manifest = manifest(options)?;
    let manifest = if matches!(options.board, Board::Sim) { manifest.on_simulated(&board) } else { manifest };
    begin(trainer, options, &manifest, format)
}

pub fn manifest(options: &Arguments) -> anyhow::Result<Manifest> {
    let mut inputs = vec![options.profile.as_path(), options.depths.as_path()];
    inputs.extend(options.from.iter().chain(&options.grid).chain(&options.grid_fan_off).map(PathBuf::as_path));
    Ok(Manifest::of("train online", options.seed, &inputs)?)
}

/// Begins the files, and trains.
pub fn begin(
    trainer: OnlineTrainer,
    options: &Arguments,
    manifest: &Manifest,
    format: Format,
) -> anyhow::Result<Outcome> {
    let files = Files::beside(&options.out);
    manifest.write(&files.manifest())?;
    let losses = CsvLog::create(&files.losses(), &losses::COLUMNS)?;
    let episodes = CsvLog::create(&files.episodes(), &turn_log::COLUMNS)?;
    go_on(trainer, &files, (losses, episodes), options.checkpoint_every, format)
}

fn check(options: &Arguments) -> anyhow::Result<()> {
    within("--group", options.group.unwrap_or(2), 2, 64)?;
    anyhow::ensure!(
        options.learning_rate > 0.0 && options.learning_rate <= 1.0,
        "--learning-rate must lie above 0 and at most at 1, not {}",
        options.learning_rate
    );
    anyhow::ensure!((0.0..=1000.0).contains(&options.kl), "--kl must lie between 0 and 1000, not {}", options.kl);
    let rate = options.rate.unwrap_or(1.0);
    anyhow::ensure!((1e-3..=1000.0).contains(&rate), "--rate must lie between 0.001 and 1000, not {rate}");
    for (name, celsius) in [("--ambient", options.ambient), ("--start", options.start)] {
        anyhow::ensure!(
            celsius.is_none_or(|celsius| (-40.0..=95.0).contains(&celsius)),
            "{name} must lie between -40 and 95 °C"
        );
    }
    let grids = options.grid.len() + options.grid_fan_off.len();
    match options.board {
        Board::Replay if grids == 0 => {
            anyhow::bail!("--board replay needs logged grids; name them with --grid and --grid-fan-off")
        }
        Board::Sim | Board::Jetson if grids > 0 => {
            anyhow::bail!("--grid is for --board replay; other boards have their own physics")
        }
        Board::Replay | Board::Jetson if options.ambient.is_some() || options.start.is_some() => {
            anyhow::bail!("--ambient and --start are for the simulated board; leave them away")
        }
        Board::Sim | Board::Replay => options.real.check_simulated(),
        Board::Jetson => Ok(()),
    }
}

/// A checkpoint, an image, a checkpoint of the prototype, or a fresh policy that prefers a commissioned setting of a board
/// with these knobs.
pub fn read_policy(path: &Path, actions: &ActionSpace, seed: u64) -> anyhow::Result<Checkpoint> {
    let bytes = input_file::read(path).with_context(|| format!("cannot read the policy {}", path.display()))?;
    if bytes.starts_with(&torch::MAGIC) {
        let prototype = Prototype::read(path).with_context(|| format!("cannot import {}", path.display()))?;
        return Ok(prototype.checkpoint());
    }
    if bytes.starts_with(&MAGIC) {
        return thaw(&bytes).with_context(|| format!("cannot read the policy {}", path.display()));
    }
    if bytes.starts_with(b"{") {
        let unusable = || format!("cannot start from {}", path.display());
        let action = Commissioned::parse(&bytes).and_then(|found| found.action(actions)).with_context(unusable)?;
        let mut policy = random(actions, seed);
        prefer(&mut policy, action);
        return Ok(policy);
    }
    Ok(Checkpoint::read(path)?)
}

/// Actions of a group of a joint policy.
const DRAWN: usize = 6;

/// A random policy is a factored one.
fn grouping(options: &Arguments, from: Option<&Checkpoint>) -> Grouping {
    match options.group {
        Some(actions) => Grouping::Drawn(actions),
        None if from.is_some_and(Checkpoint::is_joint) => Grouping::Drawn(DRAWN),
        None => Grouping::Knob,
    }
}

fn default_reward(options: &Arguments, from: Option<&Checkpoint>) -> anyhow::Result<RewardName> {
    match (from.map(|policy| policy.content.reward), options.board) {
        (None, Board::Replay) | (Some(Variant::Step), _) => Ok(RewardName::Step),
        (None, Board::Sim | Board::Jetson) | (Some(Variant::Service), _) => Ok(RewardName::Service),
        (Some(other), _) => anyhow::bail!(
            "the policy was trained for the reward {other}, which online training does not have; choose --reward service \
             or --reward step"
        ),
    }
}

/// Limits for trials: heat and power bind as ever, but a trial wants its setting now.
pub const fn for_trials(limits: Limits) -> Limits {
    Limits { pace: Paces::FREE, ..limits }
}

fn simulated(
    options: &Arguments,
    world: World,
    from: Option<Checkpoint>,
    reward: RewardName,
) -> (Checkpoint, Place, RewardRule) {
    let policy = from.unwrap_or_else(|| random(&world.profile.actions, options.seed));
    let published = reward == RewardName::Step;
    let ambient_c = options.ambient.unwrap_or(USUAL_AIR_C);
    let workload = Workload {
        rate: options.rate(reward),
        prompt_tokens: if published { PUBLISHED_PROMPT } else { PROMPT },
        answer_tokens: if published { PUBLISHED_ANSWER } else { ANSWER },
        ambient_c,
        start_c: options.start.unwrap_or(ambient_c + 20.0),
        response_limit: world.reward.response_limit,
        seed: options.seed,
    };
    let limits = for_trials(world.limits);
    let place = Place::Simulated { plant: Box::new(world.profile.plant), limits, workload };
    (policy, place, rule(reward, &world.reward))
}

/// The reward where no log sets its ranges.
pub fn rule(reward: RewardName, service: &controller_core::reward::service::Service) -> RewardRule {
    match reward {
        RewardName::Service => RewardRule::Service(service.clone()),
        RewardName::Step => RewardRule::Step(PUBLISHED.map(&Fixed::from_num)),
    }
}

fn replayed(
    options: &Arguments,
    world: &World,
    from: Option<Checkpoint>,
    reward: RewardName,
) -> anyhow::Result<(Checkpoint, Place, RewardRule)> {
    let plant = &world.profile.plant;
    let files = |paths: &[PathBuf]| paths.iter().map(|path| GridFile::of(path)).collect::<Result<Vec<_>, _>>();
    let (fan_on, fan_off) = (files(&options.grid)?, files(&options.grid_fan_off)?);
    let logs = |files: &[GridFile]| files.iter().map(|file| file.read(plant)).collect::<Result<Vec<_>, _>>();
    let (on, off) = (logs(&fan_on)?, logs(&fan_off)?);
    let policy = match from {
        Some(policy) => policy,
        None => random(&logged::actions(plant, &on, &off)?, options.seed),
    };
    let rule = match reward {
        RewardName::Service => RewardRule::Service(world.reward.clone()),
        RewardName::Step => RewardRule::Step(step_of(&on, &off)?.map(&Fixed::from_num)),
    };
    let place = Place::Logged {
        plant: Box::new(plant.clone()),
        limits: for_trials(world.limits),
        fan_on,
        fan_off,
        seed: options.seed,
    };
    Ok((policy, place, rule))
}

/// The reward `step` with the ranges of the grids themselves, which stay as they are.
fn step_of(on: &[Log], off: &[Log]) -> anyhow::Result<Step<f64>> {
    let rows = || on.iter().chain(off).flat_map(|log| &log.rows);
    let range = |value: &dyn Fn(&crate::verify::plant::Row) -> Option<f64>| {
        let (low, high) = rows()
            .filter_map(value)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        anyhow::ensure!(low < high, "the grids hold no two rows that differ; give whole grids");
        Ok(Range { low, high })
    };
    Ok(step(
        range(&|row| Some(f64::from(row.prompt_tokens + 100 * row.batch) / row.latency_s))?,
        range(&|row| Some(1.0 / (row.energy_j? * row.latency_s)))?,
        range(&|row| row.energy_j)?,
    ))
}

/// A random policy for these knobs.
pub fn random(actions: &ActionSpace, seed: u64) -> Checkpoint {
    let observation = layout::standard();
    let network = Network::new(observation.len(), &[32, 32], actions.sizes().iter().sum(), seed);
    let content = Content {
        observation,
        actions: actions.clone(),
        reward: Variant::Service,
        environment: String::new(),
        seed,
        updates: 0,
        evaluations: 0,
        optimizer_steps: 0,
        activation_peaks: None,
        training: None,
    };
    Checkpoint::untrained(content, network)
}

/// Trains to the end of the plan.
pub fn go_on(
    mut trainer: OnlineTrainer,
    files: &Files,
    (mut losses, mut episodes): (CsvLog, CsvLog),
    checkpoint_every: u32,
    format: Format,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    interrupt::watch()?;
    let bar = ProgressBar::new(u64::from(trainer.plan().episodes));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes {msg} ({per_sec}, eta {eta})")?);
    bar.set_position(u64::from(trainer.counts().0));
    bar.reset_eta();
    trainer.checkpoint().write(&files.checkpoint)?;
    let mut stop = None;
    while !trainer.is_done() && !interrupt::is_wanted() {
        let episode = match trainer.episode() {
            // What was tried of the group is not enough to learn from.
            Err(OnlineError::Board(LivingError::Stopped)) => break,
            episode => episode?,
        };
        let log =
            TurnLog { actions: &trainer.content().actions, limits: trainer.place().limits(), rule: trainer.rule() };
        log.rows(&episode).iter().try_for_each(|row| episodes.row(row))?;
        if let Some(row) = row(&episode, &trainer) {
            row.write(&mut losses)?;
            if (row.update_step + 1).is_multiple_of(checkpoint_every) {
                losses.sync()?;
                episodes.sync()?;
                trainer.checkpoint().write(&files.checkpoint)?;
            }
        }
        tell(&bar, &episode, &trainer);
        stop = episode.stop;
    }
    bar.finish_and_clear();
    let checkpoint = trainer.checkpoint();
    losses.sync()?;
    episodes.sync()?;
    checkpoint.write(&files.checkpoint)?;
    let simulated = trainer.place().is_simulated();
    let source = trainer.place().kind();
    let seed = trainer.plan().seed;
    let figure = trainer.counts().1 > 0;
    if figure {
        draw(&files.losses(), &format!("energyllm train online, seed {seed} ({source})"), &files.figure())?;
    }
    let (done, updates, turns, requests) = trainer.counts();
    let complete = trainer.is_done();
    let mut object = Object::new("train online", Some(seed), simulated);
    object.figure("episodes", done);
    object.figure("policy_updates", updates);
    object.figure("updates", checkpoint.content.updates);
    object.figure("turns", turns);
    object.figure("requests", requests);
    if let Some(reward) = trainer.convergence().mean_reward() {
        object.figure("final_greedy_reward", reward);
    }
    object.figure("action_confidence", trainer.convergence().action_confidence());
    object.figure("stopped_by_rule", serde_json::to_value(stop)?);
    object.wall("seconds", started.elapsed().as_secs_f64());
    object.wall("complete", complete);
    object.wall("checkpoint", files.checkpoint.display().to_string());
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{} on the {source}: {done} episodes, {turns} turns, {requests} requests, {updates} updates{}\n\
             mean reward of the last greedy turns: {}\ncheckpoint: {}\nturns: {}\nlosses: {}{}",
            match (complete, trainer.place()) {
                (true, _) => "trained",
                (false, Place::Real { .. }) => "interrupted; `--from` with its checkpoint goes on",
                (false, _) => "interrupted; `energyllm train resume` goes on",
            },
            stop.map_or_else(String::new, |rule| format!("; stopped by the rule {rule:?}").to_lowercase()),
            trainer.convergence().mean_reward().map_or_else(|| "none".into(), |reward| format!("{reward:.4}")),
            files.checkpoint.display(),
            files.episodes().display(),
            files.losses().display(),
            if figure { format!(", {}", files.figure().display()) } else { String::new() }
        ))?,
    }
    Ok(Outcome::of(true, !complete))
}

fn row(episode: &Episode, trainer: &OnlineTrainer) -> Option<Row> {
    let update = episode.update?;
    Some(Row {
        update_step: update.number,
        losses: update.losses,
        reward: update.mean_reward,
        best_reward: update.best_reward,
        violations: update.violations,
        learning_rate: update.learning_rate,
        evaluations: trainer.content().evaluations,
    })
}

fn tell(bar: &ProgressBar, episode: &Episode, trainer: &OnlineTrainer) {
    let greedy = trainer.convergence().mean_reward().unwrap_or(f64::NAN);
    if bar.is_hidden() && (episode.number + 1).is_multiple_of(20) {
        let loss = trainer.convergence().last_loss().0.unwrap_or(f64::NAN);
        note(&format!(
            "episode {}: greedy reward {greedy:.4}, loss {loss:.4}, noise {:.4}, drift {:+.5} a turn",
            episode.number + 1,
            episode.noise,
            episode.drift
        ));
    }
    bar.set_message(format!("greedy reward {greedy:.4}"));
    bar.set_position(u64::from(episode.number) + 1);
}
