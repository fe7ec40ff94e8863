//! Thompson sampling of the linear model: draw its weights, pull the arm that would then be best.

use super::Bandit;
use super::ridge::Ridge;
use crate::env::replay::{Arm, lowest};
use firmware_sim::plant::noise::Generator;

/// Standard deviation believed of every weight before the first pull.
const PRIOR_SD: f64 = 1.0;

/// Draws of a linear model.
#[derive(Clone, Debug)]
pub struct LinThompson {
    model: Ridge,
    noise_sd: f64,
}

impl LinThompson {
    /// A search over these arms with known noise.
    #[must_use]
    pub fn new(arms: &[Arm], noise_sd: f64) -> Self {
        Self { model: Ridge::new(arms, (noise_sd / PRIOR_SD).powi(2)), noise_sd }
    }
}

impl Bandit for LinThompson {
    fn choose(&mut self, random: &mut Generator) -> usize {
        lowest(&self.model.sample(self.noise_sd, random))
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.model.learn(arm, cost);
    }

    fn recommend(&self) -> usize {
        lowest(&self.model.means())
    }
}
