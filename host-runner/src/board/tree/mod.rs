//! The files through which a board is read and written, behind a trait with an injected root.
//!
//! Paths are absolute, as on the board (`/sys/class/devfreq`), wherever the tree really lies:
//! [`RealTree`] maps them below its root, [`CapturedTree`] finds them in a JSON file. A symbolic
//! link with an absolute target points into the same tree, never out of it.

mod captured;
mod patient;
mod real;

pub use captured::{CaptureError, CapturedTree};
pub use patient::PatientTree;
pub use real::RealTree;

use rustix::io::Errno;
use std::path::{Component, Path, PathBuf};

/// What Linux says when a chain of links does not end.
const MOST_LINKS: u32 = 40;

/// A tree of small text files. Object-safe; every method may be called from several threads.
///
/// A call may block as long as the driver behind the file does: who must not wait reads in a
/// thread of its own ([`telemetry`](crate::board::telemetry)) or through a [`PatientTree`].
pub trait FileTree: Send + Sync {
    /// Reads the file from its start into `buffer` and says how many bytes there were; a longer
    /// file is cut at the end of the buffer. Symbolic links are followed.
    fn read(&self, path: &Path, buffer: &mut [u8]) -> Result<usize, TreeError>;

    /// Writes `text` in one call, without a line feed, and closes the file. It must exist.
    /// Symbolic links are followed.
    fn write(&self, path: &Path, text: &str) -> Result<(), TreeError>;

    /// Names of what lies in a folder, in any order. Symbolic links are followed.
    fn list(&self, folder: &Path) -> Result<Vec<String>, TreeError>;

    /// Target of the symbolic link at `path`, as it is written there; the folders above `path`
    /// must be free of links. Anything but a link is `Io(EINVAL)`, as `readlink` says it.
    fn link(&self, path: &Path) -> Result<PathBuf, TreeError>;

    /// Something lies at `path`, links followed. True also for what cannot be read.
    fn exists(&self, path: &Path) -> bool;
}

/// What a call on a tree came to. Small and without a path, because a sensor without power fails
/// at every sample; [`FileError`] has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// ENOENT or ENOTDIR.
    #[error("there is no such file")]
    NotFound,
    /// EAGAIN: a sensor without power, or a driver that is not ready. Not to be retried at once.
    #[error("it has no value now (EAGAIN)")]
    Again,
    /// EACCES or EPERM.
    #[error("access is denied; run as root, or let the file's group write it")]
    Denied,
    /// A call has not returned in its time ([`PatientTree`]).
    #[error("the driver does not answer")]
    Hangs,
    /// Any other error number.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Io(
        /// The error number of the system.
        i32,
    ),
}

impl TreeError {
    /// The error number of the system.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NotFound => Errno::NOENT.raw_os_error(),
            Self::Again => Errno::AGAIN.raw_os_error(),
            Self::Denied => Errno::ACCESS.raw_os_error(),
            Self::Hangs => Errno::TIMEDOUT.raw_os_error(),
            Self::Io(number) => number,
        }
    }
}

impl From<Errno> for TreeError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR => Self::NotFound,
            Errno::AGAIN => Self::Again,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            other => Self::Io(other.raw_os_error()),
        }
    }
}

impl From<std::io::Error> for TreeError {
    fn from(error: std::io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

/// A file of a tree and what went wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {cause}", path = path.display())]
pub struct FileError {
    /// The file, as the tree names it.
    pub path: PathBuf,
    /// What went wrong.
    pub cause: TreeError,
}

/// The path behind all links, with `.` and `..` gone; the same for two ways to one file.
///
/// Of a path that does not exist, the part that does is resolved.
pub fn resolve(tree: &dyn FileTree, path: &Path) -> Result<PathBuf, TreeError> {
    let mut done = PathBuf::from("/");
    let mut rest: Vec<_> = steps(path);
    let mut links = 0;
    while let Some(step) = rest.pop() {
        if step == ".." {
            done.pop();
            continue;
        }
        done.push(&step);
        let Ok(target) = tree.link(&done) else { continue };
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        done.pop();
        if target.has_root() {
            done = PathBuf::from("/");
        }
        rest.extend(steps(&target));
    }
    Ok(done)
}

/// The steps of a path, last one first.
fn steps(path: &Path) -> Vec<std::ffi::OsString> {
    let step = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

#[cfg(test)]
mod tests;
