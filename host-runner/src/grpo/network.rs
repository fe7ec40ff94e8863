//! A multilayer perceptron with `ReLU` hidden layers and linear logits, small enough that plain
//! loops in a fixed order are both fast and reproducible.

use controller_core::rng::Pcg32;
use serde::{Deserialize, Serialize};

/// One layer: `outputs x inputs` weights, row by row, and one bias per output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Number of inputs.
    pub inputs: usize,
    /// Weights, row-major.
    pub weights: Vec<f64>,
    /// Biases.
    pub biases: Vec<f64>,
}

impl Layer {
    fn zeros_like(other: &Self) -> Self {
        Self { inputs: other.inputs, weights: vec![0.0; other.weights.len()], biases: vec![0.0; other.biases.len()] }
    }

    fn apply(&self, input: &[f64]) -> Vec<f64> {
        let rows = self.weights.chunks_exact(self.inputs).zip(&self.biases);
        rows.map(|(row, bias)| row.iter().zip(input).fold(*bias, |sum, (w, x)| sum + w * x)).collect()
    }
}

/// The network. Also used as the shape of its own gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Hidden layers, then the layer that makes the logits.
    pub layers: Vec<Layer>,
}

/// What a forward pass leaves behind for the backward pass.
#[derive(Clone, Debug)]
pub struct Activations {
    /// Input of every layer.
    inputs: Vec<Vec<f64>>,
    /// Logits.
    pub logits: Vec<f64>,
}

impl Activations {
    /// The inputs of every layer: the observation, then the activations of each hidden layer.
    #[must_use]
    pub fn inputs(&self) -> &[Vec<f64>] {
        &self.inputs
    }
}

impl Network {
    /// Random weights, uniform within ±sqrt(6 / inputs) (He et al. 2015) in hidden layers; the
    /// last layer starts near zero so that the first policy is almost uniform.
    #[must_use]
    pub fn new(inputs: usize, hidden: &[usize], logits: usize, seed: u64) -> Self {
        let mut rng = Pcg32::new(seed);
        let mut uniform = |bound: f64| (f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0) * bound;
        let mut fan_in = inputs;
        let mut layers = Vec::with_capacity(hidden.len() + 1);
        for (number, &outputs) in hidden.iter().chain([&logits]).enumerate() {
            let bound = if number == hidden.len() { 0.01 } else { (6.0 / fan_in as f64).sqrt() };
            let weights = (0..outputs * fan_in).map(|_| uniform(bound)).collect();
            layers.push(Layer { inputs: fan_in, weights, biases: vec![0.0; outputs] });
            fan_in = outputs;
        }
        Self { layers }
    }

    /// A network of the same shape with all parameters zero: an empty gradient.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        Self { layers: self.layers.iter().map(Layer::zeros_like).collect() }
    }

    /// Number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Runs the network.
    #[must_use]
    pub fn forward(&self, observation: &[f64]) -> Activations {
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut current = observation.to_vec();
        let last = self.layers.len().saturating_sub(1);
        for (number, layer) in self.layers.iter().enumerate() {
            let mut output = layer.apply(&current);
            if number < last {
                for x in &mut output {
                    *x = x.max(0.0);
                }
            }
            inputs.push(std::mem::replace(&mut current, output));
        }
        Activations { inputs, logits: current }
    }

    /// Adds the gradient of a loss with respect to all parameters to `gradient`, given its
    /// gradient with respect to the logits.
    pub fn backward(&self, activations: &Activations, logit_gradient: &[f64], gradient: &mut Self) {
        let mut outgoing = logit_gradient.to_vec();
        let layers = self.layers.iter().zip(&mut gradient.layers).zip(&activations.inputs).rev();
        for ((layer, sums), input) in layers {
            let mut incoming = vec![0.0; layer.inputs];
            let rows = layer.weights.chunks_exact(layer.inputs).zip(sums.weights.chunks_exact_mut(layer.inputs));
            for (((row, row_sums), bias_sum), delta) in rows.zip(&mut sums.biases).zip(&outgoing) {
                *bias_sum += delta;
                for (((weight, sum), x), back) in row.iter().zip(row_sums).zip(input).zip(&mut incoming) {
                    *sum += delta * x;
                    *back += delta * weight;
                }
            }
            // ReLU passes the gradient where its output, which is this layer's input, is positive.
            outgoing = incoming.iter().zip(input).map(|(back, x)| if *x > 0.0 { *back } else { 0.0 }).collect();
        }
    }

    /// All parameters in a fixed order.
    pub fn parameters(&self) -> impl Iterator<Item = &f64> {
        self.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.biases))
    }

    /// All parameters in the same order, to be changed.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.layers.iter_mut().flat_map(|layer| layer.weights.iter_mut().chain(&mut layer.biases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_equals_finite_differences() {
        let mut network = Network::new(3, &[5, 4], 6, 11);
        network.parameters_mut().enumerate().for_each(|(i, p)| *p += ((i * 37 % 19) as f64 - 9.0) * 0.03);
        let observation = [0.3, -0.8, 0.5];
        // A loss that weighs every logit differently: L = Σ c_i·z_i².
        let loss = |n: &Network| -> f64 {
            n.forward(&observation).logits.iter().enumerate().map(|(i, z)| (i as f64 + 1.0) * z * z).sum()
        };
        let activations = network.forward(&observation);
        let seed: Vec<f64> = activations.logits.iter().enumerate().map(|(i, z)| 2.0 * (i as f64 + 1.0) * z).collect();
        let mut gradient = network.zeros_like();
        network.backward(&activations, &seed, &mut gradient);
        let analytic: Vec<f64> = gradient.parameters().copied().collect();
        for (i, expected) in analytic.iter().enumerate() {
            let step = 1e-5;
            let mut nudged = |by: f64| {
                *network.parameters_mut().nth(i).unwrap() += by;
                let value = loss(&network);
                *network.parameters_mut().nth(i).unwrap() -= by;
                value
            };
            let numeric = (nudged(step) - nudged(-step)) / (2.0 * step);
            assert!((numeric - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "parameter {i}: {numeric} {expected}");
        }
        assert!(
            analytic.iter().filter(|g| g.abs() > 1e-9).count() > analytic.len() / 2,
            "the check must not be vacuous"
        );
    }
}
