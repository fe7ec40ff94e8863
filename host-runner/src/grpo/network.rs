//! A multilayer perceptron with `ReLU` hidden layers and linear logits, small enough that plain
//! loops in a fixed order are both fast and reproducible.

use super::vector::wide;
use controller_core::observation::ONE;
use controller_core::rng::Pcg32;

/// One layer: `outputs x inputs` weights, row by row, and one bias per output.
#[derive(Clone, Debug, PartialEq)]
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

/// Units that are worked on side by side.
const LANES: usize = 32;

impl Layer {
    /// [`Self::apply`] for rows of inputs, one after the other.
    fn apply_batch(&self, inputs: &[f64]) -> Vec<f64> {
        let outputs = self.biases.len();
        let mut out = vec![0.0; inputs.len() / self.inputs.max(1) * outputs];
        let mut packed = vec![[0.0; LANES]; self.inputs];
        for start in (0..outputs).step_by(LANES) {
            let units = LANES.min(outputs - start);
            let mut biases = [0.0; LANES];
            biases[..units].copy_from_slice(&self.biases[start..start + units]);
            let rows = self.weights[start * self.inputs..].chunks_exact(self.inputs).take(units);
            for (lane, row) in rows.enumerate() {
                packed.iter_mut().zip(row).for_each(|(column, weight)| column[lane] = *weight);
            }
            wide(|| {
                let rows = inputs.chunks_exact(self.inputs).zip(out.chunks_exact_mut(outputs));
                for (input, row) in rows {
                    let mut sums = biases;
                    for (weights, x) in packed.iter().zip(input) {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum += weight * x;
                        }
                    }
                    row[start..start + units].copy_from_slice(&sums[..units]);
                }
            });
        }
        out
    }

    /// Adds to `sums` the gradient of the parameters and to `incoming` that of the inputs, row after row.
    fn backward_batch(&self, inputs: &[f64], deltas: &[f64], sums: &mut Self, incoming: &mut [f64]) {
        let outputs = self.biases.len();
        wide(|| {
            let rows = self.weights.chunks_exact(self.inputs).zip(sums.weights.chunks_exact_mut(self.inputs));
            for (unit, ((row, row_sums), bias_sum)) in rows.zip(&mut sums.biases).enumerate() {
                let samples = inputs.chunks_exact(self.inputs).zip(incoming.chunks_exact_mut(self.inputs));
                for ((input, back), deltas) in samples.zip(deltas.chunks_exact(outputs)) {
                    let delta = deltas[unit];
                    *bias_sum += delta;
                    for (((weight, sum), x), back) in row.iter().zip(&mut *row_sums).zip(input).zip(back) {
                        *sum += delta * x;
                        *back += delta * weight;
                    }
                }
            }
        });
    }
}

/// How the frozen policy rounds the activations of a hidden layer: to multiples of `step`, halves up, at most
/// [`controller_core::observation::ONE`] of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Distance of two values; a power of two.
    pub step: f64,
}

impl Grid {
    fn top(self) -> f64 {
        f64::from(ONE) * self.step
    }

    /// The value of the grid for a sum.
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of the loop around it")]
    #[inline(always)]
    fn round(self, sum: f64) -> f64 {
        (sum / self.step + 0.5).floor().clamp(0.0, f64::from(ONE)) * self.step
    }
}

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
#[derive(Clone, Debug)]
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
        assert!(observations.iter().all(|observation| observation.len() == self.inputs()), "as many as inputs");
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut current: Vec<f64> = observations.concat();
        let last = self.layers.len().saturating_sub(1);
        for (number, layer) in self.layers.iter().enumerate() {
            let mut output = layer.apply_batch(&current);
            if number < last {
                let grid = grids.and_then(|grids| grids.get(number)).copied();
                wide(|| output.iter_mut().for_each(|x| *x = grid.map_or(x.max(0.0), |grid| grid.round(*x))));
            }
            inputs.push(std::mem::replace(&mut current, output));
        }
        let top = |number: usize| grids.and_then(|grids| grids.get(number)).map_or(f64::INFINITY, |grid| grid.top());
        Batch { inputs, tops: (0..last).map(top).collect(), logits: current }
    }

    /// Adds the gradient of a loss with respect to all parameters to `gradient`, given its gradient with respect to the
    /// logits of every observation, one after the other. Rounding passes gradients straight through.
    pub fn backward_batch(&self, batch: &Batch, logit_gradients: Vec<f64>, gradient: &mut Self) {
        let mut outgoing = logit_gradients;
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
            outgoing = incoming;
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
        network.backward_batch(&batch, seed, &mut gradient);
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
