//! From values to bytes.

/// Bytes one behind the other in a buffer. A writer that is full goes on counting.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    /// Begins at the front of a buffer.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Writes the next byte.
    #[inline(never)]
    pub fn push(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// Writes some bytes as they are.
    pub fn append(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    /// Writes a number in groups of seven bits, the least significant group first.
    #[inline(never)]
    pub(super) fn narrow(&mut self, mut number: u32) {
        while number > 0x7F {
            let [low, ..] = number.to_le_bytes();
            self.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.push(low);
    }

    /// The same for up to 64 bits, which a 32-bit machine does in twice the steps.
    #[inline(never)]
    pub(super) fn wide(&mut self, mut number: u64) {
        while number > 0x7F {
            let [low, ..] = number.to_le_bytes();
            self.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.push(low);
    }

    /// A length, which is below 2^32 for all that fits a frame or an image.
    pub(super) fn count(&mut self, length: usize) {
        self.narrow(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Bytes written, those included that did not fit.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// What was written; `None` when it did not fit.
    #[must_use]
    pub fn finish(self) -> Option<&'b mut [u8]> {
        self.buffer.get_mut(..self.length)
    }
}
