//! Entries of an uncompressed zip archive, as `PyTorch` writes its checkpoints (PKWARE APPNOTE 6.3.10,
//! sections 4.3.7, 4.3.12 and 4.3.16). Every offset is checked and every entry's CRC-32 compared.

use crc::{CRC_32_ISO_HDLC, Crc};

const END: [u8; 4] = *b"PK\x05\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Fixed part of the end record; a comment of at most 65,535 bytes may follow.
const END_LEN: usize = 22;

/// Why an archive cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZipError {
    /// No end record: another sort of file, or cut short.
    #[error("not a zip archive, or cut short; copy the file again")]
    NoEnd,
    /// An offset or length points outside the file.
    #[error("the zip archive is damaged: {0} lies outside the file; copy it again")]
    Outside(&'static str),
    /// Sizes beyond 4 GiB.
    #[error("the zip archive uses 64-bit sizes, far beyond a policy's; this is another sort of file")]
    Zip64,
    /// Compressed or encrypted.
    #[error("the entry {name} is compressed or encrypted; save the checkpoint with torch.save, which does neither")]
    Compressed {
        /// The entry.
        name: String,
    },
    /// The content is not what was written.
    #[error("the entry {name} does not have the checksum that was written with it; copy the file again")]
    Checksum {
        /// The entry.
        name: String,
    },
}

/// Name and content of every entry, in the order of the directory.
pub fn entries(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, ZipError> {
    let end = find_end(bytes).ok_or(ZipError::NoEnd)?;
    let count = u16_at(bytes, end + 10).ok_or(ZipError::NoEnd)?;
    // The directory is found by its own offset and not by its distance from the end: PyTorch puts
    // 64-bit end records in between.
    let start = u32_at(bytes, end + 16).ok_or(ZipError::NoEnd)?;
    if count == u16::MAX || start == u32::MAX {
        return Err(ZipError::Zip64);
    }
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut place = start as usize;
    let mut found = Vec::new();
    for _ in 0..count {
        let entry = Entry::at(bytes, place)?;
        place = entry.next;
        let content = content(bytes, &entry)?;
        if crc.checksum(content) != entry.crc {
            return Err(ZipError::Checksum { name: entry.name });
        }
        found.push((entry.name, content));
    }
    Ok(found)
}

/// What the directory says about an entry.
struct Entry {
    name: String,
    crc: u32,
    size: usize,
    local: usize,
    next: usize,
}

impl Entry {
    fn at(bytes: &[u8], place: usize) -> Result<Self, ZipError> {
        const OUTSIDE: ZipError = ZipError::Outside("a directory entry");
        let word = |offset: usize| u16_at(bytes, place + offset).map(usize::from).ok_or(OUTSIDE);
        let long = |offset: usize| u32_at(bytes, place + offset).ok_or(OUTSIDE);
        if slice(bytes, place, 4) != Some(&CENTRAL) {
            return Err(ZipError::Outside("the directory"));
        }
        let (flags, method, crc) = (word(8)?, word(10)?, long(16)?);
        let (packed, size, local) = (long(20)?, long(24)?, long(42)?);
        let (name_len, extra, comment) = (word(28)?, word(30)?, word(32)?);
        let name = String::from_utf8_lossy(slice(bytes, place + 46, name_len).ok_or(OUTSIDE)?).into_owned();
        if [packed, size, local].contains(&u32::MAX) {
            return Err(ZipError::Zip64);
        }
        if method != 0 || flags & 1 != 0 || packed != size {
            return Err(ZipError::Compressed { name });
        }
        Ok(Self {
            name,
            crc,
            size: size as usize,
            local: local as usize,
            next: place + 46 + name_len + extra + comment,
        })
    }
}

fn content<'a>(bytes: &'a [u8], entry: &Entry) -> Result<&'a [u8], ZipError> {
    const OUTSIDE: ZipError = ZipError::Outside("an entry");
    if slice(bytes, entry.local, 4) != Some(&LOCAL) {
        return Err(OUTSIDE);
    }
    let word = |offset: usize| u16_at(bytes, entry.local + offset).map(usize::from).ok_or(OUTSIDE);
    // The local header pads its extra field, so that the content is aligned.
    slice(bytes, entry.local + 30 + word(26)? + word(28)?, entry.size).ok_or(OUTSIDE)
}

/// The last end record whose comment reaches exactly to the end of the file.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let latest = bytes.len().checked_sub(END_LEN)?;
    let earliest = latest.saturating_sub(usize::from(u16::MAX));
    (earliest..=latest).rev().find(|&place| {
        slice(bytes, place, 4) == Some(&END)
            && u16_at(bytes, place + 20).is_some_and(|comment| place + END_LEN + usize::from(comment) == bytes.len())
    })
}

fn slice(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(length)?)
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    slice(bytes, place, 2)?.first_chunk().map(|pair| u16::from_le_bytes(*pair))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    slice(bytes, place, 4)?.first_chunk().map(|quad| u32::from_le_bytes(*quad))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive with the padding and the 64-bit end records that `PyTorch` writes.
    pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        let long = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
        let word = |value: usize| u16::try_from(value).unwrap().to_le_bytes();
        for (name, content) in entries {
            let local = out.len();
            let padding = (64 - (out.len() + 30 + name.len()) % 64) % 64;
            let sums = [crc.checksum(content).to_le_bytes(), long(content.len()), long(content.len())].concat();
            out.extend([&LOCAL[..], &[0; 10], &sums, &word(name.len()), &word(padding), name.as_bytes()].concat());
            out.extend(vec![b'Z'; padding]);
            out.extend(*content);
            directory.extend([&CENTRAL[..], &[0; 12], &sums, &word(name.len()), &[0; 12], &long(local)].concat());
            directory.extend(name.as_bytes());
        }
        let start = out.len();
        out.extend(&directory);
        out.extend([0; 76]);
        let count = word(entries.len());
        out.extend([&END[..], &[0; 4], &count, &count, &long(directory.len()), &long(start), &[0; 2]].concat());
        out
    }

    #[test]
    fn entries_come_back() {
        let bytes = archive(&[("p/data.pkl", b"abc"), ("p/data/0", &[7; 100])]);
        let found = entries(&bytes).unwrap();
        assert_eq!(found[0], ("p/data.pkl".to_owned(), &b"abc"[..]));
        assert_eq!(found[1], ("p/data/0".to_owned(), &[7; 100][..]));
    }

    #[test]
    fn damage_is_named() {
        let good = archive(&[("p/data.pkl", b"abc")]);
        for length in 0..good.len() {
            assert!(entries(&good[..length]).is_err(), "cut at {length}");
        }
        let place = good.windows(3).position(|window| window == b"abc").unwrap();
        let mut flipped = good.clone();
        flipped[place] ^= 1;
        assert_eq!(entries(&flipped), Err(ZipError::Checksum { name: "p/data.pkl".into() }));
        let central = good.windows(4).position(|window| window == CENTRAL).unwrap();
        let mut deflated = good.clone();
        deflated[central + 10] = 8;
        assert_eq!(entries(&deflated), Err(ZipError::Compressed { name: "p/data.pkl".into() }));
        let mut huge = good;
        huge[central + 24..central + 28].fill(0xff);
        assert_eq!(entries(&huge), Err(ZipError::Zip64));
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_panics(place in any::<prop::sample::Index>(), value in any::<u8>()) {
            let mut bytes = archive(&[("p/data.pkl", b"abc"), ("p/version", b"3")]);
            let place = place.index(bytes.len());
            bytes[place] = value;
            let _ = entries(&bytes);
        }
    }
}
