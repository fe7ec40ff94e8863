//! `LinUCB` (Li, Chu, Langford, Schapire 2010) with seven features, as AGFT (arXiv 2508.01744) tunes GPU
//! clocks: pull the arm whose cost could be lowest.

use super::Bandit;
use super::ridge::Ridge;
use crate::env::replay::{Arm, lowest};
use firmware_sim::plant::noise::Generator;

/// Width of the confidence bound; the anchors leave it open, and this value comes closest to them.
const ALPHA: f64 = 0.1;
/// Ridge, found in the same way.
const RIDGE: f64 = 0.1;

/// Lower confidence bounds of a linear model.
#[derive(Clone, Debug)]
pub struct LinUcb(Ridge);

impl LinUcb {
    /// A search over these arms.
    #[must_use]
    pub fn new(arms: &[Arm]) -> Self {
        Self(Ridge::new(arms, RIDGE))
    }
}

impl Bandit for LinUcb {
    fn choose(&mut self, _: &mut Generator) -> usize {
        let bounds = self.0.means().into_iter().zip(self.0.widths()).map(|(mean, width)| mean - ALPHA * width);
        lowest(&bounds.collect::<Vec<_>>())
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.0.learn(arm, cost);
    }

    fn recommend(&self) -> usize {
        lowest(&self.0.means())
    }
}
