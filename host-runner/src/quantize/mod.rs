//! The only door from floats to integers: a trained network becomes a policy image.
//!
//! All scales are powers of two, so requantization is a shift. Weights get 14 bits and
//! activations 13; each layer's scales are the largest that its weights, its activations over the
//! calibration observations and the bound of its accumulators allow. Rounding is to nearest, halves away
//! from zero, here; the requantization inside the policy rounds halves up.

mod bound;
mod fake;
mod thaw;

pub use bound::{Choice, ErrorBound};
pub use fake::FakeQuantizer;
pub use thaw::{ThawError, thaw};

use crate::grpo::categorical::Categorical;
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::heads::{Heads as Distribution, is_joint};
use crate::grpo::layout::{INPUT_BITS, real_input};
use crate::grpo::network::{Layer, Network};
use crate::grpo::update::Policy as Trained;
use controller_core::action::{KNOBS, Knob};
use controller_core::observation::ONE;
use controller_core::policy::{
    EncodeError, Header, Heads, ImageError, LayerShape, LayerValues, Policy, PolicyImage, Provenance, encode,
};
use serde::Serialize;

/// Most golden examples put into an image.
pub const GOLDENS: usize = 16;

/// Why a network cannot be frozen.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// A parameter that is not finite.
    #[error("the network holds a value that is not finite; the training has diverged, train again")]
    NotFinite,
    /// Scales would leave their range.
    #[error(
        "layer {layer} cannot be brought to 14x13 bits (its shift would be {shift}); its weights are too small or too large"
    )]
    Scale {
        /// Number of the layer, from 0.
        layer: usize,
        /// The shift it would need.
        shift: i32,
    },
    /// A network whose logits fit neither one head per knob nor the whole action table.
    #[error("the network has {logits} logits, the action space asks for {factored} (factored) or {joint} (joint)")]
    Logits {
        /// Logits of the network.
        logits: usize,
        /// Values of all knobs together.
        factored: usize,
        /// Actions of the table.
        joint: usize,
    },
    /// A text or list that is too long for the image's header.
    #[error("{0} does not fit the image header; shorten it")]
    HeaderField(&'static str),
    /// No observations to calibrate on.
    #[error("freezing needs at least one observation to calibrate the activations on")]
    NoObservations,
    /// The image could not be written.
    #[error("the image cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The image that was written is refused.
    #[error("the image that was written is refused: {0}")]
    Image(#[from] ImageError),
}

/// How faithful the frozen policy is to the trained one.
#[derive(Clone, Debug, Serialize)]
pub struct Fidelity {
    /// Observations compared.
    pub observations: usize,
    /// Share of observations with the same action in all heads.
    pub same_action: f64,
    /// Share of equal choices, per head.
    pub same_choice: [f64; KNOBS],
    /// Largest probability that the trained policy loses by a changed choice of one head.
    pub worst_loss: f64,
    /// Total variation distance between the trained policy's probabilities and the frozen one's, of
    /// the head that differs most: mean over the observations.
    pub mean_distance: f64,
    /// The same at worst.
    pub worst_distance: f64,
    /// Activations that hit the top of 13 bits, of all computed.
    pub saturated: f64,
}

#[derive(Clone, Debug)]
struct IntegerLayer {
    biases: Vec<i32>,
    weights: Vec<i16>,
    shift: u8,
    /// Fraction bits of weights, inputs and outputs.
    weight_bits: i32,
    input_bits: i32,
    output_bits: i32,
    /// Makes the logits, which are not requantized.
    is_last: bool,
}

/// Freezes a checkpoint. `observations` are normalized inputs as the policy meets them; they
/// calibrate the activations, become golden examples and measure the fidelity.
pub fn freeze(
    checkpoint: &Checkpoint,
    name: &str,
    observations: &[Vec<i16>],
) -> Result<(Vec<u8>, Fidelity), FreezeError> {
    if observations.is_empty() {
        return Err(FreezeError::NoObservations);
    }
    if checkpoint.network.parameters().any(|p| !p.is_finite()) {
        return Err(FreezeError::NotFinite);
    }
    let (layers, logit_bits) = quantize(&checkpoint.network, &peaks(checkpoint, observations))?;
    let goldens: Vec<&[i16]> = spread(observations, GOLDENS);
    let header = header(checkpoint, name, &layers, logit_bits, goldens.len())?;
    let values: Vec<LayerValues<'_>> =
        layers.iter().map(|layer| LayerValues { biases: &layer.biases, weights: &layer.weights }).collect();
    let mut bytes = vec![0; 1 << 20];
    let length = encode(&header, &values, &goldens, &mut bytes)?;
    bytes.truncate(length);
    let fidelity = compare(checkpoint, &bytes, observations, &layers)?;
    Ok((bytes, fidelity))
}

/// At most `count` entries, evenly spread.
fn spread(observations: &[Vec<i16>], count: usize) -> Vec<&[i16]> {
    let step = observations.len().div_ceil(count);
    observations.iter().step_by(step).map(Vec::as_slice).collect()
}

/// The peaks that a policy was trained with, or those over the observations.
fn peaks(checkpoint: &Checkpoint, observations: &[Vec<i16>]) -> Vec<f64> {
    let trained = checkpoint.content.activation_peaks.clone();
    trained.unwrap_or_else(|| activation_peaks(&checkpoint.network, observations))
}

fn quantize(network: &Network, peaks: &[f64]) -> Result<(Vec<IntegerLayer>, u8), FreezeError> {
    let last = network.layers.len() - 1;
    let mut input_bits = INPUT_BITS;
    let mut layers = Vec::with_capacity(network.layers.len());
    for (number, layer) in network.layers.iter().enumerate() {
        let mut weight_bits = bits_for(layer.weights.iter().fold(0.0, |top: f64, w| top.max(w.abs())));
        // One bit less until no row can overflow its accumulator.
        let (integer, shift, output_bits) = loop {
            let output_bits = if number == last { weight_bits + input_bits } else { bits_for(peaks[number]) };
            let shift = weight_bits + input_bits - output_bits;
            let Ok(valid) = u8::try_from(shift) else { return Err(FreezeError::Scale { layer: number, shift }) };
            if let Some((biases, weights)) = to_integers(layer, weight_bits, weight_bits + input_bits) {
                let is_last = number == last;
                let layer =
                    IntegerLayer { biases, weights, shift: valid, weight_bits, input_bits, output_bits, is_last };
                break (layer, shift, output_bits);
            }
            weight_bits -= 1;
        };
        if shift > 30 || (number == last && output_bits > 30) {
            return Err(FreezeError::Scale { layer: number, shift });
        }
        layers.push(integer);
        input_bits = output_bits;
    }
    let logit_bits = u8::try_from(input_bits).map_err(|_| FreezeError::Scale { layer: last, shift: input_bits })?;
    Ok((layers, logit_bits))
}

/// Fraction bits with which values up to `peak` fill 13 bits of magnitude.
fn bits_for(peak: f64) -> i32 {
    let limit = f64::from(ONE);
    (-16..=20).rev().find(|bits| peak * 2f64.powi(*bits) <= limit).unwrap_or(-16)
}

/// Rounded parameters, or `None` when a row could overflow.
fn to_integers(layer: &Layer, weight_bits: i32, bias_bits: i32) -> Option<(Vec<i32>, Vec<i16>)> {
    let weights: Vec<i16> = layer.weights.iter().map(|w| round_i16(w * 2f64.powi(weight_bits))).collect();
    let mut biases = Vec::with_capacity(layer.biases.len());
    for (bias, row) in layer.biases.iter().zip(weights.chunks_exact(layer.inputs)) {
        let scaled = (bias * 2f64.powi(bias_bits)).round();
        let reach = row.iter().map(|w| i64::from(w.unsigned_abs()) * i64::from(ONE)).sum::<i64>() as f64;
        if scaled.abs() + reach > f64::from(i32::MAX) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
        biases.push(scaled as i32);
    }
    Some((biases, weights))
}

/// Nearest 14-bit integer, saturating.
fn round_i16(value: f64) -> i16 {
    let limit = f64::from(ONE);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 14 bits")]
    let rounded = value.round().clamp(-limit, limit) as i16;
    rounded
}

/// Largest activation of every hidden layer over the observations, with a quarter to spare.
fn activation_peaks(network: &Network, observations: &[Vec<i16>]) -> Vec<f64> {
    let mut peaks = vec![0.0f64; network.layers.len() - 1];
    for observation in observations {
        let activations = network.forward(&real_input(observation));
        for (peak, values) in peaks.iter_mut().zip(activations.inputs().iter().skip(1)) {
            *peak = values.iter().fold(*peak, |top, x| top.max(*x));
        }
    }
    peaks.into_iter().map(|peak| peak * 1.25).collect()
}

fn header(
    checkpoint: &Checkpoint,
    name: &str,
    layers: &[IntegerLayer],
    logit_bits: u8,
    goldens: usize,
) -> Result<Header, FreezeError> {
    let logits = layers.last().map_or(0, |layer| layer.biases.len());
    let joint = is_joint(logits, &checkpoint.content.actions).ok_or_else(|| FreezeError::Logits {
        logits,
        factored: checkpoint.content.actions.sizes().iter().sum(),
        joint: checkpoint.content.actions.count(),
    })?;
    let hidden = layers.iter().take(layers.len() - 1).map(|layer| {
        let units = u16::try_from(layer.biases.len()).map_err(|_| FreezeError::HeaderField("the width of a layer"))?;
        Ok(LayerShape { units, shift: layer.shift })
    });
    let hidden: Vec<LayerShape> = hidden.collect::<Result<_, FreezeError>>()?;
    Ok(Header {
        name: name.try_into().map_err(|_| FreezeError::HeaderField("the name"))?,
        observation: heapless::Vec::from_slice(&checkpoint.content.observation)
            .map_err(|_| FreezeError::HeaderField("the observation"))?,
        actions: checkpoint.content.actions.clone(),
        hidden: heapless::Vec::from_slice(&hidden).map_err(|_| FreezeError::HeaderField("the list of layers"))?,
        heads: if joint { Heads::Joint } else { Heads::Factored },
        logit_bits,
        reward: checkpoint.content.reward,
        provenance: Provenance {
            method: "grpo".try_into().map_err(|_| FreezeError::HeaderField("the method"))?,
            environment: checkpoint
                .content
                .environment
                .as_str()
                .try_into()
                .map_err(|_| FreezeError::HeaderField("the environment"))?,
            seed: checkpoint.content.seed,
            updates: checkpoint.content.updates,
        },
        goldens: u16::try_from(goldens).map_err(|_| FreezeError::HeaderField("the number of goldens"))?,
    })
}

/// The policy as it decided in training: rounded where training was quantization-aware.
pub fn trained_policy(checkpoint: &Checkpoint) -> Result<Trained<'_>, FreezeError> {
    match &checkpoint.content.activation_peaks {
        None => Ok(Trained::of(&checkpoint.network)),
        Some(peaks) => FakeQuantizer::with_peaks(peaks.clone()).round(&checkpoint.network),
    }
}

fn compare(
    checkpoint: &Checkpoint,
    bytes: &[u8],
    observations: &[Vec<i16>],
    layers: &[IntegerLayer],
) -> Result<Fidelity, FreezeError> {
    let policy = Policy::new(PolicyImage::new_checked(bytes)?)?;
    let as_trained = trained_policy(checkpoint)?;
    let mut same_action = 0usize;
    let mut same_choice = [0usize; KNOBS];
    let mut worst_loss = 0.0f64;
    let mut distances = Vec::with_capacity(observations.len());
    for observation in observations {
        let trained = as_trained.heads(observation, &checkpoint.content.actions);
        let frozen = Distribution::new(&real_logits(&policy, observation), &checkpoint.content.actions);
        let (expected, found) = (trained.greedy(), policy.decide(observation));
        same_action += usize::from(expected == found);
        for (count, knob) in same_choice.iter_mut().zip(Knob::ALL) {
            *count += usize::from(expected.get(knob) == found.get(knob));
        }
        let choices = trained.choices(expected).into_iter().zip(trained.choices(found));
        for (head, (wanted, taken)) in trained.categoricals().iter().zip(choices) {
            let probability = |index: usize| head.probabilities()[index];
            worst_loss = worst_loss.max(probability(wanted) - probability(taken));
        }
        let pairs = trained.categoricals().iter().zip(frozen.categoricals());
        distances.push(pairs.map(|(a, b): (&Categorical, _)| a.distance(b)).fold(0.0, f64::max));
    }
    let count = observations.len() as f64;
    Ok(Fidelity {
        observations: observations.len(),
        same_action: same_action as f64 / count,
        same_choice: same_choice.map(|n| n as f64 / count),
        worst_loss,
        mean_distance: distances.iter().sum::<f64>() / count,
        worst_distance: distances.iter().copied().fold(0.0, f64::max),
        saturated: saturated_share(layers, observations),
    })
}

/// The logits of a frozen policy in the units of the trained one.
#[must_use]
pub fn real_logits(policy: &Policy<'_>, observation: &[i16]) -> Vec<f64> {
    let unit = 0.5f64.powi(i32::from(policy.image().header().logit_bits));
    let mut logits = Vec::new();
    policy.for_each_logit(observation, |logit| logits.push(f64::from(logit) * unit));
    logits
}

/// Share of hidden activations at the top of 13 bits, by running the integer layers here.
fn saturated_share(layers: &[IntegerLayer], observations: &[Vec<i16>]) -> f64 {
    let (mut hits, mut total) = (0usize, 0usize);
    for observation in observations {
        let mut current: Vec<i64> = observation.iter().map(|x| i64::from(*x)).collect();
        for layer in layers.iter().take(layers.len() - 1) {
            let rows = layer.weights.chunks_exact(current.len()).zip(&layer.biases);
            let half = (1i64 << layer.shift) >> 1;
            let next = rows.map(|(row, bias)| {
                let sum: i64 = row.iter().zip(&current).map(|(w, x)| i64::from(*w) * x).sum();
                ((sum + i64::from(*bias) + half) >> layer.shift).max(0)
            });
            current = next.map(|x| x.min(i64::from(ONE))).collect();
            hits += current.iter().filter(|x| **x == i64::from(ONE)).count();
            total += current.len();
        }
    }
    hits as f64 / total.max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::grpo::checkpoint::Content;
    use controller_core::action::ActionSpace;
    use controller_core::observation::{Feature, FeatureRange};
    use controller_core::reward::Variant;
    use controller_core::rng::Pcg32;

    pub(crate) fn checkpoint(seed: u64) -> Checkpoint {
        let clocks: Vec<u32> = (1..=11).map(|i| i * 100_000).collect();
        let actions = ActionSpace {
            prefill_khz: clocks.iter().copied().collect(),
            decode_khz: clocks.iter().copied().collect(),
            batch: [1, 4, 8, 16, 24, 32].into_iter().collect(),
            depth: (9..=16).collect(),
            fan_pwm: [0, 128, 255].into_iter().collect(),
        };
        let range = |feature| FeatureRange { feature, low: 0, high: 100 };
        let observation =
            vec![range(Feature::Temperature), range(Feature::Queue), range(Feature::Power), range(Feature::FanPwm)];
        let mut network = Network::new(observation.len(), &[32, 32], actions.sizes().iter().sum(), seed);
        let mut rng = Pcg32::new(seed + 1);
        // A peaked policy: large last-layer weights, some biases.
        network.parameters_mut().for_each(|p| *p = *p * 3.0 + (f64::from(rng.below(1000)) - 500.0) * 2e-3);
        let untrained = Content::untrained(observation, actions, Variant::Service);
        let content = Content { environment: "test".into(), seed, ..untrained };
        Checkpoint::untrained(content, network)
    }

    pub(crate) fn observations(count: usize, seed: u64) -> Vec<Vec<i16>> {
        let mut rng = Pcg32::new(seed);
        let mut value = || i16::try_from(i32::try_from(rng.below(16_383)).unwrap() - 8191).unwrap();
        (0..count).map(|_| (0..4).map(|_| value()).collect()).collect()
    }

    #[test]
    fn a_frozen_policy_chooses_as_the_trained_one() {
        for seed in 0..5 {
            let (bytes, fidelity) = freeze(&checkpoint(seed), "test", &observations(4000, 9)).unwrap();
            assert!(PolicyImage::new_checked(&bytes).is_ok());
            for share in fidelity.same_choice {
                assert!(share >= 0.995, "seed {seed}: {fidelity:?}");
            }
            assert!(fidelity.worst_loss < 0.03, "{fidelity:?}");
            assert!(fidelity.mean_distance < 0.01 && fidelity.worst_distance < 0.1, "{fidelity:?}");
        }
    }

    #[test]
    fn what_cannot_be_frozen_is_refused() {
        let mut broken = checkpoint(1);
        broken.network.layers[0].weights[0] = f64::NAN;
        assert!(matches!(freeze(&broken, "x", &observations(4, 1)), Err(FreezeError::NotFinite)));
        assert!(matches!(freeze(&checkpoint(1), "x", &[]), Err(FreezeError::NoObservations)));
        let long = "a name that is much too long for the header";
        assert!(matches!(freeze(&checkpoint(1), long, &observations(4, 1)), Err(FreezeError::HeaderField(_))));
    }
}
