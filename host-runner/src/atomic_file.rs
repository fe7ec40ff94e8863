//! Files that exist whole or not at all, whatever stops the program or the machine: written under a temporary name in the
//! same folder, brought to the disk, then renamed.
//!
//! A program that is killed leaves its temporary file behind. The next one that writes the same file removes it: who writes
//! holds a lock on the temporary file, which ends with the process.

use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file being written. Dropped without [`AtomicFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    file: std::io::BufWriter<NamedTempFile>,
    path: PathBuf,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; choose another place with --out", path.display())]
pub struct AtomicFileError {
    path: PathBuf,
    source: std::io::Error,
}

impl AtomicFile {
    /// Opens a file that will be called `path`; missing folders are made.
    pub fn create(path: &Path) -> Result<Self, AtomicFileError> {
        let opened = destination(path).and_then(|path| Ok((temporary(&path)?, path)));
        let (file, path) = opened.map_err(|source| AtomicFileError { path: path.into(), source })?;
        Ok(Self { file: std::io::BufWriter::new(file), path })
    }

    /// Finds out, before long work, whether a file can be written at `path`.
    pub fn check(path: &Path) -> Result<(), AtomicFileError> {
        Self::create(path).map(drop)
    }

    /// Writes a whole file at once; missing folders are made.
    pub fn write(path: &Path, bytes: &[u8]) -> Result<(), AtomicFileError> {
        let written = destination(path).and_then(|path| replace(&path, bytes));
        written.map_err(|source| AtomicFileError { path: path.into(), source })
    }

    /// Gives the file its name. When this returns, content and name are on the disk.
    pub fn commit(self) -> Result<(), AtomicFileError> {
        let Self { file, path } = self;
        persist(file, &path).map_err(|source| AtomicFileError { path, source })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Where a file called `path` goes, with the folder that it needs: behind links, and nowhere but where there is a regular file
/// or none. A device that is replaced by a file is a broken system, and a pipe would never get what it waits for.
fn destination(path: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder_of(path))?;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(Error::new(ErrorKind::IsADirectory, "it is a folder, and a file is to be written"))
        }
        Ok(metadata) if !metadata.is_file() => Err(Error::new(ErrorKind::InvalidInput, "it is no regular file")),
        Ok(_) => std::fs::canonicalize(path),
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(path.into()),
        Err(error) => Err(error),
    }
}

/// Replaces a file by a whole one, which is on the disk when this returns. Its folder must exist. A link is replaced, not
/// followed: nobody leads a program with more rights than his own to another file.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(temporary(path)?);
    file.write_all(bytes)?;
    persist(file, path)
}

/// Removes a file, and what killed programs left of it; nothing to remove is fine. When this returns, that is on the disk: a
/// power cut does not bring the file back.
pub fn remove(path: &Path) -> std::io::Result<()> {
    remove_leftovers(folder_of(path), &prefix(path))?;
    remove_if_there(path)?;
    synchronize(folder_of(path))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn synchronize(folder: &Path) -> std::io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems know no synchronization of folders.
        Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

/// A temporary file beside `path`, locked.
fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = folder_of(path);
    let prefix = prefix(path);
    remove_leftovers(folder, &prefix)?;
    loop {
        // Temporary files are private by default; results are for everyone to read.
        let readable = std::fs::Permissions::from_mode(0o644);
        let file = tempfile::Builder::new().prefix(&prefix).permissions(readable).tempfile_in(folder)?;
        match file.as_file().try_lock() {
            // Before it was locked, somebody may have taken it for one that was left behind.
            Err(TryLockError::WouldBlock) => {}
            Ok(()) if !file.path().exists() => {}
            // A file system without locks keeps its leftovers.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

fn persist(file: std::io::BufWriter<NamedTempFile>, path: &Path) -> std::io::Result<()> {
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    synchronize(folder_of(path))
}

/// Removes what killed programs left of the same file.
fn remove_leftovers(folder: &Path, prefix: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
        let Some(file) = is_ours.then(|| File::open(entry.path()).ok()).flatten() else { continue };
        if file.try_lock().is_ok() {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the names of a file's temporary files begin with. A long name is cut: names end at 255 bytes.
fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".partial-{}-", name.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn nothing_is_seen_before_the_commit_and_nothing_is_left_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/result.txt");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        AtomicFile::check(&path).unwrap();
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        AtomicFile::write(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn what_a_killed_program_left_is_removed_and_what_others_write_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        // No process holds a lock on these: of this file, and of two others.
        let other = [".partial-a.csv2-xyz", "result"];
        for name in [".partial-a.csv-killed"].iter().chain(&other) {
            std::fs::write(folder.path().join(name), b"half").unwrap();
        }
        // The test lets go of the file at its end, a lock of the same process counts as well.
        let mut busy = AtomicFile::create(&path).unwrap();
        busy.write_all(b"late").unwrap();
        AtomicFile::write(&path, b"early").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"early");
        busy.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"late");
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [other[0], "a.csv", other[1]]);
    }

    #[test]
    fn the_longest_name_that_a_file_may_have_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ä".repeat(127));
        AtomicFile::write(&path, b"x").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn a_file_goes_with_what_killed_programs_left_of_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.csv", ".partial-a.csv-killed", "b.csv"] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        remove(&folder.path().join("a.csv")).unwrap();
        assert_eq!(names(folder.path()), ["b.csv"]);
        remove(&folder.path().join("a.csv")).unwrap();
        assert!(remove(&folder.path().join("nowhere/a.csv")).is_err());
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_stays_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        AtomicFile::write(&link, b"new").unwrap();
        assert!(link.is_symlink() && std::fs::read(&target).unwrap() == b"new");
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [Path::new("/dev/null"), &socket, folder.path(), &dangling] {
            assert!(AtomicFile::check(path).is_err(), "{}", path.display());
            assert!(AtomicFile::write(path, b"x").is_err(), "{}", path.display());
        }
        assert!(!std::fs::metadata(&socket).unwrap().is_file() && dangling.is_symlink());
        assert_eq!(names(folder.path()).len(), 4);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let message = AtomicFile::write(&file.join("x"), b"").unwrap_err().to_string();
        assert!(message.contains("file/x") && message.contains("--out"), "{message}");
    }
}
