//! Consistent overhead byte stuffing: bytes without a zero, so that a zero can end a frame.
//!
//! S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on
//! Networking 7(2), 1999. Both directions work byte by byte: neither needs a second buffer.

/// Most data bytes behind one code byte.
pub(super) const LONGEST_RUN: usize = 254;

/// Code byte of a run of [`LONGEST_RUN`] bytes, the only one that stands for no zero.
const FULL: u8 = 0xFF;

/// Room in front of the data in a buffer of this size so that [`stuff`] never writes over what it
/// has not read: a zero, a code byte, and another one for every full run that fits.
pub(super) const fn lead(buffer: usize) -> usize {
    2 + buffer.saturating_sub(3) / (LONGEST_RUN + 1)
}

/// Stuffs the bytes `start..end` of a buffer, `start` at least its [`lead`], and puts the result
/// between two zeros at the front of it; `None` when the second does not fit.
pub(super) fn stuff(buffer: &mut [u8], start: usize, end: usize) -> Option<&[u8]> {
    *buffer.first_mut()? = 0;
    // Where the code byte of the present run belongs, and where the next byte does.
    let (mut code_at, mut length) = (1, 2);
    for index in start..end {
        let byte = *buffer.get(index)?;
        if length - code_at > LONGEST_RUN {
            *buffer.get_mut(code_at)? = FULL;
            (code_at, length) = (length, length + 1);
        }
        if byte == 0 {
            *buffer.get_mut(code_at)? = code(code_at, length);
            code_at = length;
        } else {
            *buffer.get_mut(length)? = byte;
        }
        length += 1;
    }
    *buffer.get_mut(code_at)? = code(code_at, length);
    *buffer.get_mut(length)? = 0;
    buffer.get(..=length)
}

/// The code byte of a run: its own length, data and code byte together.
fn code(from: usize, to: usize) -> u8 {
    u8::try_from(to - from).unwrap_or(FULL)
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
