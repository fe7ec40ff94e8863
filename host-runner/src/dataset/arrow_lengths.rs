//! Lengths in an Arrow file against the file's own: its decoder allocates and clears what a length says before it finds that the
//! file is shorter, two gigabytes for one flipped bit.
//!
//! What is no message or footer at all is left to the decoder, which says so better.

use arrow_ipc::{Block, root_as_footer, root_as_message};
use std::io::{Read, Result, Seek, SeekFrom};

/// Says that more follows in a stream, before the length of a message.
const GOES_ON: u32 = u32::MAX;
/// Length of a footer and `ARROW1`, at the end of a file.
const TRAILER: u64 = 10;

/// Every message of a stream lies within it.
pub fn of_stream(file: &mut (impl Read + Seek)) -> Result<bool> {
    let size = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    loop {
        let Some(mut length) = word(file, size)? else { return Ok(true) };
        if length == GOES_ON {
            let Some(next) = word(file, size)? else { return Ok(true) };
            length = next;
        }
        if length == 0 {
            return Ok(true);
        }
        let Some(metadata) = bytes(file, size, u64::from(length))? else { return Ok(false) };
        let Ok(message) = root_as_message(&metadata) else { return Ok(true) };
        let left = size - file.stream_position()?;
        match u64::try_from(message.bodyLength()) {
            Ok(body) if body <= left => file.seek(SeekFrom::Current(message.bodyLength()))?,
            _ => return Ok(false),
        };
    }
}

/// Every block that a footer names lies within the file.
pub fn of_footer(file: &mut (impl Read + Seek)) -> Result<bool> {
    let size = file.seek(SeekFrom::End(0))?;
    let Some(trailer) = size.checked_sub(TRAILER) else { return Ok(true) };
    file.seek(SeekFrom::Start(trailer))?;
    let length = u64::from(word(file, size)?.unwrap_or(0));
    let Some(start) = trailer.checked_sub(length) else { return Ok(false) };
    file.seek(SeekFrom::Start(start))?;
    let Some(footer) = bytes(file, size, length)? else { return Ok(false) };
    let Ok(footer) = root_as_footer(&footer) else { return Ok(true) };
    let within = |block: &Block| {
        let parts = [block.offset(), i64::from(block.metaDataLength()), block.bodyLength()];
        let end = parts.iter().try_fold(0, |sum: u64, part| sum.checked_add(u64::try_from(*part).ok()?));
        end.is_some_and(|end| end <= size)
    };
    let blocks = footer.recordBatches().into_iter().flatten().chain(footer.dictionaries().into_iter().flatten());
    Ok(blocks.into_iter().all(within))
}

/// The next number; `None` at the end.
fn word(file: &mut (impl Read + Seek), size: u64) -> Result<Option<u32>> {
    let four = bytes(file, size, 4)?.and_then(|bytes| bytes.try_into().ok());
    Ok(four.map(u32::from_le_bytes))
}

/// The next bytes; `None` where the file has not so many.
fn bytes(file: &mut (impl Read + Seek), size: u64, count: u64) -> Result<Option<Vec<u8>>> {
    if count > size - file.stream_position()? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
