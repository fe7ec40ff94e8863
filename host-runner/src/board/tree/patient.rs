//! A tree whose calls return in time, for whoever has to go on: a file whose driver hangs costs its patience once.

use super::{FileTree, TreeError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Makes every call in a thread of its own and gives it up when it takes too long. The thread stays behind: nobody can take a
/// call back from a driver, and a write that was given up may still happen later.
pub struct PatientTree {
    inner: Arc<dyn FileTree>,
    patience: Duration,
    /// Not asked again.
    hanging: Mutex<BTreeSet<PathBuf>>,
}

impl PatientTree {
    /// The same tree, with so much patience for each call.
    #[must_use]
    pub fn new(inner: Arc<dyn FileTree>, patience: Duration) -> Self {
        Self { inner, patience, hanging: Mutex::default() }
    }

    /// What did not answer, and is not asked again.
    #[must_use]
    pub fn hanging(&self) -> Vec<PathBuf> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn call<R: Send + 'static>(
        &self,
        path: &Path,
        act: impl FnOnce(&dyn FileTree, &Path) -> Result<R, TreeError> + Send + 'static,
    ) -> Result<R, TreeError> {
        let hanging = || self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        if hanging().contains(path) {
            return Err(TreeError::Hangs);
        }
        let (sender, receiver) = sync_channel(1);
        let (tree, place) = (Arc::clone(&self.inner), path.to_owned());
        let work = move || {
            // Nobody may be listening any more.
            let _ = sender.send(act(tree.as_ref(), &place));
        };
        std::thread::Builder::new().name("patient".to_owned()).spawn(work)?;
        receiver.recv_timeout(self.patience).unwrap_or_else(|_| {
            hanging().insert(path.to_owned());
            Err(TreeError::Hangs)
        })
    }
}

impl FileTree for PatientTree {
    fn read(&self, path: &Path, buffer: &mut [u8]) -> Result<usize, TreeError> {
        let length = buffer.len();
        let bytes = self.call(path, move |tree, path| {
            let mut bytes = vec![0; length];
            let length = tree.read(path, &mut bytes)?;
            bytes.truncate(length);
            Ok(bytes)
        })?;
        let length = bytes.len().min(length);
        buffer.iter_mut().zip(&bytes).for_each(|(place, byte)| *place = *byte);
        Ok(length)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), TreeError> {
        let text = text.to_owned();
        self.call(path, move |tree, path| tree.write(path, &text))
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, TreeError> {
        self.call(folder, |tree, folder| tree.list(folder))
    }

    fn link(&self, path: &Path) -> Result<PathBuf, TreeError> {
        self.call(path, |tree, path| tree.link(path))
    }

    fn exists(&self, path: &Path) -> bool {
        self.call(path, |tree, path| Ok(tree.exists(path))).unwrap_or(false)
    }
}
