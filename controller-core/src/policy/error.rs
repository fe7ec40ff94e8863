//! Everything that can be wrong with a policy image, as sentences.

use super::image::{MAX_GOLDENS, MAX_LOGITS, MAX_UNITS, VERSION};
use crate::action::ActionSpaceError;
use crate::observation::LayoutError;
use core::fmt;

/// Why bytes are not a usable policy image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The first four bytes are not `ELPI`.
    NotAPolicyImage,
    /// A format version that this build does not read.
    Version {
        /// Version in the file.
        found: u16,
    },
    /// Fewer bytes than the image says it has.
    Truncated,
    /// More bytes than the image says it has.
    TrailingBytes,
    /// The CRC-32 does not match: the bytes have changed since the image was written.
    Checksum,
    /// The header does not decode.
    Header,
    /// The schema hash belongs to other features or another number of actions.
    Schema {
        /// Hash in the file.
        found: u32,
        /// Hash of the header in this build.
        expected: u32,
    },
    /// The observation layout is unusable.
    Observation(LayoutError),
    /// The action space is unusable.
    Actions(ActionSpaceError),
    /// No hidden layer.
    NoLayers,
    /// A hidden layer that is empty, too wide, or shifted too far.
    LayerShape {
        /// Number of the layer, from 0.
        layer: u8,
    },
    /// More logits than this build has room for.
    TooManyLogits {
        /// Logits of the last layer.
        logits: usize,
    },
    /// Logits with more fraction bits than an `i32` leaves room for.
    LogitBits {
        /// Fraction bits in the header.
        bits: u8,
    },
    /// More golden examples than this build has room for.
    TooManyGoldens {
        /// Examples in the header.
        goldens: u16,
    },
    /// A weight of more than 14 bits.
    WeightRange {
        /// Number of the layer, from 0.
        layer: u8,
    },
    /// Padding that is not neutral.
    Padding {
        /// Number of the layer, from 0.
        layer: u8,
    },
    /// The network is wider than this build of the policy has room for.
    Width {
        /// Units of the widest layer, or inputs when they are more.
        found: usize,
        /// The most that fit.
        limit: usize,
    },
    /// A row whose accumulator could overflow.
    AccumulatorRange {
        /// Number of the layer, from 0.
        layer: u8,
    },
    /// This machine computes something else than the image's maker for one of its examples.
    GoldenMismatch {
        /// Number of the example, from 0.
        example: u16,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPolicyImage => write!(f, "this is not a policy image (it does not begin with ELPI)"),
            Self::Version { found } => {
                write!(
                    f,
                    "the image has format version {found}, this build reads {VERSION}; freeze the policy again with this build"
                )
            }
            Self::Truncated => write!(f, "the image is cut short; copy it again"),
            Self::TrailingBytes => write!(f, "there are extra bytes behind the image; copy it again"),
            Self::Checksum => {
                write!(f, "the CRC-32 is wrong, so bytes have changed since it was written; copy it again")
            }
            Self::Header => write!(f, "the header does not decode; freeze the policy again"),
            Self::Schema { found, expected } => write!(
                f,
                "the schema hash is {found:08x} where this build computes {expected:08x}: the features or the number of actions differ; freeze the policy again"
            ),
            Self::Observation(error) => error.fmt(f),
            Self::Actions(error) => error.fmt(f),
            Self::NoLayers => write!(f, "the policy has no hidden layer"),
            Self::LayerShape { layer } => {
                write!(f, "hidden layer {layer} must have 1 to {MAX_UNITS} units and a shift of at most 30")
            }
            Self::TooManyLogits { logits } => {
                write!(f, "the policy has {logits} logits, at most {MAX_LOGITS} are supported")
            }
            Self::LogitBits { bits } => write!(f, "the logits have {bits} fraction bits, at most 30 are supported"),
            Self::TooManyGoldens { goldens } => {
                write!(f, "the image carries {goldens} examples, at most {MAX_GOLDENS} are supported")
            }
            Self::WeightRange { layer } => write!(f, "a weight of layer {layer} has more than 14 bits"),
            Self::Padding { layer } => write!(f, "the padding of layer {layer} is not zero; freeze the policy again"),
            Self::Width { found, limit } => write!(
                f,
                "the widest layer has {found} units, this program reserves room for {limit}; raise the number of pairs of its `Policy` type"
            ),
            Self::AccumulatorRange { layer } => {
                write!(f, "a row of layer {layer} could overflow 32 bits; freeze the policy with smaller scales")
            }
            Self::GoldenMismatch { example } => {
                write!(f, "example {example} of the image gives another result on this machine; do not use this build")
            }
        }
    }
}

impl core::error::Error for ImageError {}
