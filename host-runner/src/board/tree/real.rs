//! A tree in a real folder: `/` on a board, a temporary folder in a test.

use super::{FileTree, TreeError, resolve};
use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The files below a folder. Nothing outside it is ever opened: absolute links and `..` stay
/// inside, as after `chroot`.
///
/// A read costs three system calls and no allocation.
#[derive(Debug)]
pub struct RealTree {
    root: OwnedFd,
    /// The root is `/`: the system resolves links as we would.
    whole: bool,
}

impl RealTree {
    /// The tree of this machine.
    pub fn system() -> Result<Self, TreeError> {
        Self::new(Path::new("/"))
    }

    /// The tree below a folder that must exist.
    pub fn new(root: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_folder = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        Ok(Self { root: root_folder, whole: root == Path::new("/") })
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, TreeError> {
        let flags = flags | OFlags::CLOEXEC;
        let inside = below(path);
        if self.whole {
            return Ok(rustix::fs::openat(&self.root, inside, flags, Mode::empty())?);
        }
        match rustix::fs::openat2(&self.root, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(file) => Ok(file),
            // Kernels before 5.6 (JetPack 4 has 4.9) and some sandboxes lack the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                let resolved = resolve(self, path)?;
                Ok(rustix::fs::openat(&self.root, below(&resolved), flags | OFlags::NOFOLLOW, Mode::empty())?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The path as it counts from the root.
fn below(path: &Path) -> &Path {
    let below = path.strip_prefix("/").unwrap_or(path);
    if below.as_os_str().is_empty() { Path::new(".") } else { below }
}

impl FileTree for RealTree {
    fn read(&self, path: &Path, buffer: &mut [u8]) -> Result<usize, TreeError> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut length = 0;
        while length < buffer.len() {
            match rustix::io::read(&file, &mut buffer[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(length)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), TreeError> {
        // A regular file of a test is cut first; sysfs ignores the flag.
        let file = self.open(path, OFlags::WRONLY | OFlags::TRUNC)?;
        loop {
            match rustix::io::write(&file, text.as_bytes()) {
                Ok(written) if written == text.len() => return Ok(()),
                // A second write would be a second command to the driver.
                Ok(_) => return Err(Errno::IO.into()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, TreeError> {
        let folder = self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, TreeError> {
        let target = rustix::fs::readlinkat(&self.root, below(path), Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
    }

    fn exists(&self, path: &Path) -> bool {
        match self.open(path, OFlags::PATH) {
            Ok(_) => true,
            Err(error) => matches!(error, TreeError::Denied | TreeError::Again),
        }
    }
}
