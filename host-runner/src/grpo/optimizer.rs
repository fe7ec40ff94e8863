//! Adam: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015, with the
//! gradient norm clipped first.

use super::network::Network;
use super::vector::wide;

/// Moments and step count of Adam.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Running mean of the gradient.
    pub first: Network,
    /// Running mean of its square.
    pub second: Network,
    /// Steps made.
    pub steps: i32,
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
        let step = Step { scale, learning_rate, correction_1, correction_2 };
        let moments = self.first.layers.iter_mut().zip(&mut self.second.layers);
        for ((layer, gradient), (first, second)) in network.layers.iter_mut().zip(&gradient.layers).zip(moments) {
            step.take(&mut layer.weights, &gradient.weights, &mut first.weights, &mut second.weights);
            step.take(&mut layer.biases, &gradient.biases, &mut first.biases, &mut second.biases);
        }
        norm
    }
}

/// One step for all parameters.
#[derive(Clone, Copy)]
struct Step {
    scale: f64,
    learning_rate: f64,
    correction_1: f64,
    correction_2: f64,
}

impl Step {
    fn take(self, parameters: &mut [f64], gradient: &[f64], first: &mut [f64], second: &mut [f64]) {
        let Self { scale, learning_rate, correction_1, correction_2 } = self;
        wide(|| {
            let moments = first.iter_mut().zip(second);
            for ((parameter, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
                let g = g * scale;
                *m = BETA_1 * *m + (1.0 - BETA_1) * g;
                *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
                *parameter -= learning_rate * (*m / correction_1) / ((*v / correction_2).sqrt() + EPSILON);
            }
        });
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
