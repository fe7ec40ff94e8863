//! Two slots for policy images: one decides, the other takes the next upload.
//!
//! Every slot ends with a *mark*: generation, length and CRC-32 of the image in front of it, and
//! a CRC-32 of the mark itself. The mark is written last, when the image has passed every check,
//! and of two good marks the higher generation counts. So power may go at any moment: a torn mark
//! is no mark, the other slot is never touched, and half an image is never an image.

use controller_core::protocol::checksum;
use core::array::IntoIter;
use core::iter::Flatten;

/// Number of slots.
pub const SLOTS: u8 = 2;

/// Bytes of a mark.
pub const MARK: usize = 16;

/// The medium cannot be erased or written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageError;

impl core::fmt::Display for StorageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the slot cannot be erased or written; the medium is worn out or the place is outside of it")
    }
}

impl core::error::Error for StorageError {}

/// Memory for [`SLOTS`] slots of equal size that survives a reset and can be read in place, such as
/// the flash of a microcontroller. A port to a new board implements this.
pub trait Storage {
    /// The whole slot. A slot that does not exist is empty.
    fn slot(&self, slot: u8) -> &[u8];

    /// Makes the slot writable again; its content is gone. May take long: it is called when an
    /// upload begins, and then only.
    fn erase(&mut self, slot: u8) -> Result<(), StorageError>;

    /// Writes bytes that were not written since the slot was erased.
    fn write(&mut self, slot: u8, offset: usize, bytes: &[u8]) -> Result<(), StorageError>;
}

/// What the mark of a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Higher is newer.
    pub generation: u32,
    /// Bytes of the image.
    pub length: u32,
    /// CRC-32 of these bytes.
    pub checksum: u32,
}

impl Mark {
    fn to_bytes(self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        let words = [self.generation, self.length, self.checksum];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        if let Some((content, sum)) = bytes.split_last_chunk_mut::<4>() {
            *sum = checksum(content).to_le_bytes();
        }
        bytes
    }

    /// The mark of a slot; `None` when it has none.
    pub fn read(storage: &impl Storage, slot: u8) -> Option<Self> {
        let bytes: &[u8; MARK] = storage.slot(slot).last_chunk()?;
        let word = |at| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let mark = Self { generation: word(0)?, length: word(4)?, checksum: word(8)? };
        (mark.to_bytes() == *bytes).then_some(mark)
    }
}

/// Bytes that an image may have.
pub fn room(storage: &impl Storage, slot: u8) -> usize {
    storage.slot(slot).len().saturating_sub(MARK)
}

/// The image in a slot, as far as its mark tells; `None` without a mark.
pub fn image(storage: &impl Storage, slot: u8) -> Option<&[u8]> {
    let length = usize::try_from(Mark::read(storage, slot)?.length).ok()?;
    storage.slot(slot).get(..length)
}

/// The slots that have a mark, the newest first.
pub fn marked(storage: &impl Storage) -> Flatten<IntoIter<Option<u8>, { SLOTS as usize }>> {
    let generation = |slot| Mark::read(storage, slot).map(|mark| mark.generation);
    let order = if generation(1) > generation(0) { [1, 0] } else { [0, 1] };
    order.map(|slot| generation(slot).map(|_| slot)).into_iter().flatten()
}

/// Puts the mark on a slot whose image is complete: from now on it is the newest.
pub fn commit(storage: &mut impl Storage, slot: u8, length: u32, checksum: u32) -> Result<(), StorageError> {
    let newest = marked(storage).next().and_then(|slot| Mark::read(storage, slot));
    let generation = newest.map_or(0, |mark| mark.generation).wrapping_add(1);
    let place = room(storage, slot);
    storage.write(slot, place, &Mark { generation, length, checksum }.to_bytes())
}

/// Writes an image that needs no upload, as a programming tool does.
pub fn install(storage: &mut impl Storage, slot: u8, image: &[u8]) -> Result<(), StorageError> {
    let length = u32::try_from(image.len()).map_err(|_| StorageError)?;
    if image.len() > room(storage, slot) {
        return Err(StorageError);
    }
    storage.erase(slot)?;
    storage.write(slot, 0, image)?;
    commit(storage, slot, length, checksum(image))
}

/// Slots in plain memory with the habits of flash: erased bytes are 0xFF, and a write can only
/// clear bits. It counts what it does and can lose its power in the middle of it.
#[derive(Clone, Debug)]
pub struct Memory<const N: usize> {
    slots: [[u8; N]; SLOTS as usize],
    /// Bytes written or erased since it was made.
    pub operations: u64,
    /// After this many operations nothing is changed any more.
    pub power_until: u64,
}

impl<const N: usize> Memory<N> {
    /// Two erased slots of `N` bytes, marks included.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [[0xFF; N]; SLOTS as usize], operations: 0, power_until: u64::MAX }
    }
}

impl<const N: usize> Default for Memory<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Storage for Memory<N> {
    fn slot(&self, slot: u8) -> &[u8] {
        self.slots.get(usize::from(slot)).map_or(&[], |bytes| bytes.as_slice())
    }

    fn erase(&mut self, slot: u8) -> Result<(), StorageError> {
        for byte in self.slots.get_mut(usize::from(slot)).ok_or(StorageError)? {
            if self.operations >= self.power_until {
                return Err(StorageError);
            }
            self.operations += 1;
            *byte = 0xFF;
        }
        Ok(())
    }

    fn write(&mut self, slot: u8, offset: usize, bytes: &[u8]) -> Result<(), StorageError> {
        let place = self.slots.get_mut(usize::from(slot)).and_then(|slot| slot.get_mut(offset..));
        let place = place.and_then(|slot| slot.get_mut(..bytes.len())).ok_or(StorageError)?;
        for (old, new) in place.iter_mut().zip(bytes) {
            if self.operations >= self.power_until {
                return Err(StorageError);
            }
            self.operations += 1;
            *old &= new;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_mark_counts_and_a_torn_one_does_not() {
        let mut memory = Memory::<64>::new();
        assert_eq!(marked(&memory).count(), 0);
        install(&mut memory, 0, b"old").unwrap();
        install(&mut memory, 1, b"new").unwrap();
        assert!(marked(&memory).eq([1, 0]));
        assert_eq!(image(&memory, 1), Some(&b"new"[..]));
        install(&mut memory, 0, b"newer").unwrap();
        assert!(marked(&memory).eq([0, 1]));
        for written in 0..MARK as u64 {
            let mut torn = memory.clone();
            torn.erase(1).unwrap();
            torn.write(1, 0, b"torn").unwrap();
            torn.power_until = torn.operations + written;
            assert_eq!(commit(&mut torn, 1, 4, checksum(b"torn")), Err(StorageError));
            assert!(marked(&torn).eq([0]), "after {written} bytes of the mark");
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        let mut memory = Memory::<32>::new();
        assert_eq!(memory.write(0, 30, b"abc"), Err(StorageError));
        assert_eq!(memory.write(0, usize::MAX, b"a"), Err(StorageError));
        assert_eq!(memory.write(2, 0, b"a"), Err(StorageError));
        assert_eq!(memory.erase(2), Err(StorageError));
        assert!(memory.slot(2).is_empty());
        assert_eq!(install(&mut memory, 0, &[0; 17]), Err(StorageError));
    }
}
