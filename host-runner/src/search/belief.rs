//! What is believed of the costs of all arms together: a joint Gaussian, conditioned on noisy pulls.

use firmware_sim::plant::noise::Generator;

/// A joint Gaussian over arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Belief {
    mean: Vec<f64>,
    /// Covariance, row by row.
    covariance: Vec<Vec<f64>>,
}

impl Belief {
    /// The Gaussian with mean and covariance of these samples (one vector of costs per imagined
    /// board, all equally long, at least two), plus an independent `misfit` per arm, as a share of its mean: no
    /// board is exactly as imagined.
    #[must_use]
    pub fn of_samples(samples: &[Vec<f64>], misfit: f64) -> Self {
        let count = samples.len().max(2) as f64;
        let arms = samples.first().map_or(0, Vec::len);
        let mean: Vec<f64> = (0..arms).map(|arm| samples.iter().map(|costs| costs[arm]).sum::<f64>() / count).collect();
        let product = |a: usize, b: usize| samples.iter().map(|x| (x[a] - mean[a]) * (x[b] - mean[b])).sum::<f64>();
        let own = |arm: usize| (misfit * mean[arm]).powi(2);
        let row = |a| (0..arms).map(|b| product(a, b) / (count - 1.0) + if a == b { own(a) } else { 0.0 }).collect();
        let covariance = (0..arms).map(row).collect();
        Self { mean, covariance }
    }

    /// Expected costs.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Standard deviation of the belief about one arm.
    #[must_use]
    pub fn sd(&self, arm: usize) -> f64 {
        self.covariance[arm][arm].max(0.0).sqrt()
    }

    /// Standard deviation of the difference between two arms.
    #[must_use]
    pub fn sd_of_difference(&self, a: usize, b: usize) -> f64 {
        let covariance = &self.covariance;
        (covariance[a][a] + covariance[b][b] - 2.0 * covariance[a][b]).max(0.0).sqrt()
    }

    /// Takes in a measured cost of an arm with known noise.
    pub fn condition(&mut self, arm: usize, cost: f64, noise_sd: f64) {
        let along: Vec<f64> = self.covariance.iter().map(|row| row[arm]).collect();
        let total = along[arm] + noise_sd * noise_sd;
        // Nothing is unknown and nothing is noise: the pull says nothing new.
        if total <= 0.0 {
            return;
        }
        let surprise = (cost - self.mean[arm]) / total;
        for ((mean, row), left) in self.mean.iter_mut().zip(&mut self.covariance).zip(&along) {
            *mean += left * surprise;
            for (cell, right) in row.iter_mut().zip(&along) {
                *cell -= left * right / total;
            }
        }
    }

    /// Costs drawn from the belief.
    pub fn sample(&self, random: &mut Generator) -> Vec<f64> {
        let normals: Vec<f64> = self.mean.iter().map(|_| random.normal()).collect();
        let root = self.root();
        let part = |row: &Vec<f64>| row.iter().zip(&normals).map(|(r, n)| r * n).sum::<f64>();
        self.mean.iter().zip(&root).map(|(mean, row)| mean + part(row)).collect()
    }

    /// Lower triangular root of the covariance, which may be singular: an arm that is known exactly gets zeros.
    fn root(&self) -> Vec<Vec<f64>> {
        let mut root: Vec<Vec<f64>> = Vec::with_capacity(self.mean.len());
        for (row, covariances) in self.covariance.iter().enumerate() {
            let mut line: Vec<f64> = Vec::with_capacity(row + 1);
            for column in 0..row {
                let above = &root[column];
                let dot: f64 = line.iter().zip(above).map(|(a, b)| a * b).sum();
                line.push(if above[column] > 0.0 { (covariances[column] - dot) / above[column] } else { 0.0 });
            }
            let left = covariances[row] - line.iter().map(|value| value * value).sum::<f64>();
            line.push(if left > 1e-12 { left.sqrt() } else { 0.0 });
            root.push(line);
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn two(mean: [f64; 2], covariance: [[f64; 2]; 2]) -> Belief {
        Belief { mean: mean.to_vec(), covariance: covariance.iter().map(|row| row.to_vec()).collect() }
    }

    #[test]
    fn a_pull_of_one_arm_moves_the_other() {
        // Worked by hand: gain of the pulled arm 1/2, of the other 0.8/2.
        let mut belief = two([1.0, 2.0], [[1.0, 0.8], [0.8, 1.0]]);
        belief.condition(0, 3.0, 1.0);
        assert!((belief.mean()[0] - 2.0).abs() < 1e-12 && (belief.mean()[1] - 2.8).abs() < 1e-12);
        assert!((belief.sd(0).powi(2) - 0.5).abs() < 1e-12 && (belief.sd(1).powi(2) - 0.68).abs() < 1e-12);
        // Covariance 0.8 - 0.8 / 2.
        assert!((belief.sd_of_difference(0, 1).powi(2) - (0.5 + 0.68 - 0.8)).abs() < 1e-12);
    }

    #[test]
    fn draws_have_the_covariance() {
        let belief = two([0.0, 0.0], [[1.0, 0.6], [0.6, 2.0]]);
        let mut random = Generator::new(2);
        let draws: Vec<Vec<f64>> = (0..20_000).map(|_| belief.sample(&mut random)).collect();
        let again = Belief::of_samples(&draws, 0.0);
        for (row, column, expected) in [(0, 0, 1.0), (0, 1, 0.6), (1, 1, 2.0)] {
            assert!((again.covariance[row][column] - expected).abs() < 0.05, "{:?}", again.covariance);
        }
    }

    #[test]
    fn what_is_known_exactly_stays() {
        let mut belief = two([1.0, 2.0], [[0.0, 0.0], [0.0, 1.0]]);
        belief.condition(0, 9.0, 0.0);
        belief.condition(0, 9.0, 0.1);
        assert_eq!(belief.mean()[0].to_bits(), 1.0f64.to_bits());
        assert!((belief.sample(&mut Generator::new(1))[0] - 1.0).abs() < 1e-12);
    }

    proptest! {
        /// Uncertainty never grows, and the order of two pulls does not matter.
        #[test]
        fn conditioning_shrinks_and_commutes(seed in any::<u64>(), first in 0usize..4, second in 0usize..4, a in 0.0f64..2.0, b in 0.0f64..2.0) {
            let mut random = Generator::new(seed);
            let boards: Vec<Vec<f64>> = (0..12).map(|_| (0..4).map(|_| random.normal()).collect()).collect();
            let prior = Belief::of_samples(&boards, 0.1);
            let (mut one, mut other) = (prior.clone(), prior.clone());
            one.condition(first, a, 0.3);
            for arm in 0..4 {
                prop_assert!(one.sd(arm) <= prior.sd(arm) + 1e-9);
            }
            one.condition(second, b, 0.3);
            other.condition(second, b, 0.3);
            other.condition(first, a, 0.3);
            for arm in 0..4 {
                prop_assert!((one.mean()[arm] - other.mean()[arm]).abs() < 1e-9);
                prop_assert!((one.sd(arm) - other.sd(arm)).abs() < 1e-7);
            }
        }
    }
}
