//! Reads the head of a GGUF file: metadata and the list of tensors, never the weights. [`truncate`] writes the same model
//! with fewer layers, [`writer`] a file from nothing.
//!
//! llama.cpp aborts the whole process on some malformed files, and of the others it says only that they did not load.
//! So every file is read here first. The reader trusts nothing: it allocates no more than the file is long, takes no
//! count at its word, and returns an error where the bytes make no sense.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, little-endian, versions 2 and 3.

pub mod truncate;
pub mod writer;

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
        let mut reader = Reader { source, position: 0, file_bytes };
        let (tensor_count, value_count) = reader.counts()?;
        let (mut metadata, mut places) = (HashMap::new(), HashMap::new());
        for _ in 0..value_count {
            let key = reader.text()?;
            let value_type = reader.u32()?;
            places.insert(key.clone(), reader.position);
            metadata.insert(key, reader.value(value_type)?);
        }
        let infos_at = reader.position;
        let tensors = (0..tensor_count).map(|_| reader.tensor()).collect::<Result<Vec<_>, _>>()?;

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Unsigned(alignment)) if alignment.is_power_of_two() => *alignment,
            Some(other) => return Err(GgufError::Damaged(format!("general.alignment is {other:?}"))),
        };
        let data_at = reader.position.checked_next_multiple_of(alignment);
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
    /// Zero for a type that this reader does not know; llama.cpp judges those.
    bytes: u64,
}

/// A source that knows how much is left of it.
struct Reader<R> {
    source: R,
    position: u64,
    file_bytes: u64,
}

// Numbers of the value types of the format.
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A metadata value takes at least a key length, a type and one byte.
const MIN_VALUE_BYTES: u64 = 8 + 4 + 1;
/// A tensor takes at least a name length, a dimension count, a type and an offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;
/// llama.cpp's `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: u32 = 4;

impl<R: Read> Reader<R> {
    /// The fixed part: magic, version, number of tensors, number of metadata values.
    fn counts(&mut self) -> Result<(u64, u64), GgufError> {
        if self.file_bytes == 0 {
            return Err(GgufError::Empty);
        }
        let magic = self.bytes::<4>()?;
        if &magic != b"GGUF" {
            return Err(GgufError::Magic(magic));
        }
        match self.u32()? {
            2 | 3 => {}
            // A small number with its bytes turned around.
            version if version.swap_bytes() < 0x1_0000 && version != 0 => return Err(GgufError::ByteOrder),
            version => return Err(GgufError::Version(version)),
        }
        let tensor_count = self.u64()?;
        self.fits("tensors", tensor_count, MIN_TENSOR_BYTES)?;
        let value_count = self.u64()?;
        self.fits("metadata values", value_count, MIN_VALUE_BYTES)?;
        Ok((tensor_count, value_count))
    }

    fn value(&mut self, value_type: u32) -> Result<Value, GgufError> {
        Ok(match value_type {
            0 => Value::Unsigned(u64::from(self.bytes::<1>()?[0])),
            1 => signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            BOOL => Value::Bool(self.bytes::<1>()?[0] != 0),
            STRING => Value::Text(self.text()?),
            ARRAY => self.array()?,
            10 => Value::Unsigned(self.u64()?),
            11 => signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(GgufError::Damaged(format!("metadata value of unknown type {other}"))),
        })
    }

    fn array(&mut self) -> Result<Value, GgufError> {
        let element_type = self.u32()?;
        let count = self.u64()?;
        let element_bytes = match element_type {
            0 | 1 | BOOL => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            STRING => {
                self.fits("strings in an array", count, 8)?;
                let texts = (0..count).map(|_| Ok(self.text_bytes()?.into_boxed_slice()));
                return Ok(Value::Texts(texts.collect::<Result<_, GgufError>>()?));
            }
            other => return Err(GgufError::Damaged(format!("array of unsupported type {other}"))),
        };
        self.fits("array elements", count, element_bytes)?;
        match element_type {
            4 => {
                let numbers = (0..count).map(|_| Ok(i64::from(self.u32()?)));
                return Ok(Value::Integers(numbers.collect::<Result<_, GgufError>>()?));
            }
            5 => {
                let numbers = (0..count).map(|_| Ok(i64::from(i32::from_le_bytes(self.bytes()?))));
                return Ok(Value::Integers(numbers.collect::<Result<_, GgufError>>()?));
            }
            _ => {}
        }
        self.skip(count * element_bytes)?;
        Ok(Value::Array(count))
    }

    fn tensor(&mut self) -> Result<TensorInfo, GgufError> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(GgufError::Damaged(format!("tensor {name} has {dimensions} dimensions")));
        }
        let dimensions = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        let elements = dimensions.iter().try_fold(1_u64, |product, &length| product.checked_mul(length));
        let ggml_type = self.u32()?;
        let (block, block_bytes) = block_size(ggml_type);
        let bytes = elements.and_then(|count| count.div_ceil(block).checked_mul(block_bytes));
        let bytes = bytes.ok_or_else(|| GgufError::Damaged(format!("tensor {name} is larger than any file")))?;
        Ok(TensorInfo { name, dimensions, ggml_type, offset: self.u64()?, bytes })
    }

    fn text(&mut self) -> Result<String, GgufError> {
        let bytes = self.text_bytes()?;
        String::from_utf8(bytes).map_err(|_| GgufError::Damaged("a key, name or text is not UTF-8".into()))
    }

    fn text_bytes(&mut self) -> Result<Vec<u8>, GgufError> {
        let length = self.u64()?;
        self.fits("bytes of text", length, 1)?;
        // The announced length is at most the file's, so the buffer is too.
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(GgufError::HeaderCut(self.file_bytes));
        }
        self.position += length;
        Ok(bytes)
    }

    /// `count` things of at least `min_bytes` each must fit into what is left of the file.
    fn fits(&self, what: &'static str, count: u64, min_bytes: u64) -> Result<(), GgufError> {
        match count.checked_mul(min_bytes) {
            Some(bytes) if bytes <= self.left() => Ok(()),
            _ => Err(GgufError::Count { what, count, file_bytes: self.file_bytes }),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        if bytes > self.left() || io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink())? != bytes {
            return Err(GgufError::HeaderCut(self.file_bytes));
        }
        self.position += bytes;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        if self.left() < N as u64 {
            return Err(GgufError::HeaderCut(self.file_bytes));
        }
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn left(&self) -> u64 {
        self.file_bytes - self.position
    }
}

fn signed(number: i64) -> Value {
    u64::try_from(number).map_or(Value::Negative(number), Value::Unsigned)
}

/// Elements and bytes of one block of a ggml tensor type. The order is that of `enum ggml_type`.
fn block_size(ggml_type: u32) -> (u64, u64) {
    match ggml_type {
        0 | 26 => (1, 4),      // F32, I32
        1 | 25 | 30 => (1, 2), // F16, I16, BF16
        24 => (1, 1),          // I8
        27 | 28 => (1, 8),     // I64, F64
        2 | 20 => (32, 18),    // Q4_0, IQ4_NL
        3 => (32, 20),         // Q4_1
        6 => (32, 22),         // Q5_0
        7 => (32, 24),         // Q5_1
        8 => (32, 34),         // Q8_0
        10 => (256, 84),       // Q2_K
        11 | 21 => (256, 110), // Q3_K, IQ3_S
        12 => (256, 144),      // Q4_K
        13 => (256, 176),      // Q5_K
        14 => (256, 210),      // Q6_K
        16 | 35 => (256, 66),  // IQ2_XXS, TQ2_0
        17 => (256, 74),       // IQ2_XS
        18 => (256, 98),       // IQ3_XXS
        19 => (256, 50),       // IQ1_S
        22 => (256, 82),       // IQ2_S
        23 => (256, 136),      // IQ4_XS
        29 => (256, 56),       // IQ1_M
        34 => (256, 54),       // TQ1_0
        39 => (32, 17),        // MXFP4
        _ => (1, 0),
    }
}
