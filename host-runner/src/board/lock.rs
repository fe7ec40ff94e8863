//! One controller per board: a lock that the kernel gives back when its holder dies, however it dies.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The lock of a board, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    /// The open file is the lock (flock); its content, the process that holds it, is for people only.
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process controls the board.
    #[error(
        "process {holder} controls this board already; stop it first (kill {holder}), or wait until it is done: two \
         controllers would fight over the same clocks"
    )]
    Held {
        /// Its number, or `?` when it did not say.
        holder: String,
    },
    /// The file cannot be opened.
    #[error("cannot open the lock {}: {source}; run as root, or choose a folder of yours with --state", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock, and waits for its holder for at most `patience`: one that is being killed needs a
    /// moment to die.
    pub fn wait(folder: &Path, patience: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + patience;
        loop {
            match Self::take(folder) {
                Err(LockError::Held { .. }) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                outcome => return outcome,
            }
        }
    }

    /// Takes the lock in a folder, which is made when it is missing.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let failed = |source| LockError::Open { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                return Err(LockError::Held { holder: if holder.is_empty() { "?" } else { holder }.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // A full disk must not keep anybody from restoring a board: the number is a courtesy.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_holder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("run/energyllm");
        let first = Lock::take(&state).unwrap();
        let refused = Lock::take(&state).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        Lock::take(&state).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let refused = Lock::take(&file.join("x")).unwrap_err().to_string();
        assert!(refused.contains("--state"), "{refused}");
    }
}
