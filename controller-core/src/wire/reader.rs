//! From bytes to values, and the memory of what went wrong.

/// Bytes on their way to a value.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Reader<'a> {
    /// Begins at the front of some bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// Whether all bytes were read and what was read stands.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        !self.failed && self.rest.is_empty()
    }

    /// Declares that the bytes stand for no value; from now on all that is read is zero.
    #[cold]
    #[inline(never)]
    pub const fn fail(&mut self) {
        self.failed = true;
        self.rest = &[];
    }

    #[inline(never)]
    pub(super) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else {
            self.fail();
            return 0;
        };
        self.rest = rest;
        *byte
    }

    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            self.fail();
            return &[];
        };
        self.rest = rest;
        bytes
    }

    /// A number of at most 32 bits in groups of seven, the least significant group first.
    #[inline(never)]
    pub(super) fn narrow(&mut self, bits: u32) -> u32 {
        let (mut number, mut shift) = (0, 0);
        while shift < bits {
            let byte = self.byte();
            let group = u32::from(byte & 0x7F);
            if group.leading_zeros() + bits < u32::BITS + shift {
                break; // more than so many bits
            }
            number |= group << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
        self.fail();
        0
    }

    /// The same for up to 64 bits, which a 32-bit machine does in twice the steps.
    #[inline(never)]
    pub(super) fn wide(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while shift < u64::BITS {
            let byte = self.byte();
            let group = u64::from(byte & 0x7F);
            if group.leading_zeros() < shift {
                break;
            }
            number |= group << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
        self.fail();
        0
    }

    /// The number of a variant.
    #[inline(never)]
    pub fn variant(&mut self) -> u32 {
        self.narrow(u32::BITS)
    }

    pub(super) fn length(&mut self, most: usize) -> usize {
        let length = self.variant() as usize;
        if length > most {
            self.fail();
            return 0;
        }
        length
    }
}
