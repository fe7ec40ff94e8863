//! How far a frozen policy can be from the trained one in a given situation: a proof, not a sample.
//!
//! Errors are carried through the layers with the magnitudes that this very situation has. With a
//! the trained activations, e a bound on their error, W the trained and Ŵ the frozen weights:
//!
//! - a sum is off by at most `Σ|W - Ŵ||a| + Σ|Ŵ|e + |b - b̂|`
//! - requantization to 13 bits adds half a step, and what lies above the top of the scale
//! - `ReLU` adds nothing
//! - between two logits the same holds for the difference of their rows, which is much tighter than
//!   twice the bound of one
//!
//! A choice whose lead over every rival exceeds the bound of that pair cannot change.

use super::{FreezeError, IntegerLayer, peaks, quantize};
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::heads::is_joint;
use crate::grpo::layout::INPUT_BITS;
use crate::grpo::network::{Layer, Network};
use controller_core::observation::ONE;
use std::ops::Range;

/// What f64 itself may add to a logit; the sums here are far more exact.
const SLACK: f64 = 1e-9;

/// A trained network beside its frozen layers.
#[derive(Clone, Debug)]
pub struct ErrorBound {
    network: Network,
    layers: Vec<IntegerLayer>,
    heads: Vec<Range<usize>>,
}

/// The choice of one head in one situation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What the trained policy chooses.
    pub index: usize,
    /// Its lead over the nearest rival, in logits.
    pub gap: f64,
    /// Largest error of a lead over any rival, in logits.
    pub bound: f64,
    /// The frozen policy must choose the same.
    pub is_certain: bool,
}

impl ErrorBound {
    /// For the image that [`super::freeze`] makes of the same checkpoint and observations.
    pub fn new(checkpoint: &Checkpoint, observations: &[Vec<i16>]) -> Result<Self, FreezeError> {
        let (layers, _) = quantize(&checkpoint.network, &peaks(checkpoint, observations))?;
        let logits = layers.last().map_or(0, |layer| layer.biases.len());
        let heads = if is_joint(logits, &checkpoint.content.actions) == Some(true) {
            std::iter::once(0..logits).collect()
        } else {
            let mut end = 0;
            let mut next = |size| {
                end += size;
                end - size..end
            };
            checkpoint.content.actions.sizes().into_iter().map(&mut next).collect()
        };
        Ok(Self { network: checkpoint.network.clone(), layers, heads })
    }

    /// Every head's choice for the network's `exact` input, which the frozen policy gets as `observation`.
    #[must_use]
    pub fn choices(&self, exact: &[f64], observation: &[i16]) -> Vec<Choice> {
        let step = 0.5f64.powi(INPUT_BITS);
        let mut errors: Vec<f64> =
            exact.iter().zip(observation).map(|(x, q)| (x - f64::from(*q) * step).abs()).collect();
        let activations = self.network.forward(exact);
        let mut last = None;
        for ((layer, frozen), values) in self.network.layers.iter().zip(&self.layers).zip(activations.inputs()) {
            last = Some((layer, frozen, values, errors.clone()));
            if frozen.is_last {
                break;
            }
            let half_step = 0.5f64.powi(frozen.output_bits + 1);
            let top = f64::from(ONE) * 0.5f64.powi(frozen.output_bits);
            errors = (0..layer.biases.len())
                .map(|unit| {
                    let (sum, error) = sum_and_error(layer, frozen, values, &errors, unit, None);
                    error + half_step + (sum.max(0.0) - top).max(0.0)
                })
                .collect();
        }
        let Some((layer, frozen, values, errors)) = last else { return Vec::new() };
        let choice = |head: &Range<usize>| {
            let logits = &activations.logits[head.clone()];
            let index = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
            let mut choice = Choice { index, gap: f64::INFINITY, bound: 0.0, is_certain: true };
            for rival in head.clone().filter(|unit| *unit != head.start + index) {
                let (lead, error) = sum_and_error(layer, frozen, values, &errors, head.start + index, Some(rival));
                choice.gap = choice.gap.min(lead);
                choice.bound = choice.bound.max(error + SLACK);
                choice.is_certain &= lead > error + SLACK;
            }
            choice
        };
        self.heads.iter().map(choice).collect()
    }
}

/// The trained sum of one unit, or its lead over a rival, and how far the frozen one can be from it.
fn sum_and_error(
    layer: &Layer,
    frozen: &IntegerLayer,
    values: &[f64],
    errors: &[f64],
    unit: usize,
    rival: Option<usize>,
) -> (f64, f64) {
    let weight_step = 0.5f64.powi(frozen.weight_bits);
    let bias_step = 0.5f64.powi(frozen.weight_bits + frozen.input_bits);
    let row = |unit: usize| unit * layer.inputs..(unit + 1) * layer.inputs;
    let rivals = rival.map(|rival| (&layer.weights[row(rival)], &frozen.weights[row(rival)]));
    let frozen_bias = |unit: usize| f64::from(frozen.biases[unit]) * bias_step;
    let (mut bias, mut rounded) = (layer.biases[unit], frozen_bias(unit));
    if let Some(rival) = rival {
        bias -= layer.biases[rival];
        rounded -= frozen_bias(rival);
    }
    let (mut sum, mut error) = (bias, (bias - rounded).abs());
    let own = layer.weights[row(unit)].iter().zip(&frozen.weights[row(unit)]);
    for (place, (weight, integer)) in own.enumerate() {
        let (mut weight, mut rounded) = (*weight, f64::from(*integer) * weight_step);
        if let Some((weights, integers)) = rivals {
            weight -= weights[place];
            rounded -= f64::from(integers[place]) * weight_step;
        }
        sum += weight * values[place];
        error += (weight - rounded).abs() * values[place].abs() + rounded.abs() * errors[place];
    }
    (sum, error)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checkpoint, observations};
    use super::super::{freeze, real_logits};
    use super::*;
    use crate::grpo::heads::Heads;
    use crate::grpo::layout::real_input;
    use controller_core::action::Knob;
    use controller_core::policy::{Policy, PolicyImage};

    #[test]
    fn no_frozen_lead_is_further_off_than_its_bound() {
        for seed in 0..3 {
            let (checkpoint, calibration) = (checkpoint(seed), observations(500, 9));
            let (bytes, _) = freeze(&checkpoint, "test", &calibration).unwrap();
            let policy = Policy::new(PolicyImage::new_checked(&bytes).unwrap()).unwrap();
            let bound = ErrorBound::new(&checkpoint, &calibration).unwrap();
            let (mut certain, mut used) = (0, 0.0f64);
            for observation in observations(500, 10) {
                // Off the grid by less than half a step, as a real input would be.
                let mut exact = real_input(&observation);
                exact[0] += 0.4 / 8192.0;
                let (logits, trained) = (real_logits(&policy, &observation), checkpoint.network.forward(&exact).logits);
                let (choices, heads) =
                    (bound.choices(&exact, &observation), Heads::new(&trained, &checkpoint.content.actions));
                let action = policy.decide(&observation);
                let mut start = 0;
                for ((knob, choice), size) in
                    Knob::ALL.into_iter().zip(&choices).zip(checkpoint.content.actions.sizes())
                {
                    assert_eq!(choice.index, usize::from(heads.greedy().get(knob)));
                    let best = start + choice.index;
                    for rival in (start..start + size).filter(|rival| *rival != best) {
                        let off = (logits[best] - logits[rival]) - (trained[best] - trained[rival]);
                        assert!(off.abs() <= choice.bound, "{off} beyond {}", choice.bound);
                        used = used.max(off.abs() / choice.bound);
                    }
                    if choice.is_certain {
                        certain += 1;
                        assert_eq!(usize::from(action.get(knob)), choice.index);
                    }
                    start += size;
                }
            }
            // Neither vacuous nor far from what happens.
            assert!(certain > 1500 && used > 0.05, "seed {seed}: {certain} certain choices, {used} of the bound used");
        }
    }
}
