//! `energyllm train online`: on one living board, which nobody resets.

mod start;
mod training;

pub use start::{for_trials, random, rule};
pub use training::go_on;

use super::super::world::WorldArguments;
use super::super::{Format, Outcome};
use super::{Files, losses, real, within};
use crate::atomic_file::AtomicFile;
use crate::grpo::online::fan::FanSchedule;
use crate::grpo::online::turn_log;
use crate::grpo::online::{OnlineTrainer, Plan};
use crate::report::csv_log::CsvLog;
use crate::report::manifest::Manifest;
use clap::{Args, ValueEnum};
use start::{default_reward, grouping, read_policy, replayed, simulated};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

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
