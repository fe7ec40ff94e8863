//! Ours: a policy over the published actions that sees the temperature alone and learns by the GRPO of [`crate::grpo`].
//!
//! [`train`] teaches it on the plant under the log's reward, one batch per decision: a context is a temperature with the
//! noise of one batch, and a group tries different actions in it. On a board (`energyllm overhead`) whoever runs the
//! batches draws the groups and settles them.

use super::table::Table;
use crate::grpo::group::{Group, Grouping};
use crate::grpo::heads::Heads;
use crate::grpo::loss::{Coefficients, Divergence};
use crate::grpo::network::Network;
use crate::grpo::update::{Learner, Passes, Policy, members};
use controller_core::action::{Action, ActionSpace};
use controller_core::observation::{Feature, FeatureRange};
use controller_core::rng::Pcg32;
use firmware_sim::plant::noise::Generator;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// Rounds.
    pub rounds: u32,
    /// Contexts per round.
    pub contexts: u32,
    /// Actions tried per context.
    pub group: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, rounds: 400, contexts: 48, group: 12 }
    }
}

const HIDDEN: [usize; 2] = [32, 32];
const LEARNING_RATE: f64 = 3e-3;
const EPOCHS: usize = 3;
const ENTROPY: f64 = 0.02;
/// Spread of rewards within a group that counts as noise.
const NOISE_FLOOR: f64 = 0.01;
/// Temperatures to learn at, °C: the range of the reward's headroom.
const TEMPERATURES_C: (f64, f64) = (40.0, 100.0);
/// Spread of time and power between batches of one setting (`[plant.noise]` of the profile).
const BATCH_SD: f64 = 0.007;

/// What it sees: the temperature over the whole range, and enlarged around the reward's jump
/// ([`HOT_FROM_C`](super::HOT_FROM_C)).
const VIEWS: [FeatureRange; 2] = [
    FeatureRange { feature: Feature::Temperature, low: 40_000, high: 100_000 },
    FeatureRange { feature: Feature::Temperature, low: 78_200, high: 82_200 },
];

/// The policy.
#[derive(Clone, Debug)]
pub struct TemperaturePolicy {
    learner: Learner,
    actions: ActionSpace,
    draws: Pcg32,
    /// Actions tried so far.
    pub evaluations: u64,
}

impl TemperaturePolicy {
    /// One that knows nothing.
    #[must_use]
    pub fn new(actions: ActionSpace, seed: u64) -> Self {
        let network = Network::new(VIEWS.len(), &HIDDEN, actions.sizes().iter().sum(), seed);
        Self { learner: Learner::new(network), actions, draws: Pcg32::new(seed), evaluations: 0 }
    }

    /// What it sees of a die temperature, °C.
    #[must_use]
    pub fn observe(temperature_c: f64) -> Vec<i16> {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and a temperature is no such number")]
        let millicelsius = (temperature_c * 1000.0).round() as i32;
        VIEWS.iter().map(|view| view.normalize(millicelsius)).collect()
    }

    /// The most probable action.
    #[must_use]
    pub fn decide(&self, observation: &[i16]) -> Action {
        self.heads(observation).greedy()
    }

    /// A group of different actions; its rewards are still to come.
    pub fn draw(&mut self, observation: Vec<i16>, size: usize) -> Group {
        let heads = self.heads(&observation);
        let group = Group::choose(observation, &heads, Grouping::Drawn(size), None, &mut self.draws);
        self.evaluations += group.actions.len() as u64;
        group
    }

    /// Learns from groups with their rewards, with its policy before as the reference.
    pub fn learn(&mut self, groups: &[Group], passes: &Passes) {
        let references: Vec<Heads> = groups.iter().map(|group| self.heads(&group.observation)).collect();
        let members = members(groups, |group| group.advantages(NOISE_FLOOR));
        let learned = self.learner.update(&self.actions, groups, &references, &members, passes, &mut self.draws);
        learned.expect("only a quantized policy can be refused");
    }

    fn heads(&self, observation: &[i16]) -> Heads {
        Policy::of(&self.learner.network).heads(observation, &self.actions)
    }
}

/// Trains a policy on a table.
pub fn train(table: &Table, plan: &Plan, mut each_round: impl FnMut()) -> TemperaturePolicy {
    let mut policy = TemperaturePolicy::new(table.actions().clone(), plan.seed);
    let mut noise = Generator::new(plan.seed);
    for round in 0..plan.rounds {
        let left = 1.0 - f64::from(round) / f64::from(plan.rounds);
        let groups: Vec<Group> =
            (0..plan.contexts).map(|_| try_group(table, &mut policy, plan.group, &mut noise)).collect();
        policy.learn(
            &groups,
            &Passes {
                epochs: EPOCHS,
                minibatches: 1,
                learning_rate: LEARNING_RATE * (0.1 + 0.9 * left),
                only: None,
                coefficients: Coefficients {
                    clip: 0.2,
                    kl: 0.02,
                    divergence: Divergence::Exact,
                    entropy: ENTROPY * left,
                    log_shift: 0.0,
                },
            },
        );
        each_round();
    }
    policy
}

fn try_group(table: &Table, policy: &mut TemperaturePolicy, size: usize, noise: &mut Generator) -> Group {
    let (low, high) = TEMPERATURES_C;
    let temperature_c = low + (high - low) * noise.uniform();
    let group = policy.draw(TemperaturePolicy::observe(temperature_c), size);
    // All members share the noise: they differ by their action alone.
    let factors = (noise.factor(BATCH_SD), noise.factor(BATCH_SD));
    let rewards = group.actions.iter().map(|action| table.noisy_reward(*action, temperature_c, factors)).collect();
    Group { rewards, ..group }
}
