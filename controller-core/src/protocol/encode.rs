//! A message to the bytes of its frame, in one pass.

use super::cobs::{Full, Stuffer};
use super::{Tag, VERSION};
use crate::policy::CRC;
use core::fmt;
use crc::{Digest, Table};
use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The frame is longer than the buffer.
    BufferTooSmall,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the frame is longer than its buffer; REQUEST_FRAME and REPLY_FRAME bytes are enough")
    }
}

impl core::error::Error for EncodeError {}

/// Where postcard's bytes go: into the checksum and, stuffed, into the buffer.
struct Framer<'b> {
    stuffer: Stuffer<'b>,
    digest: Digest<'static, u32, Table<1>>,
}

impl<'b> Framer<'b> {
    fn push(&mut self, byte: u8) -> Result<(), Full> {
        self.digest.update(&[byte]);
        self.stuffer.push(byte)
    }

    fn finish(self) -> Result<&'b [u8], Full> {
        let Self { mut stuffer, digest } = self;
        for byte in digest.finalize().to_le_bytes() {
            stuffer.push(byte)?;
        }
        stuffer.finish()
    }
}

impl<'b> Flavor for Framer<'b> {
    type Output = &'b [u8];

    // Called for every byte of every field: inlined there, it would fill the flash.
    #[inline(never)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.push(byte).map_err(|Full| postcard::Error::SerializeBufferFull)
    }

    fn finalize(self) -> postcard::Result<&'b [u8]> {
        self.finish().map_err(|Full| postcard::Error::SerializeBufferFull)
    }
}

/// Writes the frame of `message` into `buffer`, zeros at both ends included, and returns it.
///
/// The zero in front makes the frame safe from rubbish on the line before it.
pub fn encode<'b, M: Serialize>(tag: Tag, message: &M, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
    let too_small = |Full| EncodeError::BufferTooSmall;
    let mut framer = Framer { stuffer: Stuffer::new(buffer).map_err(too_small)?, digest: CRC.digest() };
    let ([s0, s1], [n0, n1]) = (tag.session.to_le_bytes(), tag.number.to_le_bytes());
    for byte in [VERSION, s0, s1, n0, n1] {
        framer.push(byte).map_err(too_small)?;
    }
    postcard::serialize_with_flavor(message, framer).map_err(|_| EncodeError::BufferTooSmall)
}
