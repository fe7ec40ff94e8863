//! A `PyTorch` checkpoint (zip format 3) as named tensors.

use super::pickle::{PickleError, TensorReference, Value, read as read_pickle};
use super::zip::{ZipError, entries};
use crate::input_file;
use std::path::{Path, PathBuf};

/// First bytes of such a file.
pub const MAGIC: [u8; 4] = *b"PK\x03\x04";

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not an archive.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// Not the pickle of a state dict.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// An archive of something else.
    #[error("the archive has no {0}, so it is no PyTorch checkpoint")]
    NoEntry(String),
    /// Written on a big-endian machine.
    #[error("the checkpoint is big-endian; save it on another machine")]
    BigEndian,
    /// Not a dictionary of tensors.
    #[error("the checkpoint is no dictionary from names to tensors ({0}); save model.state_dict()")]
    NoStateDict(String),
    /// Numbers of another type.
    #[error("{tensor} has numbers of type {storage}; save it as float32 or float64")]
    Type {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        storage: String,
    },
    /// A view, or outside its storage.
    #[error("{tensor} does not lie in one piece in its storage; call contiguous() before saving")]
    Layout {
        /// Name of the tensor.
        tensor: String,
    },
    /// NaN or infinite.
    #[error("{tensor} holds a value that is not finite, at {index}; the training has diverged")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Place in the tensor, row-major.
        index: usize,
    },
}

/// Numbers with a name and a shape, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name in the state dict.
    pub name: String,
    /// Sizes.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f64>,
}

/// Reads a checkpoint file.
pub fn read_file(path: &Path) -> Result<Vec<Tensor>, TorchError> {
    let bytes = input_file::read(path).map_err(|cause| TorchError::Read { path: path.to_owned(), cause })?;
    read(&bytes)
}

/// Reads a checkpoint: its tensors in the order of the state dict, all finite.
pub fn read(bytes: &[u8]) -> Result<Vec<Tensor>, TorchError> {
    let entries = entries(bytes)?;
    let pickle = entries.iter().find_map(|(name, content)| Some((name.strip_suffix("data.pkl")?, *content)));
    let (folder, pickle) = pickle.ok_or_else(|| TorchError::NoEntry("data.pkl".into()))?;
    let entry = |name: &str| {
        let found = entries.iter().find(|(path, _)| path.strip_prefix(folder) == Some(name));
        found.map(|(_, content)| *content)
    };
    // Old versions wrote no such entry, and little-endian only.
    if entry("byteorder").is_some_and(|order| order != b"little") {
        return Err(TorchError::BigEndian);
    }
    let Value::Dictionary(state) = read_pickle(pickle)? else {
        return Err(TorchError::NoStateDict("it holds something else".into()));
    };
    let mut tensors = Vec::with_capacity(state.len());
    for (key, value) in &state {
        let Value::Text(name) = key else { return Err(TorchError::NoStateDict("a key is no text".into())) };
        let Value::Tensor(reference) = value else {
            return Err(TorchError::NoStateDict(format!("{name} is no tensor")));
        };
        let path = format!("data/{}", reference.key);
        let content = entry(&path).ok_or_else(|| TorchError::NoEntry(format!("{folder}{path}")))?;
        tensors.push(tensor(name, reference, content)?);
    }
    Ok(tensors)
}

fn tensor(name: &str, reference: &TensorReference, content: &[u8]) -> Result<Tensor, TorchError> {
    let layout = || TorchError::Layout { tensor: name.to_owned() };
    let width = match reference.storage.as_str() {
        "FloatStorage" => 4,
        "DoubleStorage" => 8,
        other => return Err(TorchError::Type { tensor: name.to_owned(), storage: other.to_owned() }),
    };
    let count = reference.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let count = count.ok_or_else(layout)?;
    let places = 0..reference.shape.len();
    let step =
        |place: usize| reference.shape[place + 1..].iter().fold(1usize, |product, size| product.saturating_mul(*size));
    let expected: Vec<usize> = places.map(step).collect();
    // The stride of a dimension of one does not matter.
    let strides = reference.strides.iter().zip(&expected).zip(&reference.shape);
    let row_major = strides.fold(true, |all, ((found, wanted), size)| all && (*size == 1 || found == wanted));
    let end = reference.offset.checked_add(count).ok_or_else(layout)?;
    let stored = reference.length.checked_mul(width) == Some(content.len());
    if !row_major || reference.strides.len() != reference.shape.len() || end > reference.length || !stored {
        return Err(layout());
    }
    let numbers = &content[reference.offset * width..end * width];
    let values: Vec<f64> = if width == 4 {
        numbers.chunks_exact(4).map(|quad| f32::from_le_bytes(quad.try_into().expect("four bytes")).into()).collect()
    } else {
        numbers.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().expect("eight bytes"))).collect()
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(TorchError::NotFinite { tensor: name.to_owned(), index }),
        None => Ok(Tensor { name: name.to_owned(), shape: reference.shape.clone(), values }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::zip::tests::archive;
    use super::*;

    /// A checkpoint as `torch.save(model.state_dict(), ..)` writes it.
    pub(crate) fn checkpoint(tensors: &[Tensor]) -> Vec<u8> {
        write(tensors, "FloatStorage", |_| {})
    }

    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        out.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn whole(out: &mut Vec<u8>, number: usize) {
        out.push(b'J');
        out.extend(i32::try_from(number).unwrap().to_le_bytes());
    }

    fn write(tensors: &[Tensor], storage: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
        for (number, tensor) in tensors.iter().enumerate() {
            text(&mut pickle, &tensor.name);
            pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(&mut pickle, "storage");
            pickle.extend(format!("ctorch\n{storage}\n").into_bytes());
            text(&mut pickle, &number.to_string());
            text(&mut pickle, "cpu");
            whole(&mut pickle, tensor.values.len());
            pickle.extend(b"tQ");
            whole(&mut pickle, 0);
            let mut strides: Vec<usize> = Vec::new();
            for place in 0..tensor.shape.len() {
                strides.push(tensor.shape[place + 1..].iter().product());
            }
            for list in [&tensor.shape, &strides] {
                pickle.push(b'(');
                for number in list {
                    whole(&mut pickle, *number);
                }
                pickle.push(b't');
            }
            pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        }
        // As PyTorch does: attributes for the dictionary, ignored here.
        pickle.extend(b"u}X\x09\0\0\0_metadata}sb.");
        change(&mut pickle);
        let numbers: Vec<(String, Vec<u8>)> = tensors
            .iter()
            .enumerate()
            .map(|(number, tensor)| {
                #[expect(clippy::cast_possible_truncation, reason = "the file holds f32")]
                let bytes = tensor.values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
                (format!("model/data/{number}"), bytes)
            })
            .collect();
        let mut entries: Vec<(&str, &[u8])> = vec![("model/data.pkl", &pickle), ("model/byteorder", b"little")];
        entries.extend(numbers.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        archive(&entries)
    }

    fn two() -> Vec<Tensor> {
        let tensor = |name: &str, shape: &[usize], values: &[f64]| Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        vec![tensor("a.weight", &[2, 3], &[0.5, -1.0, 2.0, 0.25, 8.0, -0.125]), tensor("a.bias", &[2], &[1.0, -2.0])]
    }

    #[test]
    fn tensors_come_back() {
        assert_eq!(read(&checkpoint(&two())).unwrap(), two());
    }

    #[test]
    fn what_is_no_checkpoint_is_named() {
        let good = checkpoint(&two());
        for length in (0..good.len()).step_by(7) {
            assert!(matches!(read(&good[..length]), Err(TorchError::Zip(_))), "cut at {length}");
        }
        assert!(matches!(read(&archive(&[("x", b"")])), Err(TorchError::NoEntry(_))));
        let big = archive(&[("m/data.pkl", b"}."), ("m/byteorder", b"big")]);
        assert!(matches!(read(&big), Err(TorchError::BigEndian)));
        assert!(matches!(read(&archive(&[("m/data.pkl", b"K\x01.")])), Err(TorchError::NoStateDict(_))));
        let number = archive(&[("m/data.pkl", b"}X\x01\0\0\0eK\x05s.")]);
        assert!(read(&number).unwrap_err().to_string().contains("e is no tensor"));
        let run = write(&two(), "FloatStorage", |pickle| pickle.splice(2..2, *b"cos\nsystem\n)R").for_each(drop));
        assert!(matches!(read(&run), Err(TorchError::Pickle(PickleError::Callable { .. }))));
    }

    #[test]
    fn odd_tensors_are_named() {
        let half = write(&two(), "HalfStorage", |_| {});
        assert!(read(&half).unwrap_err().to_string().contains("a.weight has numbers of type HalfStorage"));
        let mut diverged = two();
        diverged[1].values[1] = f64::NAN;
        let error = read(&checkpoint(&diverged)).unwrap_err();
        assert!(matches!(&error, TorchError::NotFinite { tensor, index: 1 } if tensor == "a.bias"), "{error}");
        // The first stride becomes 4, beyond the row.
        let view = write(&two(), "FloatStorage", |pickle| {
            let shape = [&b"(J"[..], &3i32.to_le_bytes(), b"J", &1i32.to_le_bytes()].concat();
            let place = pickle.windows(shape.len()).position(|window| window == shape).unwrap();
            pickle[place + 2] = 4;
        });
        assert!(matches!(read(&view), Err(TorchError::Layout { .. })));
        let short = write(&two(), "DoubleStorage", |_| {});
        assert!(matches!(read(&short), Err(TorchError::Layout { .. })));
    }
}
