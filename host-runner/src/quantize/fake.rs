//! Rounding during training as freezing will round, so that the policy that was trained is the one that gets frozen.
//!
//! Weights, biases and activations take the very values that the image's integers stand for: the same scales, the same
//! rounding. Gradients pass through the rounding as if it were not there (B. Jacob et al., "Quantization and Training
//! of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 3).

use super::{FreezeError, activation_peaks, quantize};
use crate::grpo::network::{Grid, Layer, Network};
use crate::grpo::update::Policy;

/// Rounds a network in training.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantizer {
    peaks: Vec<f64>,
}

impl FakeQuantizer {
    /// Calibrated on normalized observations.
    #[must_use]
    pub fn new(network: &Network, observations: &[Vec<i16>]) -> Self {
        Self { peaks: activation_peaks(network, observations) }
    }

    /// With peaks known before.
    #[must_use]
    pub const fn with_peaks(peaks: Vec<f64>) -> Self {
        Self { peaks }
    }

    /// The peak of every hidden layer's activations, which decides its scale.
    #[must_use]
    pub fn peaks(&self) -> &[f64] {
        &self.peaks
    }

    /// Takes in what the policy meets now. Scales only widen, so that they settle.
    pub fn watch(&mut self, network: &Network, observations: &[Vec<i16>]) {
        let seen = activation_peaks(network, observations);
        self.peaks.iter_mut().zip(seen).for_each(|(peak, seen)| *peak = peak.max(seen));
    }

    /// The policy that the image of this network would be.
    pub fn round(&self, network: &Network) -> Result<Policy<'static>, FreezeError> {
        let (layers, _) = quantize(network, &self.peaks)?;
        let step = |bits: i32| 0.5f64.powi(bits);
        let rounded = layers.iter().zip(&network.layers).map(|(frozen, layer)| {
            let (weight, bias) = (step(frozen.weight_bits), step(frozen.weight_bits + frozen.input_bits));
            Layer {
                inputs: layer.inputs,
                weights: frozen.weights.iter().map(|w| f64::from(*w) * weight).collect(),
                biases: frozen.biases.iter().map(|b| f64::from(*b) * bias).collect(),
            }
        });
        let network = Network { layers: rounded.collect() };
        let hidden = layers.iter().filter(|layer| !layer.is_last);
        Ok(Policy::rounded(network, hidden.map(|layer| Grid { step: step(layer.output_bits) }).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checkpoint, observations};
    use super::super::{freeze, real_logits};
    use super::*;
    use controller_core::policy::{self, PolicyImage};

    #[test]
    fn the_rounded_network_is_the_image() {
        for seed in 0..4 {
            let mut trained = checkpoint(seed);
            let quantizer = FakeQuantizer::new(&trained.network, &observations(300, 9));
            trained.content.activation_peaks = Some(quantizer.peaks().to_vec());
            // Freezing on other observations changes nothing: the scales are those of the training.
            let (bytes, _) = freeze(&trained, "test", &observations(20, 77)).unwrap();
            let image = policy::Policy::new(PolicyImage::new_checked(&bytes).unwrap()).unwrap();
            let rounded = quantizer.round(&trained.network).unwrap();
            for observation in observations(500, 10) {
                assert_eq!(rounded.logits(&observation), real_logits(&image, &observation), "bit for bit");
            }
        }
    }

    #[test]
    fn scales_only_widen() {
        let trained = checkpoint(2);
        let mut quantizer = FakeQuantizer::new(&trained.network, &observations(10, 1));
        let before = quantizer.peaks().to_vec();
        quantizer.watch(&trained.network, &observations(500, 2));
        assert!(quantizer.peaks().iter().zip(&before).all(|(now, then)| now >= then));
        assert_ne!(quantizer.peaks(), before);
    }
}
