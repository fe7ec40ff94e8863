//! Thompson sampling with an independent Gaussian per arm, as in Camel (arXiv 2508.09173): draw a
//! cost per arm from what is believed of it, pull the arm whose draw is lowest.

use super::Bandit;
use crate::env::replay::lowest;
use firmware_sim::plant::noise::Generator;

/// Mean and standard deviation believed of every arm before the first pull, in units of the
/// reference arm's cost.
const PRIOR: (f64, f64) = (1.0, 0.5);

/// One Gaussian per arm.
#[derive(Clone, Debug)]
pub struct GaussianThompson {
    /// Sum of precision times value, and sum of precisions.
    arms: Vec<(f64, f64)>,
    noise_precision: f64,
}

impl GaussianThompson {
    /// A search over `arms` arms with known noise.
    #[must_use]
    pub fn new(arms: usize, noise_sd: f64) -> Self {
        let precision = 1.0 / (PRIOR.1 * PRIOR.1);
        Self { arms: vec![(PRIOR.0 * precision, precision); arms], noise_precision: 1.0 / (noise_sd * noise_sd) }
    }
}

impl Bandit for GaussianThompson {
    fn choose(&mut self, random: &mut Generator) -> usize {
        let draw = |(weighted, precision): &(f64, f64)| weighted / precision + random.normal() / precision.sqrt();
        lowest(&self.arms.iter().map(draw).collect::<Vec<_>>())
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.arms[arm].0 += cost * self.noise_precision;
        self.arms[arm].1 += self.noise_precision;
    }

    fn recommend(&self) -> usize {
        lowest(&self.arms.iter().map(|(weighted, precision)| weighted / precision).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beliefs_are_the_weighted_mean_of_prior_and_pulls() {
        let mut bandit = GaussianThompson::new(2, 0.5);
        bandit.learn(1, 0.0);
        // Noise as wide as the prior: half way between prior mean 1 and the pull.
        assert_eq!(bandit.arms[1], (4.0, 8.0));
        assert_eq!(bandit.recommend(), 1);
    }
}
