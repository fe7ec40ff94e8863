//! What an online training begins with: a policy, a place and a reward.

use super::{Arguments, Board, RewardName};
use crate::cli::commissioned::{Commissioned, prefer};
use crate::env::living::Workload;
use crate::env::logged;
use crate::eval::prototype::log::step;
use crate::grpo::checkpoint::{Checkpoint, Content};
use crate::grpo::group::Grouping;
use crate::grpo::layout;
use crate::grpo::network::Network;
use crate::grpo::online::place::{GridFile, Place};
use crate::grpo::rollout::World;
use crate::import::prototype::Prototype;
use crate::import::torch;
use crate::input_file;
use crate::quantize::thaw;
use crate::verify::plant::Log;
use anyhow::Context as _;
use controller_core::action::ActionSpace;
use controller_core::control::RewardRule;
use controller_core::policy::MAGIC;
use controller_core::reward::published::Range;
use controller_core::reward::step::Step;
use controller_core::reward::{Fixed, Variant};
use controller_core::supervisor::{Limits, Paces};
use std::path::{Path, PathBuf};

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
pub fn grouping(options: &Arguments, from: Option<&Checkpoint>) -> Grouping {
    match options.group {
        Some(actions) => Grouping::Drawn(actions),
        None if from.is_some_and(Checkpoint::is_joint) => Grouping::Drawn(DRAWN),
        None => Grouping::Knob,
    }
}

pub fn default_reward(options: &Arguments, from: Option<&Checkpoint>) -> anyhow::Result<RewardName> {
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

pub fn simulated(
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

pub fn replayed(
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
    let content = Content { seed, ..Content::untrained(observation, actions.clone(), Variant::Service) };
    Checkpoint::untrained(content, network)
}
