//! Consistent overhead byte stuffing: bytes without a zero, so that a zero can end a frame.
//!
//! S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on
//! Networking 7(2), 1999. Both directions work byte by byte: neither needs a second buffer.

/// Most data bytes behind one code byte.
pub(super) const LONGEST_RUN: usize = 254;

/// Code byte of a run of [`LONGEST_RUN`] bytes, the only one that stands for no zero.
const FULL: u8 = 0xFF;

/// A buffer that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Stuffs bytes into a buffer, between two zeros.
pub(super) struct Stuffer<'b> {
    buffer: &'b mut [u8],
    length: usize,
    /// Where the code byte of the present run belongs, and its value so far.
    code_at: usize,
    code: u8,
}

impl<'b> Stuffer<'b> {
    pub(super) fn new(buffer: &'b mut [u8]) -> Result<Self, Full> {
        let mut stuffer = Self { buffer, length: 0, code_at: 1, code: 1 };
        stuffer.put(0)?;
        stuffer.put(0)?;
        Ok(stuffer)
    }

    fn put(&mut self, byte: u8) -> Result<(), Full> {
        *self.buffer.get_mut(self.length).ok_or(Full)? = byte;
        self.length += 1;
        Ok(())
    }

    /// Writes the code of the run that ends here.
    fn close(&mut self) -> Result<(), Full> {
        *self.buffer.get_mut(self.code_at).ok_or(Full)? = self.code;
        Ok(())
    }

    /// Opens a run; its code is not known yet.
    fn open(&mut self) -> Result<(), Full> {
        (self.code_at, self.code) = (self.length, 1);
        self.put(0)
    }

    pub(super) fn push(&mut self, byte: u8) -> Result<(), Full> {
        if self.code == FULL {
            self.close()?;
            self.open()?;
        }
        if byte == 0 {
            self.close()?;
            return self.open();
        }
        self.code += 1;
        self.put(byte)
    }

    pub(super) fn finish(mut self) -> Result<&'b [u8], Full> {
        self.close()?;
        self.put(0)?;
        let Self { buffer, length, .. } = self;
        buffer.get(..length).ok_or(Full)
    }
}

/// What a byte that is not zero means inside a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unstuffed {
    /// A byte of the frame.
    Byte(u8),
    /// No byte of the frame: a code.
    Code,
}

/// Takes the stuffing out of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unstuffer {
    /// Data bytes that the present run still has.
    left: u8,
    /// The present run stands for a zero behind its bytes, unless the segment ends there.
    zero: bool,
}

impl Unstuffer {
    pub(super) const fn new() -> Self {
        Self { left: 0, zero: false }
    }

    pub(super) const fn push(&mut self, byte: u8) -> Unstuffed {
        if self.left > 0 {
            self.left -= 1;
            return Unstuffed::Byte(byte);
        }
        let zero = self.zero;
        self.left = byte.saturating_sub(1);
        self.zero = byte != FULL;
        if zero { Unstuffed::Byte(0) } else { Unstuffed::Code }
    }

    /// Whether the segment may end here.
    pub(super) const fn is_complete(&self) -> bool {
        self.left == 0
    }
}
