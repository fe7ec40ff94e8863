//! A message to the bytes of its frame, in one buffer.

use super::{Tag, VERSION, cobs};
use crate::checksum::Checksum;
use crate::wire::{Encode, Writer};
use core::fmt;

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

/// Writes the frame of `message` into `buffer`, zeros at both ends included, and returns it.
///
/// The zero in front makes the frame safe from rubbish on the line before it.
pub fn encode<'b>(tag: Tag, message: &impl Encode, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
    // First as it is, with as much room in front as the stuffing will take, which then moves it there.
    let lead = cobs::lead(buffer.len());
    let raw = buffer.get_mut(lead..).ok_or(EncodeError::BufferTooSmall)?;
    let mut writer = Writer::new(raw);
    let ([s0, s1], [n0, n1]) = (tag.session.to_le_bytes(), tag.number.to_le_bytes());
    writer.append(&[VERSION, s0, s1, n0, n1]);
    message.write(&mut writer);
    let length = writer.length();
    let body = writer.finish().ok_or(EncodeError::BufferTooSmall)?;
    let sum = Checksum::START.and(body).value();
    *raw.get_mut(length..).and_then(|rest| rest.first_chunk_mut()).ok_or(EncodeError::BufferTooSmall)? =
        sum.to_le_bytes();
    cobs::stuff(buffer, lead, lead + length + 4).ok_or(EncodeError::BufferTooSmall)
}
