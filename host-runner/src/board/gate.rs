//! The one door through which a board is written. It is closed before the board is given back, so
//! that nothing that is still under way can change it afterwards.

use super::tree::{FileTree, TreeError};
use rustix::io::Errno;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whether writes go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    DryRun,
    Open,
    Closed,
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It was made.
    Written,
    /// It would have been made, but this is a dry run.
    DryRun,
}

/// Why a write did not reach the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The board has been given back.
    #[error("the board has been given back; nothing is written any more")]
    Closed,
    /// The board said no.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// How the door was found when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It let nothing through, or was closed already: there is nothing to give back.
    Before,
    /// It was open, and whoever was on the way through has come out.
    Now,
    /// It was open, and somebody is still on the way through: a driver hangs, and what was written may happen later.
    NotQuite,
}

/// A tree and the door to it. Reads are free.
pub struct Gate {
    tree: Arc<dyn FileTree>,
    hall: Mutex<Hall>,
    /// Somebody has come out.
    out: Condvar,
    fan_is_ours: AtomicBool,
}

struct Hall {
    door: Door,
    /// On their way through.
    inside: u32,
}

impl Gate {
    /// A door that lets writes through, or with `apply` false only looks at them.
    #[must_use]
    pub fn new(tree: Arc<dyn FileTree>, apply: bool) -> Self {
        let door = if apply { Door::Open } else { Door::DryRun };
        Self {
            tree,
            hall: Mutex::new(Hall { door, inside: 0 }),
            out: Condvar::new(),
            fan_is_ours: AtomicBool::new(false),
        }
    }

    /// The tree behind the door.
    #[must_use]
    pub fn tree(&self) -> &dyn FileTree {
        self.tree.as_ref()
    }

    /// The same, shared.
    #[must_use]
    pub const fn shared_tree(&self) -> &Arc<dyn FileTree> {
        &self.tree
    }

    /// The fan was taken from its vendor on this side of the door: whoever drives it next must go on with it, since the vendor does
    /// not look after it any more.
    #[must_use]
    pub fn fan_is_ours(&self) -> bool {
        self.fan_is_ours.load(Ordering::Relaxed)
    }

    /// Notes that.
    pub fn take_fan(&self) {
        self.fan_is_ours.store(true, Ordering::Relaxed);
    }

    /// Writes a file, as long as the door is open.
    pub fn write(&self, path: &Path, text: &str) -> Result<Passed, GateError> {
        match self.pass(|tree| tree.write(path, text))? {
            Some(outcome) => outcome.map(|()| Passed::Written).map_err(GateError::Tree),
            None => Ok(Passed::DryRun),
        }
    }

    /// Does something to the board, as long as the door is open; nothing in a dry run.
    pub fn pass<R>(&self, act: impl FnOnce(&dyn FileTree) -> R) -> Result<Option<R>, GateError> {
        let mut hall = self.hall();
        match hall.door {
            Door::Closed => return Err(GateError::Closed),
            Door::DryRun => return Ok(None),
            Door::Open => hall.inside += 1,
        }
        drop(hall);
        let _out = ComesOut(self);
        Ok(Some(act(self.tree.as_ref())))
    }

    /// Writes go through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.hall().door == Door::Open
    }

    /// Closes the door for good, and waits for `patience` for those who are on their way through.
    pub fn close(&self, patience: Duration) -> Closed {
        let mut hall = self.hall();
        if std::mem::replace(&mut hall.door, Door::Closed) != Door::Open {
            return Closed::Before;
        }
        let waited = self.out.wait_timeout_while(hall, patience, |hall| hall.inside > 0);
        let (hall, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if hall.inside == 0 { Closed::Now } else { Closed::NotQuite }
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts somebody out, whatever happens inside.
struct ComesOut<'a>(&'a Gate);

impl Drop for ComesOut<'_> {
    fn drop(&mut self) {
        self.0.hall().inside -= 1;
        self.0.out.notify_all();
    }
}

/// The error of a driver that goes away by itself: not ready, busy, or (upper clock bound before the
/// kernel has registered it) EINVAL.
#[must_use]
pub fn is_passing(error: TreeError) -> bool {
    let io = |errno: Errno| TreeError::Io(errno.raw_os_error());
    [TreeError::Again, io(Errno::INVAL), io(Errno::BUSY)].contains(&error)
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("door", &self.hall().door).finish_non_exhaustive()
    }
}
