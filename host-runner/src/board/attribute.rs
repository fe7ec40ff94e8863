//! One value in one file, as sysfs, procfs and debugfs have it.

use super::tree::{FileError, FileTree, TreeError};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Largest attribute that is read, bytes. sysfs itself ends at one page, 4096 bytes; the list of
/// frequencies of a Thor has 1.8 KB.
const MAX_BYTES: usize = 16 << 10;

/// The text of a file, without white space and NUL at its ends. Bytes that are not UTF-8 are replaced.
pub fn text(tree: &dyn FileTree, path: &Path) -> Result<String, FileError> {
    let mut buffer = [0; MAX_BYTES];
    let length = tree.read(path, &mut buffer).map_err(|cause| FileError { path: path.to_owned(), cause })?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// The whole number in a file; `EINVAL` when it holds something else.
pub fn number(tree: &dyn FileTree, path: &Path) -> Result<i64, FileError> {
    integer(tree, path).map_err(|cause| FileError { path: path.to_owned(), cause })
}

/// The same without an allocation, for samplers.
pub fn integer(tree: &dyn FileTree, path: &Path) -> Result<i64, TreeError> {
    let mut buffer = [0; 32];
    let length = tree.read(path, &mut buffer)?;
    parse_integer(&buffer[..length]).ok_or_else(|| Errno::INVAL.into())
}

/// The decimal number at the start of an attribute; white space and a NUL may follow it, nothing else.
fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').parse().ok()
}

/// What lies in a folder, in the order in which people count: `hwmon2` before `hwmon10`.
/// A folder that is absent is empty.
pub fn entries(tree: &dyn FileTree, folder: &str) -> Vec<PathBuf> {
    let mut names = tree.list(Path::new(folder)).unwrap_or_default();
    names.sort_by_cached_key(|name| counted(name));
    names.into_iter().map(|name| Path::new(folder).join(name)).collect()
}

/// A key that sorts runs of digits by their value.
fn counted(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(words);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (value, after) = after.split_at(digits);
        // A number without end sorts last, and the text decides.
        key.push((0, word.to_owned()));
        key.push((value.parse().unwrap_or(u64::MAX), value.to_owned()));
        rest = after;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::super::tree::CapturedTree;
    use super::*;

    #[test]
    fn numbers_are_read_with_what_stands_around_them() {
        for (bytes, number) in [
            (&b"42\n"[..], Some(42)),
            (b"-256000\n", Some(-256_000)),
            (b" 7 ", Some(7)),
            (b"7\0", Some(7)),
            (b"", None),
            (b"1 2", None),
            (b"0x10", None),
            (b"99999999999999999999", None),
            (b"\xff", None),
        ] {
            assert_eq!(parse_integer(bytes), number, "{bytes:?}");
        }
    }

    #[test]
    fn folders_are_counted() {
        let json = r#"{"files": {"/c/hwmon10/x": "", "/c/hwmon2/x": "", "/c/hwmon0/x": "", "/c/nvme": "", "/c/18446744073709551616": ""}}"#;
        let tree = CapturedTree::parse(json).unwrap();
        let names: Vec<_> = entries(&tree, "/c").iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["18446744073709551616", "hwmon0", "hwmon2", "hwmon10", "nvme"]);
        assert!(entries(&tree, "/none").is_empty());
    }

    #[test]
    fn what_failed_is_named() {
        let json = r#"{"files": {"/a": "x"}, "errors": {"/b": "EAGAIN"}}"#;
        let tree = CapturedTree::parse(json).unwrap();
        assert_eq!(number(&tree, Path::new("/a")).unwrap_err().cause, Errno::INVAL.into());
        let message = text(&tree, Path::new("/b")).unwrap_err().to_string();
        assert_eq!(message, "/b: it has no value now (EAGAIN)");
    }
}
