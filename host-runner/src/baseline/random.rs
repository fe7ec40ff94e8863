//! Any arm at any time; recommends the one with the lowest mean.

use super::Bandit;
use super::grid_search::GridSearch;
use firmware_sim::plant::noise::Generator;

/// Uniform choice.
#[derive(Clone, Debug)]
pub struct Random {
    seen: GridSearch,
    arms: usize,
}

/// One of `count` indices, all equally likely.
pub(super) fn any(count: usize, random: &mut Generator) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the count")]
    let index = (random.uniform() * count as f64) as usize;
    index
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
