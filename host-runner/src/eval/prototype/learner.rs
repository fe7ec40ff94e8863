//! Ours: GRPO on the plant under the log's reward, one batch per decision, temperature as the only input.
//!
//! A context is a temperature with the noise of one batch; a group tries different actions in it. Everything else
//! is that of [`crate::grpo`]: network, heads, group-relative advantages with a noise floor, clipped ratio, exact
//! divergence from the round's start.

use super::table::Table;
use crate::grpo::advantage::{group_relative, grpo};
use crate::grpo::heads::Heads;
use crate::grpo::loss::{Coefficients, Divergence, Sample, gradient};
use crate::grpo::network::Network;
use crate::grpo::optimizer::Adam;
use controller_core::action::{Action, ActionSpace};
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

/// A trained policy.
#[derive(Clone, Debug)]
pub struct Policy {
    network: Network,
    actions: ActionSpace,
    /// Actions tried during training.
    pub evaluations: u64,
}

/// Two views of the temperature, °C: over the whole range, and enlarged around the reward's jump.
fn input(temperature_c: f64) -> [f64; 2] {
    [(temperature_c - 70.0) / 30.0, ((temperature_c - super::HOT_FROM_C) / 2.0).clamp(-1.0, 1.0)]
}

impl Policy {
    /// The most probable action at a temperature.
    #[must_use]
    pub fn decide(&self, temperature_c: f64) -> Action {
        Heads::new(&self.network.forward(&input(temperature_c)).logits, &self.actions).greedy()
    }
}

/// One context and what was tried in it.
struct Group {
    input: [f64; 2],
    actions: Vec<Action>,
    log_probabilities: Vec<f64>,
    advantages: Vec<f64>,
    reference: Heads,
}

/// Trains a policy on a table.
pub fn train(table: &Table, plan: &Plan, mut each_round: impl FnMut()) -> Policy {
    let (mut draws, mut noise) = (Pcg32::new(plan.seed), Generator::new(plan.seed));
    let actions = table.actions().clone();
    let logits = actions.sizes().iter().sum();
    let mut network = Network::new(2, &HIDDEN, logits, plan.seed);
    let mut optimizer = Adam::new(&network);
    let mut evaluations = 0;
    for round in 0..plan.rounds {
        let left = 1.0 - f64::from(round) / f64::from(plan.rounds);
        let coefficients = Coefficients {
            clip: 0.2,
            kl: 0.02,
            divergence: Divergence::Exact,
            entropy: ENTROPY * left,
            log_shift: 0.0,
        };
        let groups: Vec<Group> =
            (0..plan.contexts).map(|_| try_group(table, &network, plan.group, &mut draws, &mut noise)).collect();
        evaluations += groups.iter().map(|group| group.actions.len() as u64).sum::<u64>();
        for _ in 0..EPOCHS {
            let sum = sum_of_gradients(&network, &groups, &actions, coefficients);
            optimizer.step(&mut network, &sum, LEARNING_RATE * (0.1 + 0.9 * left));
        }
        each_round();
    }
    Policy { network, actions, evaluations }
}

fn try_group(table: &Table, network: &Network, size: usize, draws: &mut Pcg32, noise: &mut Generator) -> Group {
    let (low, high) = TEMPERATURES_C;
    let temperature_c = low + (high - low) * noise.uniform();
    let input = input(temperature_c);
    let reference = Heads::new(&network.forward(&input).logits, table.actions());
    let actions = reference.sample_group(size, draws);
    // All members share the noise: they differ by their action alone.
    let factors = (noise.factor(BATCH_SD), noise.factor(BATCH_SD));
    let rewards: Vec<f64> = actions.iter().map(|action| table.noisy_reward(*action, temperature_c, factors)).collect();
    // A group of one has nothing to compare itself with.
    let advantages = group_relative(&rewards, grpo(NOISE_FLOOR)).unwrap_or_else(|_| vec![0.0; rewards.len()]);
    let log_probabilities = actions.iter().map(|action| reference.log_probability(*action)).collect();
    Group { input, actions, log_probabilities, advantages, reference }
}

fn sum_of_gradients(network: &Network, groups: &[Group], actions: &ActionSpace, coefficients: Coefficients) -> Network {
    let members: usize = groups.iter().map(|group| group.actions.len()).sum();
    let mut sum = network.zeros_like();
    for group in groups {
        let batch = network.forward_batch(&[group.input.to_vec()], None);
        let heads = Heads::new(&batch.logits, actions);
        let mut of_group = vec![0.0; batch.logits.len()];
        let tried = group.actions.iter().zip(&group.log_probabilities).zip(&group.advantages);
        for ((action, old_log_probability), advantage) in tried {
            let sample = Sample {
                choices: &heads.choices(*action),
                old_log_probability: *old_log_probability,
                advantage: *advantage,
                reference: group.reference.categoricals(),
            };
            let of_member = gradient(heads.categoricals(), &sample, coefficients);
            of_group.iter_mut().zip(of_member).for_each(|(sum, part)| *sum += part / members as f64);
        }
        network.backward_batch(&batch, &of_group, &mut sum);
    }
    sum
}
