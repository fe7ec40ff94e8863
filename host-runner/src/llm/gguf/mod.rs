//! Reads the head of a GGUF file: metadata and the list of tensors, never the weights. [`truncate`] writes the same model
//! with fewer layers, [`writer`] a file from nothing.
//!
//! llama.cpp aborts the whole process on some malformed files, and of the others it says only that they did not load.
//! So every file is read here first. The reader trusts nothing: it allocates no more than the file is long, takes no
//! count at its word, and returns an error where the bytes make no sense.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, little-endian, versions 2 and 3.

mod reader;
pub(super) mod tensor_type;
pub mod truncate;
pub mod writer;

use reader::Reader;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Why a file is not a GGUF file that can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system refused.
    #[error("cannot be read ({0}); check the path and the permissions")]
    Io(#[from] io::Error),
    /// A directory, a device, a pipe.
    #[error("is not a regular file; give the path of a .gguf file")]
    NotAFile,
    /// No byte at all.
    #[error("is empty; download or export the model again")]
    Empty,
    /// Another kind of file.
    #[error("starts with {0:02x?} instead of \"GGUF\"; only GGUF models can be loaded")]
    Magic([u8; 4]),
    /// Written on a big-endian machine.
    #[error("is a big-endian GGUF file; convert it to little-endian (gguf_convert_endian.py of llama.cpp)")]
    ByteOrder,
    /// A version that llama.cpp does not read either.
    #[error("has GGUF version {0}; versions 2 and 3 are supported, convert the model again")]
    Version(u32),
    /// The header promises more than the file can hold.
    #[error("announces {count} {what}, more than its {file_bytes} bytes can hold; the file is damaged, fetch it again")]
    Count {
        /// Which things are counted.
        what: &'static str,
        /// How many the header announces.
        count: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// The file ends in the middle of the header.
    #[error("ends inside its header (byte {0}); the file is cut off, fetch it again")]
    HeaderCut(u64),
    /// The file ends before the data of a tensor does.
    #[error(
        "is cut off: tensor {tensor} ends at byte {end} but the file has only {file_bytes} bytes; fetch the file again"
    )]
    DataCut {
        /// Name of the tensor.
        tensor: String,
        /// Where its data should end, in bytes from the start of the file.
        end: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// A type number, shape, alignment or text that the format does not allow.
    #[error("is damaged: {0}; fetch the file again")]
    Damaged(String),
}

/// One metadata value. Of an array of 32-bit integers the numbers are kept, of another array of numbers only the length.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// 32 or 64 bits wide in the file.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of strings, as bytes: the tokens of a vocabulary need not be UTF-8.
    Texts(Vec<Box<[u8]>>),
    /// An array of 32-bit integers, with or without sign.
    Integers(Vec<i64>),
    /// An array of anything else, and its number of elements.
    Array(u64),
}

/// The head of a GGUF file.
#[derive(Debug, Clone)]
pub struct Header {
    metadata: HashMap<String, Value>,
    /// Where each value begins behind its type, in bytes from the start of the file.
    places: HashMap<String, u64>,
    /// Bytes from the start of the file to the first tensor description, to the data, and between tensors.
    infos_at: u64,
    data_at: u64,
    alignment: u64,
    tensors: Vec<TensorInfo>,
}

impl Header {
    /// Reads and checks the head of the file at `path`, and that the data of every tensor lies inside the file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let attributes = std::fs::metadata(path)?;
        if !attributes.is_file() {
            return Err(GgufError::NotAFile);
        }
        Self::read(BufReader::new(File::open(path)?), attributes.len())
    }

    /// Like [`Header::open`], from any source of `file_bytes` bytes.
    pub fn read(source: impl Read, file_bytes: u64) -> Result<Self, GgufError> {
        let mut reader = Reader::new(source, file_bytes);
        let (tensor_count, value_count) = reader.counts()?;
        let (mut metadata, mut places) = (HashMap::new(), HashMap::new());
        for _ in 0..value_count {
            let key = reader.text()?;
            let value_type = reader.u32()?;
            places.insert(key.clone(), reader.position());
            metadata.insert(key, reader.value(value_type)?);
        }
        let infos_at = reader.position();
        let tensors = (0..tensor_count).map(|_| reader.tensor()).collect::<Result<Vec<_>, _>>()?;

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Unsigned(alignment)) if alignment.is_power_of_two() => *alignment,
            Some(other) => return Err(GgufError::Damaged(format!("general.alignment is {other:?}"))),
        };
        let data_at = reader.position().checked_next_multiple_of(alignment);
        for info in &tensors {
            let end = data_at.and_then(|start| start.checked_add(info.offset)?.checked_add(info.bytes));
            let end = end.unwrap_or(u64::MAX);
            if end > file_bytes {
                return Err(GgufError::DataCut { tensor: info.name.clone(), end, file_bytes });
            }
        }
        Ok(Self { metadata, places, infos_at, data_at: data_at.unwrap_or(u64::MAX), alignment, tensors })
    }

    /// The string under `key`, if there is one.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The non-negative integer under `key`, if there is one.
    #[must_use]
    pub fn count(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key) {
            Some(Value::Unsigned(count)) => Some(*count),
            _ => None,
        }
    }

    /// The floating-point number under `key`, if there is one.
    #[must_use]
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(number)) => Some(*number),
            _ => None,
        }
    }

    /// The boolean under `key`, if there is one.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// Whether there is anything under `key`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.metadata.contains_key(key)
    }

    /// The numbers of the array of 32-bit integers under `key`, if there is one.
    #[must_use]
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.metadata.get(key) {
            Some(Value::Integers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    /// The strings of the array under `key`, if there is one.
    #[must_use]
    pub fn texts(&self, key: &str) -> Option<&[Box<[u8]>]> {
        match self.metadata.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    /// Bytes of the tensors whose names `wanted` takes.
    pub fn bytes(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.tensors.iter().filter(|info| wanted(&info.name)).map(|info| info.bytes).sum()
    }

    /// Name, dimensions and number of the type of each tensor, in file order.
    pub(super) fn tensor_types(&self) -> impl Iterator<Item = (&str, &[u64], u32)> {
        self.tensors.iter().map(|info| (info.name.as_str(), info.dimensions.as_slice(), info.ggml_type))
    }

    /// Names of the tensors, in file order.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|info| info.name.as_str())
    }
}

/// One tensor of the file.
#[derive(Debug, Clone)]
struct TensorInfo {
    name: String,
    dimensions: Vec<u64>,
    ggml_type: u32,
    /// Bytes from the start of the data section.
    offset: u64,
    /// Zero for a type that this reader does not know.
    bytes: u64,
}
