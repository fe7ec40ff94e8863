//! The training loop: many contexts side by side, groups, advantages, several epochs of updates.

use super::advantage::of_distribution;
use super::checkpoint::{Checkpoint, VERSION};
use super::heads::Heads;
use super::layout::real_input;
use super::loss::{Coefficients, Divergence, Sample, gradient};
use super::network::Network;
use super::optimizer::Adam;
use super::rollout::{Context, Group, Grouping, World};
use crate::env::account::Account;
use controller_core::reward::Variant;
use controller_core::rng::Pcg32;

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// Rounds of rollouts and updates.
    pub iterations: u32,
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
    /// Learning rate at the start; it falls linearly to a tenth.
    pub learning_rate: f64,
    /// Weight of the entropy bonus at the start; it falls linearly to zero at half time. The second half
    /// teaches the policy as it will be frozen, without chance.
    pub entropy: f64,
    /// Weight of the KL divergence from the policy of the previous round.
    pub kl: f64,
    /// Clip range of the ratio.
    pub clip: f64,
    /// Standard deviation of rewards that counts as noise.
    pub noise_floor: f64,
    /// Threads for rollouts; the result does not depend on it.
    pub threads: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            iterations: 800,
            contexts: 128,
            grouping: Grouping::Knob,
            epochs: 4,
            minibatches: 4,
            hidden: vec![32, 32],
            learning_rate: 3e-3,
            entropy: 0.03,
            kl: 0.02,
            clip: 0.2,
            noise_floor: 0.0005,
            threads: 2,
        }
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
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// A training in progress.
#[derive(Debug)]
pub struct Trainer {
    world: World,
    plan: Plan,
    network: Network,
    optimizer: Adam,
    lanes: Vec<Lane>,
    rng: Pcg32,
    iteration: u32,
    updates: u32,
    evaluations: u64,
}

/// A context with a random stream of its own, so that threads do not matter.
#[derive(Clone, Debug)]
struct Lane {
    context: Context,
    rng: Pcg32,
}

impl Lane {
    /// Tries a group, then moves on with one of its members for a few turns.
    fn advance(&mut self, world: &World, network: &Network, grouping: Grouping) -> Group {
        if self.context.is_over() {
            self.context = Context::random(world, &mut self.rng);
        }
        let (telemetry, group) = self.context.try_group(world, network, grouping, &mut self.rng);
        let pick = self.rng.below(u32::try_from(group.actions.len()).expect("groups are small")) as usize;
        let action = group.actions[pick];
        let mut unread = Account::default();
        self.context.act(world, &telemetry, action, 0.0, &mut unread);
        for _ in 0..self.rng.below(8) {
            let (telemetry, _) = self.context.observe(world);
            self.context.act(world, &telemetry, action, 0.0, &mut unread);
        }
        group
    }
}

impl Trainer {
    /// Starts a training from scratch.
    #[must_use]
    pub fn new(world: World, plan: Plan) -> Self {
        let mut rng = Pcg32::new(plan.seed);
        let logits = world.profile.actions.sizes().iter().sum();
        let network = Network::new(world.layout.len(), &plan.hidden, logits, u64::from(rng.next_u32()));
        let optimizer = Adam::new(&network);
        let lane = |_| {
            let mut own = Pcg32::new(u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32()));
            Lane { context: Context::random(&world, &mut own), rng: own }
        };
        let lanes = (0..plan.contexts).map(lane).collect();
        Self { world, plan, network, optimizer, lanes, rng, iteration: 0, updates: 0, evaluations: 0 }
    }

    /// One round: rollouts, advantages, updates.
    pub fn iterate(&mut self) -> Progress {
        let groups = self.rollouts();
        self.evaluations += groups.iter().map(|group| group.actions.len() as u64).sum::<u64>();
        let samples = Self::samples(&groups, self.plan.noise_floor);
        let references: Vec<Heads> = groups.iter().map(|group| self.heads(&group.observation)).collect();
        let gradient_norm = self.update(&groups, &samples, &references);
        self.iteration += 1;
        let count = groups.len() as f64;
        let after: Vec<Heads> = groups.iter().map(|group| self.heads(&group.observation)).collect();
        let members: Vec<f64> = groups.iter().flat_map(|group| group.rewards.iter().copied()).collect();
        let best = |group: &Group| group.rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Progress {
            iteration: self.iteration,
            mean_reward: members.iter().sum::<f64>() / members.len().max(1) as f64,
            best_reward: groups.iter().map(best).sum::<f64>() / count,
            entropy: after.iter().map(Heads::entropy).sum::<f64>() / count,
            kl: after.iter().zip(&references).map(|(new, old)| new.kl(old)).sum::<f64>() / count,
            gradient_norm,
        }
    }

    fn heads(&self, observation: &[i16]) -> Heads {
        Heads::new(&self.network.forward(&real_input(observation)).logits, &self.world.profile.actions)
    }

    /// One group per lane, in the order of the lanes whatever the number of threads.
    fn rollouts(&mut self) -> Vec<Group> {
        let (world, network, grouping) = (&self.world, &self.network, self.plan.grouping);
        let share = self.lanes.len().div_ceil(self.plan.threads.max(1));
        std::thread::scope(|scope| {
            let work = |lanes: &mut [Lane]| -> Vec<Group> {
                lanes.iter_mut().map(|lane| lane.advance(world, network, grouping)).collect()
            };
            let threads: Vec<_> = self.lanes.chunks_mut(share).map(|lanes| scope.spawn(move || work(lanes))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("rollouts do not panic")).collect()
        })
    }

    /// Pairs of group and member with their advantage.
    fn samples(groups: &[Group], noise_floor: f64) -> Vec<(usize, usize, f64)> {
        let mut samples = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let advantages = of_distribution(&group.rewards, &group.weights, noise_floor);
            samples.extend(advantages.into_iter().enumerate().map(|(member, a)| (number, member, a)));
        }
        samples
    }

    fn update(&mut self, groups: &[Group], samples: &[(usize, usize, f64)], references: &[Heads]) -> f64 {
        let left = 1.0 - f64::from(self.iteration) / f64::from(self.plan.iterations.max(1));
        let learning_rate = self.plan.learning_rate * (0.1 + 0.9 * left.max(0.0));
        let coefficients = Coefficients {
            clip: self.plan.clip,
            kl: self.plan.kl,
            divergence: Divergence::Exact,
            entropy: self.plan.entropy * (2.0 * left - 1.0).max(0.0),
            log_shift: 0.0,
        };
        let mut order = samples.to_vec();
        let size = order.len().div_ceil(self.plan.minibatches.max(1)).max(1);
        let mut norms = Vec::new();
        for _ in 0..self.plan.epochs {
            shuffle(&mut order, &mut self.rng);
            for batch in order.chunks(size) {
                let mut sum = self.network.zeros_like();
                for &(number, member, advantage) in batch {
                    let group = &groups[number];
                    let activations = self.network.forward(&real_input(&group.observation));
                    let heads = Heads::new(&activations.logits, &self.world.profile.actions);
                    let sample = Sample {
                        choices: &heads.choices(group.actions[member]),
                        old_log_probability: group.log_probabilities[member],
                        advantage,
                        reference: references[number].categoricals(),
                    };
                    let mut logit_gradient = gradient(heads.categoricals(), &sample, coefficients);
                    for g in &mut logit_gradient {
                        *g /= batch.len() as f64;
                    }
                    self.network.backward(&activations, &logit_gradient, &mut sum);
                }
                norms.push(self.optimizer.step(&mut self.network, &sum, learning_rate));
                self.updates += 1;
            }
        }
        norms.iter().sum::<f64>() / norms.len().max(1) as f64
    }

    /// What the training has come to.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            version: VERSION,
            observation: self.world.layout.clone(),
            actions: self.world.profile.actions.clone(),
            reward: Variant::Service,
            environment: format!("plant {}", self.world.profile.plant.name),
            seed: self.plan.seed,
            updates: self.updates,
            evaluations: self.evaluations,
            network: self.network.clone(),
            optimizer: self.optimizer.clone(),
        }
    }
}

/// Fisher-Yates.
fn shuffle<T>(items: &mut [T], rng: &mut Pcg32) {
    for last in (1..items.len()).rev() {
        let other = rng.below(u32::try_from(last + 1).expect("batches are small")) as usize;
        items.swap(last, other);
    }
}
