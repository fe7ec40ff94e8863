//! Training in the simulator: many contexts side by side, groups, advantages, several epochs of updates.

use super::checkpoint::{Checkpoint, Content, Training};
use super::group::{Group, Grouping};
use super::heads::Heads;
use super::lane::{Lane, Past};
use super::loss::{Coefficients, Divergence};
use super::network::Network;
use super::rollout::World;
use super::update::{Learner, Losses, Passes, members};
use crate::quantize::{FakeQuantizer, FreezeError};
use controller_core::action::Knob;
use controller_core::reward::Variant;
use controller_core::rng::Pcg32;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// Rounds of rollouts and updates.
    pub iterations: u32,
    /// Of these, the last so many are quantization-aware: the policy decides and learns as its image will.
    pub quantized: u32,
    /// Contexts side by side.
    pub contexts: usize,
    /// Which actions are tried in each context.
    pub grouping: Grouping,
    /// Passes over the groups of a round.
    pub epochs: usize,
    /// Parameter updates per pass.
    pub minibatches: usize,
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Learning rate at the start; it falls linearly to a fiftieth.
    pub learning_rate: f64,
    /// Weight of the entropy bonus at the start; it falls linearly to zero at half time. The second half teaches the policy
    /// as it will be frozen, without chance.
    pub entropy: f64,
    /// Weight of the KL divergence from the policy of the previous round.
    pub kl: f64,
    /// Clip range of the ratio.
    pub clip: f64,
    /// Spread of rewards that is nothing: it is rounding.
    pub noise_floor: f64,
    /// Threads for rollouts; the result does not depend on it, so checkpoints do not hold it.
    #[serde(skip, default = "two")]
    pub threads: usize,
}

const fn two() -> usize {
    2
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            iterations: 4400,
            quantized: 0,
            contexts: 256,
            grouping: Grouping::Knob,
            epochs: 4,
            minibatches: 4,
            hidden: vec![16, 16],
            learning_rate: 3e-3,
            entropy: 0.03,
            kl: 0.02,
            clip: 0.2,
            noise_floor: 2e-5,
            threads: two(),
        }
    }
}

impl Plan {
    /// The one knob that learns, where it is one.
    const fn only(&self) -> Option<Knob> {
        if let Grouping::Only(knob) = self.grouping { Some(knob) } else { None }
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Rounds done.
    pub iteration: u32,
    /// Mean reward over all members of all groups.
    pub mean_reward: f64,
    /// Mean of the best reward of each group.
    pub best_reward: f64,
    /// Mean entropy of the policy, nats.
    pub entropy: f64,
    /// Mean KL divergence from the policy that drew the groups, nats, after the updates.
    pub kl: f64,
    /// Share of the members that passed the temperature limit.
    pub violations: f64,
    /// Learning rate of the round.
    pub learning_rate: f64,
    /// What the updates did.
    pub losses: Losses,
    /// Actions tried so far.
    pub evaluations: u64,
}

/// A training in progress.
#[derive(Debug)]
pub struct Trainer {
    world: World,
    plan: Plan,
    learner: Learner,
    lanes: Vec<Lane>,
    rng: Pcg32,
    iteration: u32,
    updates: u32,
    evaluations: u64,
    mean: Option<Network>,
}

/// Everything of a training that is not in its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainState {
    world: World,
    plan: Plan,
    rng: Pcg32,
    iteration: u32,
    lanes: Vec<Past>,
}

/// One round in so many, the last ones, is part of the mean that a training comes to.
const AVERAGED_ONE_IN: u32 = 4;

/// Of the groups that vary a knob, the share whose advantages are in units of a common spread.
const COMMON: f64 = 0.9;
/// The same where one knob alone learns: one that changes little, and nothing where it changes much for others' sake.
const COMMON_OF_ONE: f64 = 0.7;

/// The spread that all but the widest groups of a round have, for the groups of each knob. Scaled by its own spread, a group
/// in which much is at stake would count no more than one in which little is, and where situations look alike the policy would
/// do what is most often right instead of what is best in the mean (Z. Liu et al., "Understanding R1-Zero-Like Training",
/// 2025, on the bias of that scale).
fn usual_spreads(groups: &[Group], share: f64) -> impl Fn(Option<Knob>) -> f64 {
    let mut spreads: BTreeMap<Option<Knob>, Vec<f64>> = BTreeMap::new();
    for group in groups {
        spreads.entry(group.knob).or_default().push(group.spread());
    }
    for of_knob in spreads.values_mut() {
        of_knob.sort_by(f64::total_cmp);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among some groups")]
    let common = move |spreads: &Vec<f64>| spreads[(spreads.len() as f64 * share) as usize];
    move |knob| spreads.get(&knob).map_or(0.0, common)
}

impl Trainer {
    /// Starts a training from scratch.
    #[must_use]
    pub fn new(world: World, plan: Plan) -> Self {
        let mut rng = Pcg32::new(plan.seed);
        let logits = world.profile.actions.sizes().iter().sum();
        let network = Network::new(world.layout.len(), &plan.hidden, logits, u64::from(rng.next_u32()));
        Self::start(world, plan, network, rng)
    }

    /// Starts a training from the policy of a checkpoint, with fresh moments. Its inputs and knobs take the place of the
    /// world's.
    #[must_use]
    pub fn from_policy(world: World, plan: Plan, policy: Checkpoint) -> Self {
        let mut rng = Pcg32::new(plan.seed);
        rng.next_u32();
        let world = World { layout: policy.content.observation, ..world };
        Self::start(world, plan, policy.network, rng)
    }

    fn start(world: World, plan: Plan, network: Network, mut rng: Pcg32) -> Self {
        let mut lane = |_| Lane::new(&world, Pcg32::new(u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32())));
        let lanes = (0..plan.contexts).map(&mut lane).collect();
        Self {
            world,
            plan,
            learner: Learner::new(network),
            lanes,
            rng,
            iteration: 0,
            updates: 0,
            evaluations: 0,
            mean: None,
        }
    }

    /// Goes on where a checkpoint was written; `None` when it is no checkpoint of such a training.
    #[must_use]
    pub fn resume(checkpoint: Checkpoint) -> Option<Self> {
        let Checkpoint { content, network, optimizer, mean, .. } = checkpoint;
        let Some(Training::Pretrain(state)) = content.training else { return None };
        let PretrainState { world, plan, rng, iteration, lanes } = *state;
        let quantizer = content.activation_peaks.map(FakeQuantizer::with_peaks);
        let lanes = lanes.into_iter().map(|past| Lane::relived(&world, past)).collect();
        let learner = Learner { network, optimizer, quantizer };
        let (updates, evaluations) = (content.updates, content.evaluations);
        Some(Self { world, plan, learner, lanes, rng, iteration, updates, evaluations, mean })
    }

    /// How the training goes.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Changes the number of threads, which does not change the result.
    pub const fn set_threads(&mut self, threads: usize) {
        self.plan.threads = threads;
    }

    /// Rounds done.
    #[must_use]
    pub const fn iteration(&self) -> u32 {
        self.iteration
    }

    /// All rounds of the plan are done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.iteration >= self.plan.iterations
    }

    /// One round: rollouts, advantages, updates.
    pub fn iterate(&mut self) -> Result<Progress, FreezeError> {
        let groups = self.rollouts()?;
        self.calibrate(&groups);
        self.evaluations += groups.iter().map(|group| group.actions.len() as u64).sum::<u64>();
        let floor = self.plan.noise_floor;
        let usual = usual_spreads(&groups, if self.plan.only().is_some() { COMMON_OF_ONE } else { COMMON });
        let members = members(&groups, |group| group.advantages(floor.max(usual(group.knob))));
        let references = self.heads(&groups)?;
        let passes = self.passes();
        let actions = &self.world.profile.actions;
        let losses = self.learner.update(actions, &groups, &references, &members, &passes, &mut self.rng)?;
        self.updates += losses.updates;
        self.iteration += 1;
        self.average();
        let count = groups.len() as f64;
        let after = self.heads(&groups)?;
        let rewards: Vec<f64> = groups.iter().flat_map(|group| group.rewards.iter().copied()).collect();
        let mean = |sum: f64| sum / rewards.len().max(1) as f64;
        Ok(Progress {
            iteration: self.iteration,
            mean_reward: mean(rewards.iter().sum()),
            best_reward: groups.iter().map(Group::best_reward).sum::<f64>() / count,
            entropy: after.iter().map(Heads::entropy).sum::<f64>() / count,
            kl: after.iter().zip(&references).map(|(new, old)| new.kl(old)).sum::<f64>() / count,
            violations: mean(groups.iter().map(|group| group.violations).sum::<usize>() as f64),
            learning_rate: passes.learning_rate,
            losses,
            evaluations: self.evaluations,
        })
    }

    /// What a training comes to is the mean of the parameters over its last rounds: single rounds lie around what they
    /// circle (B. T. Polyak, A. B. Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992).
    fn average(&mut self) {
        let Plan { iterations, quantized, .. } = self.plan;
        let rounds = iterations / AVERAGED_ONE_IN;
        // Rounds that decide as no image does have no part in a policy that is trained as it will be frozen.
        let rounds = if quantized > 0 { rounds.min(quantized) } else { rounds };
        let done = (self.iteration + rounds).saturating_sub(iterations);
        if done > 0 {
            let network = &mut self.learner.network;
            let mean = self.mean.get_or_insert_with(|| network.clone());
            for (mean, now) in mean.parameters_mut().zip(network.parameters()) {
                *mean += (now - *mean) / f64::from(done);
            }
        }
        if self.is_done()
            && let Some(mean) = self.mean.take()
        {
            self.learner.network = mean;
        }
    }

    /// The policy at the observation of every group.
    fn heads(&self, groups: &[Group]) -> Result<Vec<Heads>, FreezeError> {
        let policy = self.learner.policy()?;
        Ok(groups.iter().map(|group| policy.heads(&group.observation, &self.world.profile.actions)).collect())
    }

    /// From the round on where training becomes quantization-aware, scales follow what the policy meets.
    fn calibrate(&mut self, groups: &[Group]) {
        if self.iteration + self.plan.quantized < self.plan.iterations {
            return;
        }
        let observations: Vec<Vec<i16>> = groups.iter().map(|group| group.observation.clone()).collect();
        let Learner { network, quantizer, .. } = &mut self.learner;
        match quantizer {
            None => *quantizer = Some(FakeQuantizer::new(network, &observations)),
            Some(quantizer) => quantizer.watch(network, &observations),
        }
    }

    /// One group per lane, in the order of the lanes whatever the number of threads.
    fn rollouts(&mut self) -> Result<Vec<Group>, FreezeError> {
        let (world, policy, grouping) = (&self.world, &self.learner.policy()?, self.plan.grouping);
        let share = self.lanes.len().div_ceil(self.plan.threads.max(1));
        Ok(std::thread::scope(|scope| {
            let work = |lanes: &mut [Lane]| -> Vec<Group> {
                lanes.iter_mut().map(|lane| lane.advance(world, policy, grouping)).collect()
            };
            let threads: Vec<_> = self.lanes.chunks_mut(share).map(|lanes| scope.spawn(move || work(lanes))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("rollouts do not panic")).collect()
        }))
    }

    /// How this round learns.
    fn passes(&self) -> Passes {
        let Plan { iterations, epochs, minibatches, learning_rate, entropy, kl, clip, .. } = self.plan;
        let left = 1.0 - f64::from(self.iteration) / f64::from(iterations.max(1));
        Passes {
            epochs,
            minibatches,
            only: self.plan.only(),
            learning_rate: learning_rate * (0.02 + 0.98 * left.max(0.0)),
            coefficients: Coefficients {
                clip,
                kl,
                divergence: Divergence::Exact,
                entropy: entropy * (2.0 * left - 1.0).max(0.0),
                log_shift: 0.0,
            },
        }
    }

    /// What the training has come to.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let state = PretrainState {
            world: self.world.clone(),
            plan: self.plan.clone(),
            rng: self.rng.clone(),
            iteration: self.iteration,
            lanes: self.lanes.iter().map(|lane| lane.past.clone()).collect(),
        };
        let Learner { network, optimizer, quantizer } = self.learner.clone();
        Checkpoint {
            content: Content {
                observation: self.world.layout.clone(),
                actions: self.world.profile.actions.clone(),
                reward: Variant::Service,
                environment: format!("plant {}", self.world.profile.plant.name),
                seed: self.plan.seed,
                updates: self.updates,
                evaluations: self.evaluations,
                optimizer_steps: optimizer.steps,
                activation_peaks: quantizer.map(|quantizer| quantizer.peaks().to_vec()),
                training: Some(Training::Pretrain(Box::new(state))),
            },
            network,
            optimizer,
            reference: None,
            mean: self.mean.clone(),
        }
    }
}
