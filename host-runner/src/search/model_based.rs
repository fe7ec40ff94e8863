//! The model-based search: draw a board from the belief and pull the arm that would be best on it, or, in half of the
//! pulls, the best arm of a board that disagrees (top-two Thompson sampling, Russo 2016). Plain
//! Thompson sampling stops telling the two best arms apart too early.

use super::belief::Belief;
use crate::baseline::Bandit;
use crate::env::replay::lowest;
use firmware_sim::plant::noise::Generator;

/// What no board model explains, as a share of an arm's cost: how well the plant's form fits a measured grid.
pub const MISFIT: f64 = 0.005;

/// Draws until a board is given up that disagrees; more would look for a rival that hardly exists.
const RIVALS: usize = 8;

/// Top-two Thompson sampling from a joint belief.
#[derive(Clone, Debug)]
pub struct ModelBased {
    belief: Belief,
    noise_sd: f64,
}

impl ModelBased {
    /// A search that begins with `prior`, under known noise.
    #[must_use]
    pub const fn new(prior: Belief, noise_sd: f64) -> Self {
        Self { belief: prior, noise_sd }
    }

    /// What is believed now.
    #[must_use]
    pub const fn belief(&self) -> &Belief {
        &self.belief
    }
}

impl Bandit for ModelBased {
    fn choose(&mut self, random: &mut Generator) -> usize {
        let first = lowest(&self.belief.sample(random));
        if random.uniform() < 0.5 {
            return first;
        }
        let rival = (0..RIVALS).map(|_| lowest(&self.belief.sample(random))).find(|arm| *arm != first);
        rival.unwrap_or(first)
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.belief.condition(arm, cost, self.noise_sd);
    }

    fn recommend(&self) -> usize {
        lowest(self.belief.mean())
    }
}
