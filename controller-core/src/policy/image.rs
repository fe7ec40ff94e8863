//! The frozen policy as bytes: what is in the file, and the one check that makes it trustworthy.
//!
//! [`PolicyImage::new_checked`] looks at everything once; afterwards no accessor can fail and no
//! input can overflow an accumulator. The weights stay where they are: nothing is copied but the
//! header. The layout is specified in `docs/policy-image.md`.

use super::error::ImageError;
use super::kernel::Row;
use super::layer::{Layer, Shape, shapes};
use super::network::{Outline, logits, schema};
use crate::action::{Action, ActionSpace, KNOBS, Knob};
use crate::checksum::Checksum;
use crate::observation::{Layout, MAX_FEATURES, Observation, check_layout};
use crate::reward::Variant;
use crate::wire::{Decode, Reader, wire};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// First bytes of every policy image.
pub const MAGIC: [u8; 4] = *b"ELPI";

/// Version of the format that this build reads and writes.
pub const VERSION: u16 = 2;

/// Bytes before the header: magic, version, header length, total length, schema hash, CRC-32.
pub const PREFIX_LEN: usize = 20;

/// Most hidden layers.
pub const MAX_HIDDEN_LAYERS: usize = 6;

/// Most units of a hidden layer.
pub const MAX_UNITS: usize = 1024;

/// Most logits of the last layer.
pub const MAX_LOGITS: usize = 8192;

/// Most golden examples.
pub const MAX_GOLDENS: usize = 256;

/// Size and scale of one hidden layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerShape {
    /// Units of the layer, 1 to [`MAX_UNITS`].
    pub units: u16,
    /// Right shift that brings the accumulator back to 13 bits, 0 to 30.
    pub shift: u8,
}

wire!(struct LayerShape { units, shift });

/// How the last layer's logits are cut into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heads {
    /// One head over the whole action table.
    Joint,
    /// One head per knob, in knob order.
    Factored,
}

wire!(enum Heads { 0 => Joint, 1 => Factored });

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Training method, for instance `grpo`.
    pub method: String<32>,
    /// What it was trained in, for instance `plant agx-orin-hf`.
    pub environment: String<48>,
    /// Seed of the training.
    pub seed: u64,
    /// Policy updates made.
    pub updates: u32,
}

wire!(struct Provenance { method, environment, seed, updates });

/// The self-description of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the policy.
    pub name: String<32>,
    /// Features and their ranges, in the order of the inputs.
    pub observation: Layout,
    /// Values of every knob.
    pub actions: ActionSpace,
    /// Hidden layers, first to last.
    pub hidden: Vec<LayerShape, MAX_HIDDEN_LAYERS>,
    /// Cut of the last layer.
    pub heads: Heads,
    /// Fraction bits of the logits, 0 to 30.
    pub logit_bits: u8,
    /// Reward the policy was trained for.
    pub reward: Variant,
    /// Origin.
    pub provenance: Provenance,
    /// Number of golden examples at the end of the image.
    pub goldens: u16,
}

wire!(struct Header { name, observation, actions, hidden, heads, logit_bits, reward, provenance, goldens });

impl Header {
    /// Number of logits of the last layer.
    #[must_use]
    pub fn logits(&self) -> usize {
        logits(self.heads, self.actions.sizes())
    }

    /// Inputs and outputs of every layer, the last one included.
    pub(super) fn shapes(&self) -> impl Iterator<Item = (Shape, Option<u8>)> + '_ {
        shapes(self.observation.len(), &self.hidden, self.logits())
    }

    /// Checks everything that the header alone can tell.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        check_layout(&self.observation).map_err(ImageError::Observation)?;
        self.actions.check().map_err(ImageError::Actions)?;
        if self.hidden.is_empty() {
            return Err(ImageError::NoLayers);
        }
        for (number, layer) in (0u8..).zip(&self.hidden) {
            if layer.units == 0 || usize::from(layer.units) > MAX_UNITS || layer.shift > 30 {
                return Err(ImageError::LayerShape { layer: number });
            }
        }
        if self.logits() > MAX_LOGITS {
            return Err(ImageError::TooManyLogits { logits: self.logits() });
        }
        if self.logit_bits > 30 {
            return Err(ImageError::LogitBits { bits: self.logit_bits });
        }
        if usize::from(self.goldens) > MAX_GOLDENS {
            return Err(ImageError::TooManyGoldens { goldens: self.goldens });
        }
        Ok(())
    }
}

/// Hash of what a controller and a policy must agree on: the meaning of the features and the
/// number of values of every knob.
#[must_use]
pub fn schema_hash(header: &Header) -> u32 {
    schema(&header.observation, header.actions.sizes())
}

/// What a golden example must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoldenOutput {
    /// The chosen action.
    pub action: Action,
    /// CRC-32 of all logits as little-endian `i32`.
    pub logits_crc: u32,
}

/// An example carried by the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// The observation.
    pub input: Observation,
    /// What the maker's machine computed.
    pub output: GoldenOutput,
}

/// A policy image that has passed every check.
#[derive(Clone, Debug)]
pub struct PolicyImage<'a> {
    prefix: &'a [u8; PREFIX_LEN],
    header: Header,
    parameters: &'a [Row],
    goldens: &'a [u8],
}

impl<'a> PolicyImage<'a> {
    /// Checks an image completely: prefix, CRC-32, header, schema, sizes, weight range and the
    /// bound of every accumulator.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let (prefix, body) = split(bytes)?;
        let [.., s0, s1, s2, s3, c0, c1, c2, c3] = *prefix;
        if checksum(prefix, body) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(ImageError::Checksum);
        }
        let header_len = header_len(prefix);
        let header_bytes = body.get(..header_len).ok_or(ImageError::Truncated)?;
        // The header is large: it is read where it stays, and asked afterwards.
        let mut reader = Reader::new(header_bytes);
        let header = Header::read(&mut reader);
        if !reader.is_done() {
            return Err(ImageError::Header);
        }
        header.check()?;
        let found = u32::from_le_bytes([s0, s1, s2, s3]);
        let expected = schema_hash(&header);
        if found != expected {
            return Err(ImageError::Schema { found, expected });
        }
        let padding = body.get(header_len..padded(header_len)).ok_or(ImageError::Truncated)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ImageError::Header);
        }
        let data = body.get(padded(header_len)..).ok_or(ImageError::Truncated)?;
        let (all, _) = data.as_chunks().0.as_chunks();
        let mut rows = all;
        for (number, (shape, shift)) in (0u8..).zip(header.shapes()) {
            let layer = Layer::cut(&mut rows, shape).ok_or(ImageError::Truncated)?;
            layer.check(number, shape, shift)?;
        }
        let (parameters, _) = all.split_at_checked(all.len() - rows.len()).ok_or(ImageError::Truncated)?;
        let goldens = data.get(size_of_val(parameters)..).ok_or(ImageError::Truncated)?;
        if goldens.len() != usize::from(header.goldens) * golden_len(&header) {
            return Err(ImageError::Truncated);
        }
        Ok(Self { prefix, header, parameters, goldens })
    }

    /// The self-description.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Bias and weights of a unit, hidden layers first and the layer of the logits last; `None` beyond the last unit or
    /// layer. The policy itself reads whole blocks; this is for tools.
    #[must_use]
    pub fn unit(&self, layer: usize, unit: usize) -> Option<(i32, impl Iterator<Item = i16> + use<'a>)> {
        let mut rows = self.parameters;
        let mut layers = self.header.shapes().map_while(|(shape, _)| Some((Layer::cut(&mut rows, shape)?, shape)));
        let (found, shape) = layers.nth(layer)?;
        found.unit(unit, shape)
    }

    /// What of the image is needed to decide.
    pub(super) fn outline(&self) -> Outline {
        let Header { observation, hidden, heads, actions, .. } = &self.header;
        Outline {
            prefix: *self.prefix,
            observation: observation.clone(),
            hidden: hidden.clone(),
            heads: *heads,
            sizes: actions.sizes(),
        }
    }

    /// All parameters, layer after layer: [`Layer::cut`] takes them apart.
    pub(super) const fn parameters(&self) -> &'a [Row] {
        self.parameters
    }

    /// The examples carried by the image.
    pub fn goldens(&self) -> impl Iterator<Item = Golden> + '_ {
        let inputs = self.header.observation.len() * 2;
        self.goldens.chunks_exact(golden_len(&self.header).max(1)).map(move |bytes| {
            let (input, output) = bytes.split_at_checked(inputs).unwrap_or((&[], &[]));
            let (indices, crc) = output.split_at_checked(KNOBS).unwrap_or((&[], &[]));
            let mut action = Action::default();
            for (knob, index) in Knob::ALL.into_iter().zip(indices) {
                action.set(knob, *index);
            }
            let logits_crc = crc.first_chunk::<4>().map_or(0, |quad| u32::from_le_bytes(*quad));
            Golden { input: integers(input).take(MAX_FEATURES).collect(), output: GoldenOutput { action, logits_crc } }
        })
    }
}

fn integers(bytes: &[u8]) -> impl Iterator<Item = i16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| i16::from_le_bytes(*pair))
}

/// Prefix and body of an image that begins as one of this version and is as long as it says.
fn split(bytes: &[u8]) -> Result<(&[u8; PREFIX_LEN], &[u8]), ImageError> {
    let (prefix, body) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(ImageError::Truncated)?;
    let [m0, m1, m2, m3, v0, v1, _, _, l0, l1, l2, l3, ..] = *prefix;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(ImageError::NotAPolicyImage);
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != VERSION {
        return Err(ImageError::Version { found: version });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    match bytes.len() {
        found if found < length || length < PREFIX_LEN => Err(ImageError::Truncated),
        found if found > length => Err(ImageError::TrailingBytes),
        _ => Ok((prefix, body)),
    }
}

/// Bytes of one golden example: inputs, one index per knob, CRC-32 of the logits.
fn golden_len(header: &Header) -> usize {
    header.observation.len() * 2 + KNOBS + 4
}

/// The header is padded with zeros to a multiple of four.
pub(super) const fn padded(header_len: usize) -> usize {
    header_len.next_multiple_of(4)
}

/// Bytes of the header without padding.
fn header_len([_, _, _, _, _, _, h0, h1, ..]: &[u8; PREFIX_LEN]) -> usize {
    usize::from(u16::from_le_bytes([*h0, *h1]))
}

/// Where the parameters begin in an image with this prefix.
pub(super) fn parameters_at(prefix: &[u8; PREFIX_LEN]) -> usize {
    PREFIX_LEN + padded(header_len(prefix))
}

/// CRC-32 over the prefix up to the CRC field, then everything behind it.
pub(super) fn checksum(prefix: &[u8; PREFIX_LEN], body: &[u8]) -> u32 {
    let head = prefix.split_at(PREFIX_LEN - 4).0;
    Checksum::START.and(head).and(body).value()
}
