//! The policy: an integer multilayer perceptron from an observation to an action.
//!
//! # Numbers
//!
//! | quantity | type | range |
//! |---|---|---|
//! | input | `i16` | -8191..=8191 for -1..=1 |
//! | weight | `i16` | -8191..=8191 (14 bits) |
//! | bias, accumulator | `i32` | checked when the image is parsed: no row can overflow on any input |
//! | activation | `i16` | 0..=8191 (13 bits), after ReLU |
//! | logit | `i32` | the accumulator of the last layer; `logit / 2^logit_bits` is the trained logit |
//!
//! A hidden layer computes `clamp(round_half_up((bias + Σ weight·input) / 2^shift), 0, 8191)`.
//! Every operation is exact integer arithmetic, so the result is the same on every machine
//! and in every build.
//!
//! # Heads
//!
//! A *factored* policy has one head per knob, side by side in the last layer; a *joint* policy
//! has one head over the whole action table. The action is the index of the largest logit of
//! each head; of equal logits the lowest index wins. [`Policy::distribution`] gives the softmax of
//! every head: draws with a seed, log-probabilities, and choices under an
//! [`ActionMask`].

mod argmax;
mod distribution;
mod encode;
mod error;
mod image;
mod kernel;
mod layer;
mod softmax;

pub use distribution::{Distribution, DistributionError, Sample};
pub use encode::{EncodeError, LayerValues, encode};
pub use error::ImageError;
pub use image::{
    GoldenOutput, Header, Heads, LayerShape, MAGIC, MAX_GOLDENS, MAX_HIDDEN_LAYERS, MAX_LOGITS, MAX_UNITS, PREFIX_LEN,
    PolicyImage, Provenance, VERSION, schema_hash,
};

pub(crate) use image::CRC;

use crate::action::{Action, ActionMask};
use crate::observation::ONE;
use argmax::Argmax;
use kernel::{Pair, Sums};
use layer::{Layer, Shape};

/// A policy ready to decide: a checked image.
///
/// `PAIRS` is the room that a decision takes on the stack: layers and observations of up to
/// `2 * PAIRS` values, in two buffers of `PAIRS` words (of 16 bytes each where a SIMD register
/// holds them). The default serves networks up to 128 wide; a microcontroller with a smaller one
/// may name less.
#[derive(Clone, Debug)]
pub struct Policy<'a, const PAIRS: usize = 64> {
    image: PolicyImage<'a>,
}

impl<'a> Policy<'a> {
    /// Makes a policy of a checked image, after running the examples that the image carries.
    ///
    /// # Errors
    /// [`ImageError::GoldenMismatch`] when this machine does not compute what the maker's did,
    /// [`ImageError::Width`] when a layer has more than 128 units.
    pub fn new(image: PolicyImage<'a>) -> Result<Self, ImageError> {
        Self::with_room(image)
    }

    /// A policy of bytes that [`PolicyImage::new_checked`] and [`Policy::new`] accepted before and
    /// that nobody has changed since. Reads the header only, so that firmware whose image lies in
    /// memory which it also writes can take its policy anew for every decision. Bytes that did
    /// change are refused or decide wrongly; they do no other harm.
    pub fn unchanged(bytes: &'a [u8]) -> Result<Self, ImageError> {
        Self::unproven(PolicyImage::unchanged(bytes)?)
    }
}

impl<'a, const PAIRS: usize> Policy<'a, PAIRS> {
    /// As [`Policy::new`], for networks up to `2 * PAIRS` wide.
    ///
    /// # Errors
    /// [`ImageError::GoldenMismatch`], or [`ImageError::Width`] when the network is wider.
    pub fn with_room(image: PolicyImage<'a>) -> Result<Self, ImageError> {
        let policy = Self::unproven(image)?;
        policy.self_test()?;
        Ok(policy)
    }

    fn unproven(image: PolicyImage<'a>) -> Result<Self, ImageError> {
        let (found, limit) = (image.header().width().next_multiple_of(kernel::INPUTS), PAIRS.saturating_mul(2));
        if found > limit { Err(ImageError::Width { found, limit }) } else { Ok(Self { image }) }
    }

    /// The image behind this policy.
    #[must_use]
    pub const fn image(&self) -> &PolicyImage<'a> {
        &self.image
    }

    /// Runs every golden example of the image.
    pub fn self_test(&self) -> Result<(), ImageError> {
        for (number, golden) in self.image.goldens().enumerate() {
            if self.evaluate(&golden.input) != golden.output {
                return Err(ImageError::GoldenMismatch { example: u16::try_from(number).unwrap_or(u16::MAX) });
            }
        }
        Ok(())
    }

    /// The chosen action and a digest of all logits, for goldens and bit-exactness tests.
    #[must_use]
    pub fn evaluate(&self, observation: &[i16]) -> GoldenOutput {
        let mut digest = image::CRC.digest();
        self.for_each_logit(observation, |logit| digest.update(&logit.to_le_bytes()));
        GoldenOutput { action: self.decide(observation), logits_crc: digest.finalize() }
    }

    /// The action with the largest logit of every head; ties go to the lowest index.
    #[must_use]
    pub fn decide(&self, observation: &[i16]) -> Action {
        let header = self.image.header();
        let mut argmax = Argmax::new(header);
        self.for_each_block(observation, |sums| argmax.push(sums));
        argmax.finish(header)
    }

    /// The probabilities of the allowed actions, with the logits in the caller's buffer: as many
    /// values as [`Header::logits`] says, 36 for a typical factored policy, 5,808 for a joint one.
    ///
    /// # Errors
    /// [`DistributionError`] when the buffer is too small or the mask forbids a whole knob.
    pub fn distribution<'b>(
        &'b self,
        observation: &[i16],
        mask: ActionMask,
        buffer: &'b mut [i32],
    ) -> Result<Distribution<'b>, DistributionError> {
        let header = self.image.header();
        let needed = header.logits();
        let logits = buffer.get_mut(..needed).ok_or(DistributionError::BufferTooSmall { needed })?;
        let mut slots = logits.iter_mut();
        self.for_each_logit(observation, |logit| {
            if let Some(slot) = slots.next() {
                *slot = logit;
            }
        });
        Distribution::new(header, mask, logits)
    }

    /// Runs the network and hands every logit of the last layer to `sink`, in order. Missing
    /// inputs count as 0, surplus ones are ignored.
    pub fn for_each_logit(&self, observation: &[i16], mut sink: impl FnMut(i32)) {
        let mut left = self.image.header().logits();
        self.for_each_block(observation, |sums| {
            for logit in sums.to_array().into_iter().take(left) {
                sink(logit);
            }
            left = left.saturating_sub(kernel::UNITS);
        });
    }

    /// Runs the network and hands out its logits, four at a time; padding is `i32::MIN`.
    fn for_each_block(&self, observation: &[i16], mut sink: impl FnMut(Sums)) {
        let header = self.image.header();
        let (mut one, mut other) = ([Pair::ZERO; PAIRS], [Pair::ZERO; PAIRS]);
        let (mut inputs, mut outputs) = (&mut one, &mut other);
        let features = observation.get(..header.observation.len()).unwrap_or(observation);
        let (pairs, odd) = features.as_chunks::<2>();
        for (input, [a, b]) in inputs.iter_mut().zip(pairs.iter().copied().chain(odd.first().map(|&last| [last, 0]))) {
            *input = Pair::new(a.clamp(-ONE, ONE), b.clamp(-ONE, ONE));
        }
        let mut rows = self.image.parameters();
        let (mut shifts, mut width) = (header.hidden.iter(), header.observation.len());
        loop {
            let hidden = shifts.next();
            let shape =
                Shape { inputs: width, outputs: hidden.map_or_else(|| header.logits(), |layer| layer.units.into()) };
            let Some(mut layer) = Layer::cut(&mut rows, shape) else { return };
            let mut quads = outputs.as_chunks_mut::<{ kernel::UNITS / 2 }>().0.iter_mut();
            // One place that sums for hidden layers and the last: the loop is in flash once.
            while let Some((biases, weights)) = layer.next_block() {
                let sums = Sums::new(biases, weights, inputs);
                match hidden {
                    Some(LayerShape { shift, .. }) => {
                        if let Some(quad) = quads.next() {
                            *quad = sums.activate(*shift);
                        }
                    }
                    None => sink(sums),
                }
            }
            if hidden.is_none() {
                return;
            }
            width = shape.outputs;
            core::mem::swap(&mut inputs, &mut outputs);
        }
    }
}
