//! Any arm at any time; recommends the one with the lowest mean.

use super::grid_search::GridSearch;
use super::{Bandit, any};
use firmware_sim::plant::noise::Generator;

/// Uniform choice.
#[derive(Clone, Debug)]
pub struct Random {
    seen: GridSearch,
    arms: usize,
}

impl Random {
    /// A choice among `arms` arms.
    #[must_use]
    pub fn new(arms: usize) -> Self {
        Self { seen: GridSearch::new(arms, 0.0), arms }
    }
}

impl Bandit for Random {
    fn choose(&mut self, random: &mut Generator) -> usize {
        any(self.arms, random)
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.seen.learn(arm, cost);
    }

    fn recommend(&self) -> usize {
        self.seen.recommend()
    }
}
