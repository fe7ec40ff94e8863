//! One controller per board: a lock that the kernel gives back when its holder dies, however it dies.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The lock of a board, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    /// The open file is the lock (flock); its content, the process that holds it, is for people only.
    _file: File,
    path: PathBuf,
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
        loop {
            std::fs::create_dir_all(folder).map_err(failed)?;
            let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = match opened {
                // Its holder has just taken the folder away.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
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
            // A file that was taken away between opening and locking locks nothing.
            let ours = file.metadata().map_err(failed)?.ino();
            if !std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                continue;
            }
            // A full disk must not keep anybody from restoring a board: the number is a courtesy.
            let _ =
                file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
            return Ok(Self { _file: file, path });
        }
    }
}

impl Drop for Lock {
    /// Takes the file away, and the folder when nothing else is in it: a board is left as it was found.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_at_a_time_and_the_holder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("run/energyllm");
        let first = Lock::take(&state).unwrap();
        let refused = Lock::take(&state).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert!(!state.exists(), "nothing is left behind");
        Lock::take(&state).unwrap();
    }

    /// Threads that take and leave the lock as fast as they can, files and folders coming and going: never two at once.
    #[test]
    fn two_never_hold_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let inside = AtomicU32::new(0);
        let contend = || {
            let mut taken = 0;
            while taken < 200 {
                if let Ok(lock) = Lock::take(&state) {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                    taken += 1;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(contend);
            }
        });
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
