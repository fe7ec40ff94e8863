//! Grid search: every arm once, in order, then the arm that looked best; with a share of further
//! exploring it is epsilon-greedy.

use super::Bandit;
use crate::env::replay::lowest;
use firmware_sim::plant::noise::Generator;

/// Sweeps, then exploits.
#[derive(Clone, Debug)]
pub struct GridSearch {
    /// Sum of costs and number of pulls.
    arms: Vec<(f64, u32)>,
    explore_share: f64,
}

impl GridSearch {
    /// A sweep over `arms` arms; afterwards a random arm is pulled in `explore_share` of the pulls.
    #[must_use]
    pub fn new(arms: usize, explore_share: f64) -> Self {
        Self { arms: vec![(0.0, 0); arms], explore_share }
    }
}

impl Bandit for GridSearch {
    fn choose(&mut self, random: &mut Generator) -> usize {
        if let Some(untried) = self.arms.iter().position(|(_, pulls)| *pulls == 0) {
            return untried;
        }
        // Without exploring nothing is drawn.
        if self.explore_share > 0.0 && random.uniform() < self.explore_share {
            return super::any(self.arms.len(), random);
        }
        self.recommend()
    }

    fn learn(&mut self, arm: usize, cost: f64) {
        self.arms[arm].0 += cost;
        self.arms[arm].1 += 1;
    }

    fn recommend(&self) -> usize {
        let mean = |(sum, pulls): &(f64, u32)| if *pulls == 0 { f64::INFINITY } else { sum / f64::from(*pulls) };
        lowest(&self.arms.iter().map(mean).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_once_and_stays_with_the_best() {
        let (mut bandit, mut random) = (GridSearch::new(4, 0.0), Generator::new(1));
        let costs = [3.0, 1.0, 2.0, 4.0];
        let mut pulled = vec![];
        for _ in 0..7 {
            let arm = bandit.choose(&mut random);
            bandit.learn(arm, costs[arm]);
            pulled.push(arm);
        }
        assert_eq!(pulled, [0, 1, 2, 3, 1, 1, 1]);
    }
}
