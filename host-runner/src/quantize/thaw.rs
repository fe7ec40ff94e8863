//! A policy image as a network that can be trained on.
//!
//! The image says what its integers are worth where it matters, at its inputs and its logits. Between, one scale is as good
//! as another since `ReLU` does not mind; all hidden activations are read as inputs are, 8192 to 1. The thawed network
//! computes what the image does but for rounding and saturation.

use crate::grpo::checkpoint::{Checkpoint, Content};
use crate::grpo::layout::INPUT_BITS;
use crate::grpo::network::{Layer, Network};
use controller_core::policy::{ImageError, PolicyImage};

/// Why an image cannot be thawed.
#[derive(Debug, thiserror::Error)]
pub enum ThawError {
    /// The image is unusable.
    #[error("the policy image is unusable: {0}")]
    Image(#[from] ImageError),
}

/// Makes a checkpoint of a policy image: fresh moments, no state of a training.
pub fn thaw(bytes: &[u8]) -> Result<Checkpoint, ThawError> {
    let image = PolicyImage::new_checked(bytes)?;
    let header = image.header();
    let shifts = header.hidden.iter().map(|shape| i32::from(shape.shift));
    // The last layer's accumulator is the logit; read as a shift to 13 bits it is this one.
    let shifts = shifts.chain([i32::from(header.logit_bits)]);
    let last = header.hidden.len();
    let mut inputs = header.observation.len();
    let mut layers = Vec::new();
    for (number, shift) in shifts.enumerate() {
        // a' = (W·a + b) / 2^shift with a, a' in units of 2^-13; the logits are in units of 2^-logit_bits instead.
        let (weight_bits, bias_bits) =
            if number == last { (shift - INPUT_BITS, shift) } else { (shift, shift + INPUT_BITS) };
        let (weight_step, bias_step) = (0.5f64.powi(weight_bits), 0.5f64.powi(bias_bits));
        let mut layer = Layer { inputs, weights: Vec::new(), biases: Vec::new() };
        while let Some((bias, weights)) = image.unit(number, layer.biases.len()) {
            layer.biases.push(f64::from(bias) * bias_step);
            layer.weights.extend(weights.map(|weight| f64::from(weight) * weight_step));
        }
        inputs = layer.biases.len();
        layers.push(layer);
    }
    let network = Network { layers };
    let content = Content {
        environment: header.provenance.environment.as_str().to_owned(),
        seed: header.provenance.seed,
        updates: header.provenance.updates,
        ..Content::untrained(header.observation.to_vec(), header.actions.clone(), header.reward)
    };
    Ok(Checkpoint::untrained(content, network))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checkpoint, observations};
    use super::super::{freeze, real_logits};
    use super::*;
    use crate::grpo::layout::real_input;
    use controller_core::policy::Policy;

    #[test]
    fn a_thawed_policy_is_the_one_that_was_frozen() {
        for seed in 0..3 {
            let trained = checkpoint(seed);
            let (bytes, _) = freeze(&trained, "test", &observations(300, 9)).unwrap();
            let thawed = thaw(&bytes).unwrap();
            assert_eq!(thawed.content.actions, trained.content.actions);
            let image = Policy::new(PolicyImage::new_checked(&bytes).unwrap()).unwrap();
            for observation in observations(300, 11) {
                let found = thawed.network.forward(&real_input(&observation)).logits;
                let pairs = found.iter().zip(real_logits(&image, &observation));
                // Two layers, each of 32 units rounded by half a step of about 2^-11 and weighed by 1 or so.
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 0.05, "seed {seed}: {worst}");
            }
        }
        assert!(thaw(b"nothing").is_err());
    }
}
