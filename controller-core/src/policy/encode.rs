//! Writing a policy image into a buffer. The only writer of the format, next to its only reader.

use super::Policy;
use super::error::ImageError;
use super::image::{
    Header, MAGIC, MAX_GOLDENS, MAX_UNITS, PREFIX_LEN, PolicyImage, VERSION, checksum, padded, schema_hash,
};
use super::kernel::UNITS;
use super::layer::{Shape, padding_bias};
use crate::action::Knob;
use crate::wire::{Encode, Writer};
use core::fmt;

/// Parameters of one layer: `units` biases and `units x inputs` weights, row by row.
#[derive(Clone, Copy, Debug)]
pub struct LayerValues<'a> {
    /// One bias per unit.
    pub biases: &'a [i32],
    /// Weights, row-major.
    pub weights: &'a [i16],
}

/// Why an image cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer is too small.
    BufferTooSmall,
    /// The number of layers, biases, weights or golden inputs does not fit the header.
    Shape,
    /// The image would be refused by its own parser.
    Refused(ImageError),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall => write!(f, "the buffer is too small for the image"),
            Self::Shape => write!(f, "the parameters or goldens do not have the shape that the header states"),
            Self::Refused(error) => write!(f, "the image would be refused: {error}"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Room for the widest network that an image can hold.
const ROOM: usize = MAX_UNITS / 2;

/// Writes an image into `buffer` and returns its length. The outputs of the golden examples are
/// computed here from `golden_inputs`; the result has passed [`PolicyImage::new_checked`].
///
/// # Errors
/// [`EncodeError`], and then the content of `buffer` is of no use.
pub fn encode(
    header: &Header,
    layers: &[LayerValues<'_>],
    golden_inputs: &[&[i16]],
    buffer: &mut [u8],
) -> Result<usize, EncodeError> {
    header.check().map_err(EncodeError::Refused)?;
    if golden_inputs.len() != usize::from(header.goldens) || layers.len() != header.hidden.len() + 1 {
        return Err(EncodeError::Shape);
    }
    // First without goldens, since their outputs come from running the very same bytes.
    let bare = Header { goldens: 0, ..header.clone() };
    let length = encode_parameters(&bare, layers, buffer)?;
    seal(&bare, length, buffer)?;
    let mut outputs = heapless::Vec::<_, MAX_GOLDENS>::new();
    {
        let image = parse(buffer, length)?;
        let policy = Policy::<ROOM>::with_room(image).map_err(EncodeError::Refused)?;
        for input in golden_inputs {
            if input.len() != header.observation.len() {
                return Err(EncodeError::Shape);
            }
            outputs.push(policy.evaluate(input)).map_err(|_| EncodeError::Shape)?;
        }
    }
    let start = encode_parameters(header, layers, buffer)?;
    let mut writer = Writer::new(buffer.get_mut(start..).ok_or(EncodeError::BufferTooSmall)?);
    for (input, output) in golden_inputs.iter().zip(&outputs) {
        for value in *input {
            writer.append(&value.to_le_bytes());
        }
        writer.append(&Knob::ALL.map(|knob| output.action.get(knob)));
        writer.append(&output.logits_crc.to_le_bytes());
    }
    let length = start + writer.length();
    seal(header, length, buffer)?;
    let image = parse(buffer, length)?;
    Policy::<ROOM>::with_room(image).map_err(EncodeError::Refused)?;
    Ok(length)
}

/// Header and parameters behind room for the prefix; returns the length so far, also where that does not fit.
fn encode_parameters(header: &Header, layers: &[LayerValues<'_>], buffer: &mut [u8]) -> Result<usize, EncodeError> {
    let mut writer = Writer::new(buffer.get_mut(PREFIX_LEN..).ok_or(EncodeError::BufferTooSmall)?);
    header.write(&mut writer);
    while writer.length() < padded(writer.length()) {
        writer.push(0);
    }
    for (layer, (shape, shift)) in layers.iter().zip(header.shapes()) {
        if layer.biases.len() != shape.outputs || layer.weights.len() != shape.inputs * shape.outputs {
            return Err(EncodeError::Shape);
        }
        encode_layer(*layer, shape, padding_bias(shift.is_none()), &mut writer);
    }
    Ok(PREFIX_LEN + writer.length())
}

/// Rearranges a layer into blocks, with neutral padding.
fn encode_layer(layer: LayerValues<'_>, shape: Shape, padding_bias: i32, writer: &mut Writer<'_>) {
    for block in 0..shape.outputs.div_ceil(UNITS) {
        let units = block * UNITS..(block + 1) * UNITS;
        for unit in units.clone() {
            writer.append(&layer.biases.get(unit).unwrap_or(&padding_bias).to_le_bytes());
        }
        for pair in 0..shape.rows_per_block() - 1 {
            for unit in units.clone() {
                let row = layer.weights.chunks_exact(shape.inputs.max(1)).nth(unit);
                for input in [2 * pair, 2 * pair + 1] {
                    let weight = row.and_then(|row| row.get(input)).copied().unwrap_or(0);
                    writer.append(&weight.to_le_bytes());
                }
            }
        }
    }
}

/// Fills in the prefix of an image of `length` bytes.
fn seal(header: &Header, length: usize, buffer: &mut [u8]) -> Result<(), EncodeError> {
    let (prefix, rest) = buffer.split_first_chunk_mut::<PREFIX_LEN>().ok_or(EncodeError::BufferTooSmall)?;
    let body = rest.get(..length - PREFIX_LEN).ok_or(EncodeError::BufferTooSmall)?;
    // The header's length is known again from its own encoding; u16 is ample for its bounded fields.
    let header_len = header_length(header)?;
    let total = u32::try_from(length).map_err(|_| EncodeError::Shape)?;
    let mut writer = Writer::new(prefix);
    writer.append(&MAGIC);
    writer.append(&VERSION.to_le_bytes());
    writer.append(&header_len.to_le_bytes());
    writer.append(&total.to_le_bytes());
    writer.append(&schema_hash(header).to_le_bytes());
    let crc = checksum(prefix, body).to_le_bytes();
    *prefix.last_chunk_mut().ok_or(EncodeError::Shape)? = crc;
    Ok(())
}

fn header_length(header: &Header) -> Result<u16, EncodeError> {
    let mut writer = Writer::new(&mut []);
    header.write(&mut writer);
    u16::try_from(writer.length()).map_err(|_| EncodeError::Shape)
}

fn parse(buffer: &[u8], length: usize) -> Result<PolicyImage<'_>, EncodeError> {
    let bytes = buffer.get(..length).ok_or(EncodeError::BufferTooSmall)?;
    PolicyImage::new_checked(bytes).map_err(EncodeError::Refused)
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::float_arithmetic, reason = "f64 is the oracle")]
mod tests {
    use super::*;
    use crate::action::{Action, ActionMask};
    use crate::observation::{Feature, FeatureRange, ONE};
    use crate::policy::{Heads, LayerShape, Provenance};
    use crate::reward::Variant;
    use crate::rng::Pcg32;
    use heapless::Vec;
    use proptest::prelude::*;
    use std::vec;

    fn header(heads: Heads) -> Header {
        let range = |feature| FeatureRange { feature, low: 0, high: 100 };
        Header {
            name: "test".try_into().unwrap(),
            observation: Vec::from_slice(&[range(Feature::Temperature), range(Feature::Queue)]).unwrap(),
            actions: crate::action::tests::small_space(),
            hidden: Vec::from_slice(&[LayerShape { units: 5, shift: 13 }, LayerShape { units: 4, shift: 12 }]).unwrap(),
            heads,
            logit_bits: 20,
            reward: Variant::Service,
            provenance: Provenance {
                method: "random".try_into().unwrap(),
                environment: "none".try_into().unwrap(),
                seed: 3,
                updates: 0,
            },
            goldens: 2,
        }
    }

    struct Network {
        header: Header,
        biases: std::vec::Vec<std::vec::Vec<i32>>,
        weights: std::vec::Vec<std::vec::Vec<i16>>,
    }

    fn random_network(heads: Heads, seed: u64) -> Network {
        let header = header(heads);
        let mut rng = Pcg32::new(seed);
        let mut symmetric =
            |bound: i32| i32::try_from(rng.below(u32::try_from(2 * bound + 1).unwrap())).unwrap() - bound;
        let shapes: std::vec::Vec<_> = header.shapes().map(|(shape, _)| (shape.inputs, shape.outputs)).collect();
        let biases = shapes.iter().map(|&(_, o)| (0..o).map(|_| symmetric(1 << 20)).collect()).collect();
        let weights = shapes
            .iter()
            .map(|&(i, o)| (0..i * o).map(|_| i16::try_from(symmetric(i32::from(ONE))).unwrap()).collect())
            .collect();
        Network { header, biases, weights }
    }

    fn layers_of(network: &Network) -> std::vec::Vec<LayerValues<'_>> {
        let pairs = network.biases.iter().zip(&network.weights);
        pairs.map(|(biases, weights)| LayerValues { biases, weights }).collect()
    }

    fn bytes_of(network: &Network) -> std::vec::Vec<u8> {
        let layers = layers_of(network);
        let mut buffer = vec![0; 16_384];
        let length = encode(&network.header, &layers, &[&[0, 0], &[ONE, -ONE]], &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    /// The same network in 128-bit integers with plain loops: nothing shared with the product.
    fn oracle(network: &Network, input: &[i16]) -> std::vec::Vec<i128> {
        let mut values: std::vec::Vec<i128> = input.iter().map(|&x| i128::from(x)).collect();
        for (number, (biases, weights)) in network.biases.iter().zip(&network.weights).enumerate() {
            let mut outputs = vec![];
            for (unit, bias) in biases.iter().enumerate() {
                let mut sum = i128::from(*bias);
                for (i, value) in values.iter().enumerate() {
                    sum += i128::from(weights[unit * values.len() + i]) * value;
                }
                if let Some(layer) = network.header.hidden.get(number) {
                    let half = 1i128 << layer.shift >> 1;
                    sum = (sum + half).div_euclid(1 << layer.shift).clamp(0, 8191);
                }
                outputs.push(sum);
            }
            values = outputs;
        }
        values
    }

    fn first_maximum(logits: &[i128]) -> usize {
        (0..logits.len()).rev().max_by_key(|&i| logits[i]).unwrap()
    }

    proptest! {
        #[test]
        fn network_equals_a_wide_integer_oracle(seed in any::<u64>(), a in -ONE..=ONE, b in -ONE..=ONE) {
            for heads in [Heads::Joint, Heads::Factored] {
                let network = random_network(heads, seed);
                let bytes = bytes_of(&network);
                let policy = Policy::new(PolicyImage::new_checked(&bytes).unwrap()).unwrap();
                let expected = oracle(&network, &[a, b]);
                let mut found = vec![];
                policy.for_each_logit(&[a, b], |logit| found.push(i128::from(logit)));
                prop_assert_eq!(&found, &expected);
                let action = match heads {
                    Heads::Joint => network.header.actions.action(first_maximum(&expected)).unwrap(),
                    Heads::Factored => {
                        let mut action = Action::default();
                        let mut rest = expected.as_slice();
                        for knob in Knob::ALL {
                            let (head, tail) = rest.split_at(network.header.actions.len(knob));
                            action.set(knob, u8::try_from(first_maximum(head)).unwrap());
                            rest = tail;
                        }
                        action
                    }
                };
                prop_assert_eq!(policy.decide(&[a, b]), action);
            }
        }

        #[test]
        fn a_mask_is_obeyed_and_only_narrows(seed in any::<u64>(), a in -ONE..=ONE, forbidden in any::<[u8; 8]>()) {
            for heads in [Heads::Joint, Heads::Factored] {
                let network = random_network(heads, seed);
                let bytes = bytes_of(&network);
                let policy = Policy::new(PolicyImage::new_checked(&bytes).unwrap()).unwrap();
                let actions = &network.header.actions;
                let mut mask = ActionMask::ALL;
                for (knob, index) in Knob::ALL.into_iter().cycle().zip(forbidden) {
                    mask.forbid(knob, index % 4);
                }
                let mut buffer = [0; 256];
                let Ok(distribution) = policy.distribution(&[a, 0], mask, &mut buffer) else {
                    prop_assert!(!mask.leaves_a_choice(actions));
                    continue;
                };
                let greedy = distribution.greedy();
                prop_assert!(mask.allows(greedy) && actions.setting(greedy).is_some());
                let mut rng = Pcg32::new(seed);
                let sample = distribution.sample(&mut rng);
                prop_assert!(mask.allows(sample.action) && actions.setting(sample.action).is_some());
                prop_assert_eq!(distribution.log_probability(sample.action), Some(sample.log_probability));
                prop_assert!(sample.log_probability <= distribution.log_probability(greedy).unwrap());
                // All probabilities together are one.
                let all = (0..actions.count()).filter_map(|i| distribution.log_probability(actions.action(i).unwrap()));
                let total = all.map(|log_p| log_p.to_num::<f64>().exp()).sum::<f64>();
                prop_assert!((total - 1.0).abs() < 1e-5, "{}", total);
                if mask == ActionMask::ALL {
                    prop_assert_eq!(greedy, policy.decide(&[a, 0]));
                }
            }
        }

        #[test]
        fn without_a_mask_the_best_of_the_distribution_is_the_decision(seed in any::<u64>(), a in -ONE..=ONE) {
            for heads in [Heads::Joint, Heads::Factored] {
                let bytes = bytes_of(&random_network(heads, seed));
                let policy = Policy::new(PolicyImage::new_checked(&bytes).unwrap()).unwrap();
                let mut buffer = [0; 256];
                let distribution = policy.distribution(&[a, -a], ActionMask::ALL, &mut buffer).unwrap();
                prop_assert_eq!(distribution.greedy(), policy.decide(&[a, -a]));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(PolicyImage::new_checked(&bytes).is_err());
        }
    }

    #[test]
    fn every_truncation_and_every_bit_flip_is_refused() {
        let bytes = bytes_of(&random_network(Heads::Factored, 1));
        for length in 0..bytes.len() {
            assert!(PolicyImage::new_checked(&bytes[..length]).is_err(), "cut at {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PolicyImage::new_checked(&flipped).is_err(), "bit {bit}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(PolicyImage::new_checked(&longer).unwrap_err(), ImageError::TrailingBytes);
    }

    #[test]
    fn wrong_schema_and_golden_are_named() {
        let network = random_network(Heads::Factored, 2);
        let mut bytes = bytes_of(&network);
        let reseal = |bytes: &mut std::vec::Vec<u8>| {
            let (prefix, body) = bytes.split_first_chunk_mut::<PREFIX_LEN>().unwrap();
            let crc = checksum(prefix, body);
            bytes[PREFIX_LEN - 4..PREFIX_LEN].copy_from_slice(&crc.to_le_bytes());
        };
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        reseal(&mut bytes);
        let image = PolicyImage::new_checked(&bytes).unwrap();
        assert_eq!(Policy::new(image).unwrap_err(), ImageError::GoldenMismatch { example: 1 });
        bytes[12] ^= 1;
        reseal(&mut bytes);
        assert!(matches!(PolicyImage::new_checked(&bytes).unwrap_err(), ImageError::Schema { .. }));
        bytes[4] = 9;
        assert_eq!(PolicyImage::new_checked(&bytes).unwrap_err(), ImageError::Version { found: 9 });
    }

    #[test]
    fn a_row_that_could_overflow_is_refused() {
        let mut network = random_network(Heads::Factored, 4);
        network.biases[1][0] = i32::MAX;
        network.weights[1][0] = 1;
        let layers = layers_of(&network);
        let mut buffer = vec![0; 16_384];
        let result = encode(&network.header, &layers, &[&[0, 0], &[0, 0]], &mut buffer);
        assert_eq!(result, Err(EncodeError::Refused(ImageError::AccumulatorRange { layer: 1 })));
    }
}
