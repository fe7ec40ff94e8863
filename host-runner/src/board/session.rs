//! A board under our control: locked, its state kept, and given back when the session ends, however it ends.
//!
//! ```text
//! lock -> give back what a dead session left -> read the state -> keep it on disk -> open the gate
//!   ... writes ...
//! release (the end, an error, a panic, a signal): close the gate -> give back -> forget the state
//! ```
//!
//! After SIGKILL or a power cut `energyllm board restore` does the second step alone.

use super::baseline::{Baseline, BaselineError, GpuRange};
use super::discover::Found;
use super::gate::{Closed, Gate};
use super::lock::{Lock, LockError};
use super::power_mode;
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
    /// The power mode was not changed.
    #[error("the power mode {name} cannot be set: {cause}. Names are in /etc/nvpmodel.conf (grep POWER_MODEL)")]
    PowerMode {
        /// What was asked for.
        name: String,
        /// What went wrong.
        cause: String,
    },
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
    /// What the GPU's clock may be: that of the baseline, or of the power mode that was set since.
    range: Mutex<Option<GpuRange>>,
    restored: Mutex<Option<Restored>>,
    /// `None` in a dry run, and when the board has been given back.
    lock: Mutex<Option<Lock>>,
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
        let leftover = if apply { restore::give_back_kept(tree, services.as_ref(), state)? } else { None };
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
            range: Mutex::new(baseline.gpu.clone()),
            baseline: Mutex::new(baseline),
            restored: Mutex::new(None),
            lock: Mutex::new(lock),
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

    /// Sets another power mode for the length of the session. It is checked whether that really happened, and
    /// what the mode says about the clocks is what may be used from now on.
    pub fn change_power_mode(&self, found: &Found, name: &str) -> Result<(), SessionError> {
        let failed = |cause: String| SessionError::PowerMode { name: name.to_owned(), cause };
        let tree = self.gate.tree();
        let before = found.mode.as_ref().map_err(|missing| failed(missing.to_string()))?;
        let id = power_mode::number_of(tree, name).ok_or_else(|| failed("the board has no such mode".to_owned()))?;
        if before.id == id {
            return Ok(());
        }
        // Kept before it is changed, as everything.
        self.rebase(|baseline| baseline.power_mode = Some(before.id))?;
        let set = self.gate.pass(|_| self.services.set_power_mode(id)).map_err(|error| failed(error.to_string()))?;
        set.unwrap_or(Ok(())).map_err(|error| failed(error.to_string()))?;
        let now = Found::discover(tree);
        if now.mode.as_ref().ok().map(|mode| mode.id) != Some(id) {
            return Err(failed("it asks for a reboot, or was refused; set it by hand".to_owned()));
        }
        let gpu = snapshot::take(tree, &now, self.services.as_ref())?.gpu;
        self.range.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&gpu);
        Ok(())
    }

    /// The range that the controller may move in, as the power mode sets it.
    #[must_use]
    pub fn range(&self) -> Option<GpuRange> {
        self.range.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the board as it is now. Its state stays kept: `energyllm board restore` gives it back.
    pub fn leave(self) {
        let _ = self.gate.close(restore::PATIENCE);
    }

    /// Gives the board back and then the lock, once; callers that come meanwhile wait until that is done, so whoever has called
    /// this may end the program: nothing of the session is left, whichever thread still holds it. What could not
    /// be given back stays kept for `energyllm board restore`, and the lock is held for as long as the session lives.
    pub fn release(&self) -> Restored {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.gate.close(restore::PATIENCE);
        if closed != Closed::Before {
            let mut outcome = restore::give_back(self.gate.shared_tree(), self.services.as_ref(), &self.baseline());
            if closed == Closed::NotQuite {
                outcome.failed.push(
                    "a write of the run has not returned from its driver, and may still take effect; give the board back once \
                     more when it has: `energyllm board restore`"
                        .to_owned(),
                );
            }
            if outcome.is_complete() {
                if let Err(error) = Baseline::discard(&self.state) {
                    outcome.notes.push(error.to_string());
                }
                drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
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
