//! Writes a GGUF file from nothing (version 3, alignment 32).

use std::io::{self, Write};

/// How the numbers of a matrix are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit numbers.
    #[default]
    F32,
    /// Blocks of 32 bytes with a 16-bit scale. Rows must be multiples of 32.
    Q8,
}

/// The head of a file in the making; the data of the tensors follows when it is finished.
#[derive(Debug, Default)]
pub struct Writer {
    values: Vec<u8>,
    value_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data_bytes: u64,
}

impl Writer {
    /// A string.
    pub fn text(&mut self, key: &str, text: &str) {
        self.key(key, 8);
        push_text(&mut self.values, text);
    }

    /// A 32-bit unsigned integer.
    pub fn number(&mut self, key: &str, number: u32) {
        self.key(key, 4);
        self.values.extend(number.to_le_bytes());
    }

    /// A 32-bit float.
    pub fn real(&mut self, key: &str, number: f32) {
        self.key(key, 6);
        self.values.extend(number.to_le_bytes());
    }

    /// A boolean.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.key(key, 7);
        self.values.push(u8::from(flag));
    }

    /// An array of strings.
    pub fn texts(&mut self, key: &str, texts: &[String]) {
        self.array(key, 8, texts.len());
        for text in texts {
            push_text(&mut self.values, text);
        }
    }

    /// An array of 32-bit floats.
    pub fn reals(&mut self, key: &str, numbers: &[f32]) {
        self.array(key, 6, numbers.len());
        self.values.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    /// An array of 32-bit signed integers.
    pub fn integers(&mut self, key: &str, numbers: &[i32]) {
        self.array(key, 5, numbers.len());
        self.values.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn key(&mut self, key: &str, value_type: u32) {
        push_text(&mut self.values, key);
        self.values.extend(value_type.to_le_bytes());
        self.value_count += 1;
    }

    fn array(&mut self, key: &str, element_type: u32, count: usize) {
        self.key(key, 9);
        self.values.extend(element_type.to_le_bytes());
        self.values.extend((count as u64).to_le_bytes());
    }

    /// Announces a tensor. The data must follow in the order of the announcements, see [`Writer::finish`].
    pub fn tensor(&mut self, name: &str, dimensions: &[u32], kind: Kind) {
        push_text(&mut self.infos, name);
        self.infos.extend(u32::try_from(dimensions.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.infos.extend(dimensions.iter().flat_map(|&dimension| u64::from(dimension).to_le_bytes()));
        let (ggml_type, block, block_bytes) = match kind {
            Kind::F32 => (0_u32, 1, 4),
            Kind::Q8 => (8, 32, 34),
        };
        self.infos.extend(ggml_type.to_le_bytes());
        self.infos.extend(self.data_bytes.to_le_bytes());
        let elements: u64 = dimensions.iter().map(|&dimension| u64::from(dimension)).product();
        self.data_bytes += (elements / block * block_bytes).next_multiple_of(32);
        self.tensor_count += 1;
    }

    /// Writes the head. What follows is the data of each tensor, padded to multiples of 32 bytes.
    pub fn finish(self, to: &mut impl Write) -> io::Result<()> {
        let mut head = b"GGUF".to_vec();
        head.extend(3_u32.to_le_bytes());
        head.extend(self.tensor_count.to_le_bytes());
        head.extend(self.value_count.to_le_bytes());
        head.extend(self.values);
        head.extend(self.infos);
        head.resize(head.len().next_multiple_of(32), 0);
        to.write_all(&head)
    }
}

pub(super) fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
