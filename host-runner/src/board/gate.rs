//! The one door through which a board is written. It is closed before the board is given back, so
//! that nothing that is still under way can change it afterwards.

use super::tree::{FileTree, TreeError};
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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

/// A tree and the door to it. Reads are free.
pub struct Gate {
    tree: Arc<dyn FileTree>,
    door: Mutex<Door>,
}

impl Gate {
    /// A door that lets writes through, or with `apply` false only looks at them.
    #[must_use]
    pub fn new(tree: Arc<dyn FileTree>, apply: bool) -> Self {
        Self { tree, door: Mutex::new(if apply { Door::Open } else { Door::DryRun }) }
    }

    /// The tree behind the door.
    #[must_use]
    pub fn tree(&self) -> &dyn FileTree {
        self.tree.as_ref()
    }

    /// Writes a file, as long as the door is open. It cannot be closed meanwhile.
    pub fn write(&self, path: &Path, text: &str) -> Result<Passed, GateError> {
        match self.pass(|tree| tree.write(path, text))? {
            Some(outcome) => outcome.map(|()| Passed::Written).map_err(GateError::Tree),
            None => Ok(Passed::DryRun),
        }
    }

    /// Does something to the board, as long as the door is open; nothing in a dry run. The door cannot be
    /// closed meanwhile.
    pub fn pass<R>(&self, act: impl FnOnce(&dyn FileTree) -> R) -> Result<Option<R>, GateError> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        match *door {
            Door::Closed => Err(GateError::Closed),
            Door::DryRun => Ok(None),
            Door::Open => Ok(Some(act(self.tree.as_ref()))),
        }
    }

    /// Writes go through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) == Door::Open
    }

    /// Closes the door for good; true when it was open, so that the board has to be given back.
    pub fn close(&self) -> bool {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *door, Door::Closed) == Door::Open
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
        f.debug_struct("Gate").field("door", &self.door).finish_non_exhaustive()
    }
}
