//! The bytes of a GGUF file, read in order. Nothing is allocated that the rest of the file could not fill.

use super::{GgufError, TensorInfo, Value, tensor_type};
use std::io::{self, Read};

/// A source that knows how much is left of it.
pub(super) struct Reader<R> {
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
    /// Begins at the start of `source`, which is `file_bytes` long.
    pub(super) fn new(source: R, file_bytes: u64) -> Self {
        Self { source, position: 0, file_bytes }
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The fixed part: magic, version, number of tensors, number of metadata values.
    pub(super) fn counts(&mut self) -> Result<(u64, u64), GgufError> {
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

    pub(super) fn value(&mut self, value_type: u32) -> Result<Value, GgufError> {
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

    pub(super) fn tensor(&mut self) -> Result<TensorInfo, GgufError> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(GgufError::Damaged(format!("tensor {name} has {dimensions} dimensions")));
        }
        let dimensions = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        let elements = dimensions.iter().try_fold(1_u64, |product, &length| product.checked_mul(length));
        let ggml_type = self.u32()?;
        // Of a type that is not known nothing is promised; the fence refuses it.
        let (block, block_bytes) =
            tensor_type::of_number(ggml_type).map_or((1, 0), |kind| (kind.block, kind.block_bytes));
        let bytes = elements.and_then(|count| count.div_ceil(block).checked_mul(block_bytes));
        let bytes = bytes.ok_or_else(|| GgufError::Damaged(format!("tensor {name} is larger than any file")))?;
        Ok(TensorInfo { name, dimensions, ggml_type, offset: self.u64()?, bytes })
    }

    pub(super) fn text(&mut self) -> Result<String, GgufError> {
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

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
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
