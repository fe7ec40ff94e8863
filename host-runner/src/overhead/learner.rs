//! GRPO on a board, with its times: a group of actions is drawn for the temperature that is, each is run, and the policy is
//! updated after each group.

use super::ledger::{Ledger, Part};
use crate::grpo::advantage::{group_relative, grpo};
use crate::grpo::heads::Heads;
use crate::grpo::loss::{Coefficients, Divergence, Sample, gradient};
use crate::grpo::network::Network;
use crate::grpo::optimizer::Adam;
use controller_core::action::{Action, ActionSpace};
use controller_core::rng::Pcg32;

const HIDDEN: [usize; 2] = [32, 32];
const LEARNING_RATE: f64 = 1e-2;
/// Passes over a group.
const EPOCHS: usize = 4;
const COEFFICIENTS: Coefficients =
    Coefficients { clip: 0.2, kl: 0.02, divergence: Divergence::Exact, entropy: 0.005, log_shift: 0.0 };
/// Spread of rewards within a group that counts as noise: what repeats of one setting differ by in the published log.
const NOISE_FLOOR: f64 = 0.01;
/// Temperature up to which the published reward counts throughput, °C.
const HOT_FROM_C: f64 = 80.2;

/// A policy that learns.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    optimizer: Adam,
    actions: ActionSpace,
    draws: Pcg32,
}

/// What was drawn in one situation.
#[derive(Debug)]
pub struct Group {
    input: [f64; 2],
    /// Different actions.
    pub actions: Vec<Action>,
    reference: Heads,
}

impl Learner {
    /// A policy that knows nothing.
    #[must_use]
    pub fn new(actions: ActionSpace, seed: u64) -> Self {
        let network = Network::new(2, &HIDDEN, actions.sizes().iter().sum(), seed);
        Self { optimizer: Adam::new(&network), network, actions, draws: Pcg32::new(seed) }
    }

    /// Draws a group at a temperature, °C.
    pub fn sample(&mut self, temperature_c: f64, size: usize, ledger: &mut Ledger) -> Group {
        let input = ledger.measure(Part::Observation, || {
            [(temperature_c - 70.0) / 30.0, ((temperature_c - HOT_FROM_C) / 2.0).clamp(-1.0, 1.0)]
        });
        ledger.measure(Part::Sampling, || {
            let reference = Heads::new(&self.network.forward(&input).logits, &self.actions);
            let actions = reference.sample_group(size, &mut self.draws);
            Group { input, actions, reference }
        })
    }

    /// Learns from the rewards of a group.
    pub fn update(&mut self, group: &Group, rewards: &[f64], ledger: &mut Ledger) {
        ledger.measure(Part::Update, || {
            // A group of one has nothing to compare itself with.
            let Ok(advantages) = group_relative(rewards, grpo(NOISE_FLOOR)) else { return };
            for _ in 0..EPOCHS {
                let batch = self.network.forward_batch(&[group.input.to_vec()], None);
                let heads = Heads::new(&batch.logits, &self.actions);
                let mut sum = vec![0.0; batch.logits.len()];
                for (action, advantage) in group.actions.iter().zip(&advantages) {
                    let sample = Sample {
                        choices: &heads.choices(*action),
                        old_log_probability: group.reference.log_probability(*action),
                        advantage: *advantage,
                        reference: group.reference.categoricals(),
                    };
                    let of_member = gradient(heads.categoricals(), &sample, COEFFICIENTS);
                    sum.iter_mut().zip(of_member).for_each(|(sum, part)| *sum += part / group.actions.len() as f64);
                }
                let mut of_network = self.network.zeros_like();
                self.network.backward_batch(&batch, &sum, &mut of_network);
                self.optimizer.step(&mut self.network, &of_network, LEARNING_RATE);
            }
        });
    }
}
