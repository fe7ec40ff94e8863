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
//! each head; of equal logits the lowest index wins.

mod encode;
mod error;
mod image;

pub use encode::{EncodeError, LayerValues, encode};
pub use error::ImageError;
pub use image::{
    GoldenOutput, Header, Heads, LayerShape, MAGIC, MAX_GOLDENS, MAX_HIDDEN_LAYERS, MAX_LOGITS, MAX_WIDTH, PREFIX_LEN,
    PolicyImage, Provenance, VERSION, schema_hash,
};

pub(crate) use image::CRC;

use crate::action::{Action, KNOBS, Knob};
use crate::observation::ONE;
use image::Layer;

/// Divides by `2^shift`, rounding to nearest, halves up.
#[must_use]
pub const fn round_shift(value: i32, shift: u8) -> i32 {
    if shift == 0 {
        return value;
    }
    // floor(v / 2^s) plus the first bit shifted out is floor(v / 2^s + 1/2), without overflow.
    (value >> shift) + ((value >> (shift - 1)) & 1)
}

/// A policy ready to decide: a checked image.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    image: PolicyImage<'a>,
}

impl<'a> Policy<'a> {
    /// Makes a policy of a checked image, after running the examples that the image carries.
    ///
    /// # Errors
    /// [`ImageError::GoldenMismatch`] when this machine does not compute what the maker's did.
    pub fn new(image: PolicyImage<'a>) -> Result<Self, ImageError> {
        let policy = Self { image };
        policy.self_test()?;
        Ok(policy)
    }

    /// A policy of bytes that [`PolicyImage::new_checked`] and [`Policy::new`] accepted before and
    /// that nobody has changed since. Reads the header only, so that firmware whose image lies in
    /// memory which it also writes can take its policy anew for every decision. Bytes that did
    /// change are refused or decide wrongly; they do no other harm.
    pub fn unchanged(bytes: &'a [u8]) -> Result<Self, ImageError> {
        Ok(Self { image: PolicyImage::unchanged(bytes)? })
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
        let mut argmax = Argmax::new(self.image.header());
        self.for_each_logit(observation, |logit| {
            digest.update(&logit.to_le_bytes());
            argmax.push(logit);
        });
        GoldenOutput { action: argmax.finish(self.image.header()), logits_crc: digest.finalize() }
    }

    /// The action with the largest logit of every head; ties go to the lowest index.
    #[must_use]
    pub fn decide(&self, observation: &[i16]) -> Action {
        let mut argmax = Argmax::new(self.image.header());
        self.for_each_logit(observation, |logit| argmax.push(logit));
        argmax.finish(self.image.header())
    }

    /// Runs the network and hands every logit of the last layer to `sink`, in order. Missing
    /// inputs count as 0, surplus ones are ignored.
    pub fn for_each_logit(&self, observation: &[i16], mut sink: impl FnMut(i32)) {
        let mut current = [0i16; MAX_WIDTH];
        let mut next = [0i16; MAX_WIDTH];
        for (slot, value) in current.iter_mut().zip(observation) {
            *slot = (*value).clamp(-ONE, ONE);
        }
        for layer in self.image.hidden() {
            for (slot, accumulator) in next.iter_mut().zip(layer.accumulators(&current)) {
                *slot = activate(accumulator, layer.shift());
            }
            core::mem::swap(&mut current, &mut next);
        }
        let last: Layer<'_> = self.image.head_layer();
        last.accumulators(&current).for_each(&mut sink);
    }
}

/// ReLU and requantization of one accumulator to 13 bits.
fn activate(accumulator: i32, shift: u8) -> i16 {
    let scaled = round_shift(accumulator, shift).clamp(0, i32::from(ONE));
    i16::try_from(scaled).unwrap_or(ONE)
}

/// Streaming argmax over one or several heads.
struct Argmax {
    ends: [usize; KNOBS],
    best: [usize; KNOBS],
    value: i32,
    head: usize,
    position: usize,
    start: usize,
}

impl Argmax {
    fn new(header: &Header) -> Self {
        let ends = match header.heads {
            Heads::Joint => [header.actions.count(); KNOBS],
            Heads::Factored => {
                let mut end = 0;
                header.actions.sizes().map(|size| {
                    end += size;
                    end
                })
            }
        };
        Self { ends, best: [0; KNOBS], value: i32::MIN, head: 0, position: 0, start: 0 }
    }

    fn push(&mut self, logit: i32) {
        if self.ends.get(self.head).is_some_and(|&end| self.position >= end) {
            self.head += 1;
            self.start = self.position;
            self.value = i32::MIN;
        }
        // The first logit of a head must win even if it is the smallest number there is.
        if (logit > self.value || self.position == self.start)
            && let Some(best) = self.best.get_mut(self.head)
        {
            *best = self.position - self.start;
            self.value = logit;
        }
        self.position += 1;
    }

    fn finish(&self, header: &Header) -> Action {
        let [first, ..] = self.best;
        match header.heads {
            Heads::Joint => header.actions.action(first).unwrap_or_default(),
            Heads::Factored => {
                let mut action = Action::default();
                for (knob, best) in Knob::ALL.into_iter().zip(self.best) {
                    action.set(knob, u8::try_from(best).unwrap_or(0));
                }
                action
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounding_is_half_up() {
        for (value, shift, expected) in
            [(5, 1, 3), (4, 1, 2), (-5, 1, -2), (-6, 2, -1), (7, 0, 7), (i32::MAX, 1, 1 << 30)]
        {
            assert_eq!(round_shift(value, shift), expected, "{value} >> {shift}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_within_half_a_step(value in any::<i32>(), shift in 0u8..31) {
            let error = i64::from(round_shift(value, shift)) * (1i64 << shift) - i64::from(value);
            prop_assert!(error.abs() * 2 <= 1i64 << shift);
        }
    }
}
