//! The CRC-32 of frames, uploads and policy images, half a byte at a time.

/// Remainders of the 16 values of half a byte: 64 bytes of flash, where the usual table of whole
/// bytes takes 1,024.
const REMAINDERS: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0u32;
    while index < 16 {
        let (mut remainder, mut bit) = (index, 0);
        while bit < 4 {
            remainder = (remainder >> 1) ^ (0xEDB8_8320 * (remainder & 1));
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "in a constant; a wrong index would not compile")]
        {
            table[index as usize] = remainder;
        }
        index += 1;
    }
    table
};

/// CRC-32/ISO-HDLC, as in zip and Ethernet: polynomial 0x04C11DB7 reflected, start and final xor 0xFFFFFFFF.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(u32);

impl Checksum {
    /// Of no bytes yet.
    pub const START: Self = Self(u32::MAX);

    /// The same with these bytes behind.
    #[must_use]
    #[inline(never)]
    pub fn and(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |Self(sum), byte| Self(half(half(sum ^ u32::from(*byte)))))
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub const fn value(self) -> u32 {
        !self.0
    }
}

fn half(sum: u32) -> u32 {
    // Never out of range: 16 values of four bits.
    (sum >> 4) ^ REMAINDERS.get((sum & 0xF) as usize).copied().unwrap_or(0)
}

/// CRC-32/ISO-HDLC of some bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    Checksum::START.and(bytes).value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_crc_crate_says_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0usize..64) {
            let expected = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
            prop_assert_eq!(checksum(&bytes), expected);
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(Checksum::START.and(head).and(tail).value(), expected);
        }
    }

    #[test]
    fn the_check_value_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
    }
}
