//! Adam: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015, with the
//! gradient norm clipped first.

use super::network::Network;
use serde::{Deserialize, Serialize};

/// Moments and step count of Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    first: Network,
    second: Network,
    steps: i32,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Longest gradient that is taken as it is.
pub const MAX_GRADIENT_NORM: f64 = 1.0;

impl Adam {
    /// Moments at zero, for a network of this shape.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        Self { first: network.zeros_like(), second: network.zeros_like(), steps: 0 }
    }

    /// Moves the parameters one step against the gradient and returns the gradient's norm before
    /// clipping.
    pub fn step(&mut self, network: &mut Network, gradient: &Network, learning_rate: f64) -> f64 {
        let norm = gradient.parameters().map(|g| g * g).sum::<f64>().sqrt();
        let scale = if norm > MAX_GRADIENT_NORM { MAX_GRADIENT_NORM / norm } else { 1.0 };
        self.steps += 1;
        let correction_1 = 1.0 - libm::pow(BETA_1, f64::from(self.steps));
        let correction_2 = 1.0 - libm::pow(BETA_2, f64::from(self.steps));
        let moments = self.first.parameters_mut().zip(self.second.parameters_mut());
        for ((parameter, g), (m, v)) in network.parameters_mut().zip(gradient.parameters()).zip(moments) {
            let g = g * scale;
            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
            *parameter -= learning_rate * (*m / correction_1) / ((*v / correction_2).sqrt() + EPSILON);
        }
        norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_is_one_learning_rate_and_a_bowl_is_descended() {
        let mut network = Network::new(1, &[1], 1, 3);
        let start: Vec<f64> = network.parameters().copied().collect();
        let mut gradient = network.zeros_like();
        gradient.parameters_mut().for_each(|g| *g = 0.1);
        let mut adam = Adam::new(&network);
        adam.step(&mut network, &gradient, 0.01);
        for (before, after) in start.iter().zip(network.parameters()) {
            assert!((before - after - 0.01).abs() < 1e-6);
        }
        for _ in 0..2000 {
            let gradient = network.clone(); // of Σ p²/2
            adam.step(&mut network, &gradient, 0.01);
        }
        assert!(network.parameters().all(|p| p.abs() < 1e-2));
    }
}
