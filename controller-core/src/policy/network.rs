//! The network that decides: the few numbers that describe it, and its parameters where they lie.

use super::argmax::Argmax;
use super::error::ImageError;
use super::image::{GoldenOutput, Heads, LayerShape, MAX_HIDDEN_LAYERS, PREFIX_LEN, PolicyImage, parameters_at};
use super::kernel::{self, Pair, Row, Sums};
use super::layer::{Layer, Shape, shapes};
use crate::action::{Action, KNOBS};
use crate::checksum::Checksum;
use crate::observation::{FEATURES_VERSION, FeatureRange, Layout, ONE};
use heapless::Vec;

/// What deciding needs to know of an image, without the image: firmware whose images lie in memory
/// that it also writes keeps this of an image that it has checked, and looks the parameters up anew
/// for every decision ([`Network::resume`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    pub(super) prefix: [u8; PREFIX_LEN],
    pub(super) observation: Layout,
    pub(super) hidden: Vec<LayerShape, MAX_HIDDEN_LAYERS>,
    pub(super) heads: Heads,
    /// Values of every knob.
    pub(super) sizes: [usize; KNOBS],
}

impl Outline {
    /// Features and their ranges, in the order of the inputs.
    #[must_use]
    pub fn observation(&self) -> &[FeatureRange] {
        &self.observation
    }

    /// [`super::schema_hash`] of the image.
    #[must_use]
    pub fn schema(&self) -> u32 {
        schema(&self.observation, self.sizes)
    }

    fn logits(&self) -> usize {
        logits(self.heads, self.sizes)
    }

    fn shapes(&self) -> impl Iterator<Item = (Shape, Option<u8>)> + '_ {
        shapes(self.observation.len(), &self.hidden, self.logits())
    }
}

/// Number of logits of the last layer.
pub(super) fn logits(heads: Heads, sizes: [usize; KNOBS]) -> usize {
    match heads {
        Heads::Joint => sizes.iter().product(),
        Heads::Factored => sizes.iter().sum(),
    }
}

/// Hash of the meaning of the features and of the number of values of every knob.
pub(super) fn schema(observation: &[FeatureRange], sizes: [usize; KNOBS]) -> u32 {
    let mut sum = Checksum::START.and(&FEATURES_VERSION.to_le_bytes());
    for range in observation {
        sum = sum.and(&[range.feature as u8]);
    }
    for size in sizes {
        sum = sum.and(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    }
    sum.value()
}

/// A network that may decide.
///
/// `PAIRS` is the room that a decision takes on the stack: layers and observations of up to
/// `2 * PAIRS` values, in two buffers of `PAIRS` words (of 16 bytes each where a SIMD register
/// holds them). The default serves networks up to 128 wide; a microcontroller with a smaller one
/// may name less.
#[derive(Clone, Debug)]
pub struct Network<'a, const PAIRS: usize = 64> {
    outline: Outline,
    parameters: &'a [Row],
}

impl<'a, const PAIRS: usize> Network<'a, PAIRS> {
    /// The network of a checked image, after running the examples that the image carries.
    ///
    /// # Errors
    /// [`ImageError::GoldenMismatch`] when this machine does not compute what the maker's did,
    /// [`ImageError::Width`] when a layer has more than `2 * PAIRS` units.
    pub fn new(image: &PolicyImage<'a>) -> Result<Self, ImageError> {
        let network = Self::unproven(image)?;
        network.self_test(image)?;
        Ok(network)
    }

    /// The same without running the examples.
    ///
    /// # Errors
    /// [`ImageError::Width`] when a layer has more than `2 * PAIRS` units.
    pub fn unproven(image: &PolicyImage<'a>) -> Result<Self, ImageError> {
        let network = Self { outline: image.outline(), parameters: image.parameters() };
        let widest = network.outline.shapes().map(|(shape, _)| shape.inputs).fold(0, usize::max);
        let (found, limit) = (widest.next_multiple_of(kernel::INPUTS), PAIRS.saturating_mul(2));
        if found > limit { Err(ImageError::Width { found, limit }) } else { Ok(network) }
    }

    /// The network of an image that [`Network::new`] accepted before and that nobody has changed
    /// since; `None` when the bytes begin otherwise, as those of another image do. Other changes
    /// are not noticed: such bytes decide wrongly and do no other harm.
    #[must_use]
    pub fn resume(outline: Outline, bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(&outline.prefix) {
            return None;
        }
        let parameters = bytes.get(parameters_at(&outline.prefix)..)?.as_chunks().0.as_chunks().0;
        Some(Self { outline, parameters })
    }

    /// What to keep for [`Network::resume`].
    #[must_use]
    pub const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The same without the network.
    #[must_use]
    pub fn into_outline(self) -> Outline {
        self.outline
    }

    /// Runs every golden example of the image.
    pub fn self_test(&self, image: &PolicyImage<'_>) -> Result<(), ImageError> {
        for (number, golden) in (0..).zip(image.goldens()) {
            if self.evaluate(&golden.input) != golden.output {
                return Err(ImageError::GoldenMismatch { example: number });
            }
        }
        Ok(())
    }

    /// The chosen action and a digest of all logits, for goldens and bit-exactness tests.
    #[must_use]
    pub fn evaluate(&self, observation: &[i16]) -> GoldenOutput {
        let mut sum = Checksum::START;
        let action = self.choose(observation, Some(&mut sum));
        GoldenOutput { action, logits_crc: sum.value() }
    }

    /// The action with the largest logit of every head; ties go to the lowest index.
    #[must_use]
    pub fn decide(&self, observation: &[i16]) -> Action {
        self.choose(observation, None)
    }

    /// The action, and the checksum of all logits where somebody wants it.
    #[inline(never)] // both who decide and who test share one copy of the network's loops
    fn choose(&self, observation: &[i16], mut sum: Option<&mut Checksum>) -> Action {
        let mut argmax = Argmax::new(self.outline.heads, self.outline.sizes);
        let mut left = self.outline.logits();
        self.for_each_block(observation, |sums| {
            argmax.push(sums);
            if let Some(sum) = &mut sum {
                for logit in sums.to_array().into_iter().take(left) {
                    **sum = sum.and(&logit.to_le_bytes());
                }
                left = left.saturating_sub(kernel::UNITS);
            }
        });
        argmax.finish()
    }

    /// Runs the network and hands every logit of the last layer to `sink`, in order. Missing
    /// inputs count as 0, surplus ones are ignored.
    pub fn for_each_logit(&self, observation: &[i16], mut sink: impl FnMut(i32)) {
        let mut left = self.outline.logits();
        self.for_each_block(observation, |sums| {
            for logit in sums.to_array().into_iter().take(left) {
                sink(logit);
            }
            left = left.saturating_sub(kernel::UNITS);
        });
    }

    /// Runs the network and hands out its logits, four at a time; padding is `i32::MIN`.
    fn for_each_block(&self, observation: &[i16], mut sink: impl FnMut(Sums)) {
        let layout = &self.outline.observation;
        let (mut one, mut other) = ([Pair::ZERO; PAIRS], [Pair::ZERO; PAIRS]);
        let (mut inputs, mut outputs) = (&mut one, &mut other);
        let features = observation.get(..layout.len()).unwrap_or(observation);
        let (pairs, odd) = features.as_chunks::<2>();
        for (input, [a, b]) in inputs.iter_mut().zip(pairs.iter().copied().chain(odd.first().map(|&last| [last, 0]))) {
            *input = Pair::new(a.clamp(-ONE, ONE), b.clamp(-ONE, ONE));
        }
        let mut rows = self.parameters;
        for (shape, shift) in self.outline.shapes() {
            let Some(mut layer) = Layer::cut(&mut rows, shape) else { return };
            let mut quads = outputs.as_chunks_mut::<{ kernel::UNITS / 2 }>().0.iter_mut();
            // One place that sums for hidden layers and the last: the loop is in flash once.
            while let Some((biases, weights)) = layer.next_block() {
                let sums = Sums::new(biases, weights, inputs);
                match shift {
                    Some(shift) => {
                        if let Some(quad) = quads.next() {
                            *quad = sums.activate(shift);
                        }
                    }
                    None => sink(sums),
                }
            }
            core::mem::swap(&mut inputs, &mut outputs);
        }
    }
}
