//! Files that exist whole or not at all: written under a temporary name in the same folder, then
//! renamed.

use std::io::Write;
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
        let failed = |source| AtomicFileError { path: path.into(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Temporary files are private by default; results are for everyone to read.
        let readable = std::fs::Permissions::from_mode(0o644);
        let file = tempfile::Builder::new().prefix(".partial-").permissions(readable).tempfile_in(folder);
        Ok(Self { file: std::io::BufWriter::new(file.map_err(failed)?), path: path.into() })
    }

    /// Writes a whole file at once.
    pub fn write(path: &Path, bytes: &[u8]) -> Result<(), AtomicFileError> {
        let mut file = Self::create(path)?;
        file.write_all(bytes).map_err(|source| AtomicFileError { path: path.into(), source })?;
        file.commit()
    }

    /// Gives the file its name.
    pub fn commit(self) -> Result<(), AtomicFileError> {
        let Self { file, path } = self;
        let failed = |source| AtomicFileError { path: path.clone(), source };
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_before_the_commit_and_nothing_is_left_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/result.txt");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        AtomicFile::write(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
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
