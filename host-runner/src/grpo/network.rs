//! A multilayer perceptron with `ReLU` hidden layers and linear logits, small enough that plain
//! loops in a fixed order are both fast and reproducible.

pub use super::layer::{Grid, Layer};

use super::vector::wide;
use controller_core::rng::Pcg32;
use std::borrow::Cow;
use std::ops::Range;

/// The network. Also used as the shape of its own gradient.
#[derive(Clone, Debug, PartialEq)]
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

/// The same for several observations.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Input of every layer, observation after observation.
    inputs: Vec<Vec<f64>>,
    /// Top of every hidden layer's activations; infinite where they are not rounded.
    tops: Vec<f64>,
    /// Logits, observation after observation.
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

    /// Sets all parameters to zero.
    pub fn clear(&mut self) {
        for layer in &mut self.layers {
            layer.weights.fill(0.0);
            layer.biases.fill(0.0);
        }
    }

    /// Of a gradient, keeps what belongs to these outputs and to nothing else: their rows of the last layer.
    pub fn keep_outputs(&mut self, outputs: Range<usize>) {
        let last = self.layers.len().saturating_sub(1);
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let rows = layer.weights.chunks_exact_mut(layer.inputs.max(1)).zip(&mut layer.biases);
            for (output, (weights, bias)) in rows.enumerate() {
                if number < last || !outputs.contains(&output) {
                    weights.fill(0.0);
                    *bias = 0.0;
                }
            }
        }
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

    /// Runs the network on several observations at once. Every sum has the order of [`Self::forward`], so the logits have
    /// its bits. With `grids`, one per hidden layer, activations are rounded as the frozen policy rounds them.
    ///
    /// # Panics
    /// When an observation has another length than the network has inputs.
    #[must_use]
    pub fn forward_batch(&self, observations: &[Vec<f64>], grids: Option<&[Grid]>) -> Batch {
        let mut batch = Batch::default();
        self.forward_batch_into(observations, grids, &mut batch);
        batch
    }

    /// The same into a batch of before, whose memory is used again: fresh pages cost more than the sums in them.
    ///
    /// # Panics
    /// When an observation has another length than the network has inputs.
    pub fn forward_batch_into(&self, observations: &[Vec<f64>], grids: Option<&[Grid]>, batch: &mut Batch) {
        assert!(observations.iter().all(|observation| observation.len() == self.inputs()), "as many as inputs");
        let last = self.layers.len().saturating_sub(1);
        batch.inputs.resize_with(self.layers.len(), Vec::new);
        let mut current = observations.concat();
        for (number, layer) in self.layers.iter().enumerate() {
            if number == last {
                layer.apply_batch(&current, &mut batch.logits);
                batch.inputs[number] = current;
                break;
            }
            let mut output = Vec::new();
            layer.apply_batch(&current, &mut output);
            let grid = grids.and_then(|grids| grids.get(number)).copied();
            wide(|| output.iter_mut().for_each(|x| *x = grid.map_or(x.max(0.0), |grid| grid.round(*x))));
            batch.inputs[number] = std::mem::replace(&mut current, output);
        }
        let top = |number: usize| grids.and_then(|grids| grids.get(number)).map_or(f64::INFINITY, |grid| grid.top());
        batch.tops = (0..last).map(top).collect();
    }

    /// Adds the gradient of a loss with respect to all parameters to `gradient`, given its gradient with respect to the
    /// logits of every observation, one after the other. Rounding passes gradients straight through.
    pub fn backward_batch(&self, batch: &Batch, logit_gradients: &[f64], gradient: &mut Self) {
        let mut outgoing = Cow::Borrowed(logit_gradients);
        for (number, (layer, sums)) in self.layers.iter().zip(&mut gradient.layers).enumerate().rev() {
            let input = &batch.inputs[number];
            let mut incoming = vec![0.0; input.len()];
            layer.backward_batch(input, &outgoing, sums, &mut incoming);
            let Some(top) = number.checked_sub(1).and_then(|below| batch.tops.get(below)) else { break };
            // ReLU passes the gradient where its output, which is this layer's input, is positive; the top of a grid
            // stops it as well.
            wide(|| {
                for (back, x) in incoming.iter_mut().zip(input) {
                    *back = if *x > 0.0 && *x < *top { *back } else { 0.0 };
                }
            });
            outgoing = Cow::Owned(incoming);
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
        let batch = network.forward_batch(&[observation.to_vec()], None);
        assert_eq!(batch.logits, network.forward(&observation).logits);
        let seed: Vec<f64> = batch.logits.iter().enumerate().map(|(i, z)| 2.0 * (i as f64 + 1.0) * z).collect();
        let mut gradient = network.zeros_like();
        network.backward_batch(&batch, &seed, &mut gradient);
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
