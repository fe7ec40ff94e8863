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
mod network;
mod softmax;

pub use distribution::{Distribution, DistributionError, Sample};
pub use encode::{EncodeError, LayerValues, encode};
pub use error::ImageError;
pub use image::{
    GoldenOutput, Header, Heads, LayerShape, MAGIC, MAX_GOLDENS, MAX_HIDDEN_LAYERS, MAX_LOGITS, MAX_UNITS, PREFIX_LEN,
    PolicyImage, Provenance, VERSION, schema_hash,
};
pub use network::{Network, Outline};

use crate::action::{Action, ActionMask};

/// A policy ready to decide: a checked image and its [`Network`]. Firmware, which has no use for a
/// name and a provenance, keeps the network alone.
#[derive(Clone, Debug)]
pub struct Policy<'a, const PAIRS: usize = 64> {
    image: PolicyImage<'a>,
    network: Network<'a, PAIRS>,
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
}

impl<'a, const PAIRS: usize> Policy<'a, PAIRS> {
    /// As [`Policy::new`], for networks up to `2 * PAIRS` wide.
    ///
    /// # Errors
    /// [`ImageError::GoldenMismatch`], or [`ImageError::Width`] when the network is wider.
    pub fn with_room(image: PolicyImage<'a>) -> Result<Self, ImageError> {
        Ok(Self { network: Network::new(&image)?, image })
    }

    /// The image behind this policy.
    #[must_use]
    pub const fn image(&self) -> &PolicyImage<'a> {
        &self.image
    }

    /// The network of the image.
    #[must_use]
    pub const fn network(&self) -> &Network<'a, PAIRS> {
        &self.network
    }

    /// The network alone.
    #[must_use]
    pub fn into_network(self) -> Network<'a, PAIRS> {
        self.network
    }

    /// As [`Network::evaluate`].
    #[must_use]
    pub fn evaluate(&self, observation: &[i16]) -> GoldenOutput {
        self.network.evaluate(observation)
    }

    /// As [`Network::decide`].
    #[must_use]
    pub fn decide(&self, observation: &[i16]) -> Action {
        self.network.decide(observation)
    }

    /// As [`Network::for_each_logit`].
    pub fn for_each_logit(&self, observation: &[i16], sink: impl FnMut(i32)) {
        self.network.for_each_logit(observation, sink);
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
}
