//! Reading what a user points at: a regular file of a sane size, or a reason why not.
//!
//! A pipe would block and a device would never end, so neither is opened.

use std::io::{Error, ErrorKind, Read};
use std::path::Path;

/// Largest file that is read whole, bytes. Prompts, profiles, images and checkpoints are far below.
pub const MAX_BYTES: u64 = 64 << 20;

/// Checks that `path` is a regular file of at most `limit` bytes.
pub fn check(path: &Path, limit: u64) -> std::io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "it is a folder; name a file"));
    }
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file; copy its content into one"));
    }
    if metadata.len() > limit {
        let message = format!("it has {} bytes, more than the {limit} that are read; split it", metadata.len());
        return Err(Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(())
}

/// Reads a whole file of at most [`MAX_BYTES`].
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    check(path, MAX_BYTES)?;
    let mut bytes = Vec::new();
    // Files of /proc say they are empty and then are not, so the limit holds while reading, too.
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole text file of at most [`MAX_BYTES`]; a byte-order mark is dropped.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    let text = String::from_utf8(read(path)?).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        Error::new(ErrorKind::InvalidData, format!("it is not UTF-8 text, the first bad byte is at {position}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(read(Path::new("/nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
        let path = folder.path().join("text");
        std::fs::write(&path, "\u{feff}ä").unwrap();
        assert_eq!(read_text(&path).unwrap(), "ä");
        assert_eq!(check(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("bad byte is at 2"));
    }
}
