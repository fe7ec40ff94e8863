//! A board under our control: locked, its state kept, and given back when the session ends, however it ends.
//!
//! ```text
//! lock -> give back what a dead session left -> read the state -> keep it on disk -> open the gate
//!   ... writes ...
//! release (the end, an error, a panic, a signal): close the gate -> give back -> forget the state
//! ```
//!
//! After SIGKILL or a power cut `energyllm board restore` does the second step alone.

use super::baseline::{Baseline, BaselineError};
use super::discover::Found;
use super::gate::Gate;
use super::lock::{Lock, LockError};
use super::restore::{self, Restored};
use super::services::Services;
use super::snapshot;
use super::tree::{FileError, FileTree};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the state of a board is kept while it is changed, as the board names it. It lies in memory on
/// most systems, which is right: the settings do not outlive a power cut either.
pub const STATE_FOLDER: &str = "/run/energyllm";

/// Why a board cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Somebody else has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its state cannot be kept.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// Its state cannot be read.
    #[error("cannot read the board's state: {0}; nothing was changed. `energyllm board doctor` says more")]
    Read(#[from] FileError),
    /// A session before this one died, and what it left cannot be given back.
    #[error("an earlier run was killed, and the board cannot be given back: {0}; mend that first")]
    Leftover(String),
}

/// A board that was taken over, or in a dry run only looked at.
#[derive(Debug)]
pub struct Session {
    gate: Arc<Gate>,
    services: Arc<dyn Services>,
    state: PathBuf,
    baseline: Mutex<Baseline>,
    restored: Mutex<Option<Restored>>,
    /// `None` in a dry run.
    _lock: Option<Lock>,
}

impl Session {
    /// Takes a board over. Without `apply` nothing is written, neither to the board nor to the state
    /// folder. Returns what an earlier, dead session had left and was given back now.
    pub fn open(
        tree: &Arc<dyn FileTree>,
        services: Arc<dyn Services>,
        state: &Path,
        found: &Found,
        apply: bool,
    ) -> Result<(Self, Option<Restored>), SessionError> {
        let lock = if apply { Some(Lock::take(state)?) } else { None };
        let leftover = if apply { restore::give_back_kept(tree.as_ref(), services.as_ref(), state)? } else { None };
        if let Some(incomplete) = leftover.as_ref().filter(|leftover| !leftover.is_complete()) {
            return Err(SessionError::Leftover(incomplete.failed.join("; ")));
        }
        let baseline = snapshot::take(tree.as_ref(), found, services.as_ref())?;
        if apply {
            baseline.save(state)?;
        }
        let session = Self {
            gate: Arc::new(Gate::new(Arc::clone(tree), apply)),
            services,
            state: state.to_owned(),
            baseline: Mutex::new(baseline),
            restored: Mutex::new(None),
            _lock: lock,
        };
        Ok((session, leftover))
    }

    /// The door through which the board is written.
    #[must_use]
    pub const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Services that drive the same knobs.
    #[must_use]
    pub const fn services(&self) -> &Arc<dyn Services> {
        &self.services
    }

    /// What will be given back.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        self.baseline.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody with the right to it has changed the board for good (another power mode): from now on
    /// that is what will be given back.
    pub fn rebase(&self, change: impl FnOnce(&mut Baseline)) -> Result<(), BaselineError> {
        let mut baseline = self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = baseline.clone();
        change(&mut changed);
        if self.gate.is_open() {
            changed.save(&self.state)?;
        }
        *baseline = changed;
        Ok(())
    }

    /// Leaves the board as it is now. Its state stays kept: `energyllm board restore` gives it back.
    pub fn leave(self) {
        self.gate.close();
    }

    /// Gives the board back, once; callers that come meanwhile wait until that is done. What could not
    /// be given back stays kept for `energyllm board restore`.
    pub fn release(&self) -> Restored {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        if self.gate.close() {
            let mut outcome = restore::give_back(self.gate.tree(), self.services.as_ref(), &self.baseline());
            if outcome.is_complete()
                && let Err(error) = Baseline::discard(&self.state)
            {
                outcome.notes.push(error.to_string());
            }
            *restored = Some(outcome);
        }
        restored.clone().unwrap_or_default()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.release();
    }
}
