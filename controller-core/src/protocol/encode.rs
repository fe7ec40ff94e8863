//! A message to the bytes of its frame, in one pass.

use super::cobs::{Full, Stuffer};
use super::{Tag, VERSION};
use crate::policy::CRC;
use crate::wire::{Sink, Wire};
use core::fmt;
use crc::{Digest, Table};

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

/// Where the bytes of a frame go: into the checksum and, stuffed, into the buffer.
struct Framer<'b> {
    stuffer: Stuffer<'b>,
    digest: Digest<'static, u32, Table<1>>,
    state: Result<(), Full>,
}

impl Sink for Framer<'_> {
    fn push(&mut self, byte: u8) {
        self.digest.update(&[byte]);
        if self.state.is_ok() {
            self.state = self.stuffer.push(byte);
        }
    }
}

impl<'b> Framer<'b> {
    fn finish(self) -> Result<&'b [u8], Full> {
        let Self { mut stuffer, digest, state } = self;
        state?;
        for byte in digest.finalize().to_le_bytes() {
            stuffer.push(byte)?;
        }
        stuffer.finish()
    }
}

/// Writes the frame of `message` into `buffer`, zeros at both ends included, and returns it.
///
/// The zero in front makes the frame safe from rubbish on the line before it.
pub fn encode<'a, 'b>(tag: Tag, message: &impl Wire<'a>, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
    let too_small = |Full| EncodeError::BufferTooSmall;
    let stuffer = Stuffer::new(buffer).map_err(too_small)?;
    let mut framer = Framer { stuffer, digest: CRC.digest(), state: Ok(()) };
    let ([s0, s1], [n0, n1]) = (tag.session.to_le_bytes(), tag.number.to_le_bytes());
    for byte in [VERSION, s0, s1, n0, n1] {
        framer.push(byte);
    }
    message.write(&mut framer);
    framer.finish().map_err(too_small)
}
