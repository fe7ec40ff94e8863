//! Bayesian linear regression of the cost on seven features of an arm, updated pull by pull.
//!
//! The features are those under which the anchors were computed: with clock f (GHz) and batch b
//! (32 as the unit) `1, f, f^2, b, b^2, f b, 1/b`. The last one, in requests, encodes that energy per
//! request falls with the batch.

use crate::env::replay::Arm;
use firmware_sim::plant::noise::Generator;

/// Number of features.
pub const FEATURES: usize = 7;

/// A point in feature space.
pub type Features = [f64; FEATURES];

/// Features of an arm.
#[must_use]
pub fn features(arm: &Arm) -> Features {
    let (f, b) = (arm.clock_ghz, arm.batch / 32.0);
    [1.0, f, f * f, b, b * b, f * b, 4.0 / arm.batch]
}

/// A linear model of the cost.
#[derive(Clone, Debug)]
pub struct Ridge {
    arms: Vec<Features>,
    /// Inverse of the regularized Gram matrix.
    inverse: [Features; FEATURES],
    moment: Features,
}

impl Ridge {
    /// A model that has seen nothing but an imagined pull of size `sqrt(ridge)` along every feature.
    #[must_use]
    pub fn new(arms: &[Arm], ridge: f64) -> Self {
        let mut inverse = [[0.0; FEATURES]; FEATURES];
        for (index, row) in inverse.iter_mut().enumerate() {
            row[index] = 1.0 / ridge;
        }
        Self { arms: arms.iter().map(features).collect(), inverse, moment: [0.0; FEATURES] }
    }

    /// Takes in what an arm cost (Sherman and Morrison's update of the inverse).
    pub fn learn(&mut self, arm: usize, cost: f64) {
        let x = self.arms[arm];
        let along = multiply(&self.inverse, &x);
        let scale = 1.0 / (1.0 + dot(&x, &along));
        for (row, left) in self.inverse.iter_mut().zip(along) {
            for (cell, right) in row.iter_mut().zip(along) {
                *cell -= left * right * scale;
            }
        }
        for (sum, feature) in self.moment.iter_mut().zip(x) {
            *sum += feature * cost;
        }
    }

    /// Expected cost of every arm.
    #[must_use]
    pub fn means(&self) -> Vec<f64> {
        let weights = multiply(&self.inverse, &self.moment);
        self.arms.iter().map(|x| dot(&weights, x)).collect()
    }

    /// Uncertainty of every arm's mean, for noise of standard deviation 1.
    #[must_use]
    pub fn widths(&self) -> Vec<f64> {
        self.arms.iter().map(|x| dot(x, &multiply(&self.inverse, x)).max(0.0).sqrt()).collect()
    }

    /// Costs of all arms under weights drawn from the posterior, for noise of this size.
    pub fn sample(&self, noise_sd: f64, random: &mut Generator) -> Vec<f64> {
        let root = cholesky(&self.inverse);
        let normals: Features = core::array::from_fn(|_| random.normal() * noise_sd);
        let mut weights = multiply(&self.inverse, &self.moment);
        for (weight, row) in weights.iter_mut().zip(&root) {
            *weight += dot(row, &normals);
        }
        self.arms.iter().map(|x| dot(&weights, x)).collect()
    }
}

fn dot(a: &Features, b: &Features) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn multiply(matrix: &[Features; FEATURES], x: &Features) -> Features {
    core::array::from_fn(|row| dot(&matrix[row], x))
}

/// Lower triangular root of a positive definite matrix.
fn cholesky(matrix: &[Features; FEATURES]) -> [Features; FEATURES] {
    let mut root = [[0.0; FEATURES]; FEATURES];
    for row in 0..FEATURES {
        for column in 0..=row {
            let left = matrix[row][column] - (0..column).map(|k| root[row][k] * root[column][k]).sum::<f64>();
            root[row][column] = if row == column { left.max(0.0).sqrt() } else { left / root[column][column] };
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms() -> Vec<Arm> {
        let grid =
            |clock: u32| (1..=4).map(move |b| Arm { clock_ghz: f64::from(clock) / 10.0, batch: f64::from(7 * b) });
        (3..10).flat_map(grid).collect()
    }

    #[test]
    fn recovers_a_cost_that_is_linear_in_the_features() {
        let arms = arms();
        let truth = [0.3, -0.5, 0.4, 0.2, -0.1, 0.25, 0.7];
        let cost = |arm: &Arm| dot(&features(arm), &truth);
        let mut ridge = Ridge::new(&arms, 0.1);
        for _ in 0..2000 {
            (0..arms.len()).for_each(|index| ridge.learn(index, cost(&arms[index])));
        }
        for (mean, arm) in ridge.means().iter().zip(&arms) {
            assert!((mean - cost(arm)).abs() < 2e-3, "{mean} against {}", cost(arm));
        }
        assert!(ridge.widths().iter().all(|width| *width < 0.03));
    }

    #[test]
    fn draws_spread_as_wide_as_the_model_says() {
        let arms = arms();
        let mut ridge = Ridge::new(&arms, 0.1);
        (0..arms.len()).step_by(3).for_each(|arm| ridge.learn(arm, 1.0));
        let (mean, width) = (ridge.means()[5], ridge.widths()[5]);
        let mut random = Generator::new(1);
        let draws: Vec<f64> = (0..4000).map(|_| (ridge.sample(0.5, &mut random)[5] - mean) / 0.5).collect();
        let sd = (draws.iter().map(|draw| draw * draw).sum::<f64>() / 4000.0).sqrt();
        assert!((sd / width - 1.0).abs() < 0.05, "{sd} against {width}");
    }
}
