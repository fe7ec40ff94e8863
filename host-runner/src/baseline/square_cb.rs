//! `SquareCB` (Foster and Rakhlin 2020): every arm is pulled with a probability that falls with the
//! inverse of its gap to the arm thought best, under the linear model as regression oracle.

use super::Bandit;
use super::ridge::Ridge;
use crate::env::replay::{Arm, lowest};
use firmware_sim::plant::noise::Generator;

/// Learning rate of the theory, `sqrt(arms * pulls / error)`, with the constant that does best here.
const SHARPNESS: f64 = 100.0;

/// Ridge, as for `LinUCB`.
const RIDGE: f64 = 0.1;

/// Inverse-gap weighting.
#[derive(Clone, Debug)]
pub struct SquareCb {
    model: Ridge,
    pulls: f64,
}

impl SquareCb {
    /// A search over these arms.
    #[must_use]
    pub fn new(arms: &[Arm]) -> Self {
        Self { model: Ridge::new(arms, RIDGE), pulls: 0.0 }
    }
}

impl Bandit for SquareCb {
    fn choose(&mut self, random: &mut Generator) -> usize {
        let means = self.model.means();
        let best = lowest(&means);
        let count = means.len() as f64;
        let rate = SHARPNESS * (count * (self.pulls + 1.0)).sqrt();
        let draw = random.uniform();
        let mut sum = 0.0;
        for (arm, mean) in means.iter().enumerate().filter(|(arm, _)| *arm != best) {
            sum += 1.0 / (count + rate * (mean - means[best]));
            if draw < sum {
                return arm;
            }
        }
        best
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.pulls += 1.0;
        self.model.learn(arm, cost);
    }

    fn recommend(&self) -> usize {
        lowest(&self.model.means())
    }
}
