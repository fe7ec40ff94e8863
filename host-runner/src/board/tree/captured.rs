//! A tree that was captured into a JSON file: `{"files": {path: content}, "links": {path: target},
//! "errors": {path: name of the error on read}}`. It cannot be written.

use super::{FileTree, TreeError, resolve};
use crate::input_file;
use rustix::io::Errno;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A captured tree in memory.
#[derive(Clone, Debug, Default)]
pub struct CapturedTree {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Fails(TreeError),
    Link(PathBuf),
    Folder(BTreeSet<String>),
}

/// Why a captured tree cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not the format of a captured tree.
    #[error(
        "not a captured tree ({0}); it needs the objects files, links and errors, each from an absolute path to a text"
    )]
    Format(#[from] serde_json::Error),
    /// A path that does not begin at the root.
    #[error("the path {0:?} is not absolute; a captured tree counts from /")]
    Relative(PathBuf),
    /// A file that is a folder as well.
    #[error("{0:?} is a file and a folder at once; drop one of them")]
    Both(PathBuf),
}

#[derive(Deserialize)]
struct Layout {
    #[serde(default)]
    files: BTreeMap<PathBuf, String>,
    #[serde(default)]
    links: BTreeMap<PathBuf, PathBuf>,
    #[serde(default)]
    errors: BTreeMap<PathBuf, String>,
}

impl CapturedTree {
    /// Reads a captured tree from a file.
    pub fn load(path: &Path) -> Result<Self, CaptureError> {
        let text = input_file::read_text(path).map_err(|cause| CaptureError::Read { path: path.to_owned(), cause })?;
        Self::parse(&text)
    }

    /// Reads a captured tree from JSON.
    pub fn parse(json: &str) -> Result<Self, CaptureError> {
        let layout: Layout = serde_json::from_str(json)?;
        let mut tree = Self::default();
        tree.nodes.insert(PathBuf::from("/"), Node::Folder(BTreeSet::new()));
        let files = layout.files.into_iter().map(|(path, text)| (path, Node::File(text.into_bytes())));
        let links = layout.links.into_iter().map(|(path, target)| (path, Node::Link(target)));
        // After the files: a file that also fails was captured from someone who could read it.
        let errors = layout.errors.into_iter().map(|(path, name)| (path, Node::Fails(errno(&name).into())));
        for (path, node) in files.chain(links).chain(errors) {
            tree.insert(&path, node)?;
        }
        Ok(tree)
    }

    /// Writes files and links into a folder, as the root of a [`RealTree`](super::RealTree). A file
    /// that fails when it is read cannot be written down and is left out.
    pub fn unpack(&self, root: &Path) -> std::io::Result<()> {
        for (path, node) in &self.nodes {
            let place = root.join(path.strip_prefix("/").unwrap_or(path));
            match node {
                Node::Folder(_) => std::fs::create_dir_all(place)?,
                Node::File(content) => std::fs::write(place, content)?,
                Node::Link(target) => std::os::unix::fs::symlink(target, place)?,
                Node::Fails(_) => {}
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, node: Node) -> Result<(), CaptureError> {
        if !path.is_absolute() {
            return Err(CaptureError::Relative(path.to_owned()));
        }
        let mut child = path;
        while let (Some(folder), Some(name)) = (child.parent(), child.file_name()) {
            match self.nodes.entry(folder.to_owned()).or_insert_with(|| Node::Folder(BTreeSet::new())) {
                Node::Folder(names) => names.insert(name.to_string_lossy().into_owned()),
                _ => return Err(CaptureError::Both(folder.to_owned())),
            };
            child = folder;
        }
        match self.nodes.insert(path.to_owned(), node) {
            Some(Node::Folder(_)) => Err(CaptureError::Both(path.to_owned())),
            _ => Ok(()),
        }
    }

    fn node(&self, path: &Path) -> Result<&Node, TreeError> {
        self.nodes.get(&resolve(self, path)?).ok_or(TreeError::NotFound)
    }
}

impl FileTree for CapturedTree {
    fn read(&self, path: &Path, buffer: &mut [u8]) -> Result<usize, TreeError> {
        match self.node(path)? {
            Node::File(content) => {
                let length = content.len().min(buffer.len());
                buffer[..length].copy_from_slice(&content[..length]);
                Ok(length)
            }
            Node::Fails(error) => Err(*error),
            Node::Folder(_) => Err(Errno::ISDIR.into()),
            Node::Link(_) => Err(Errno::LOOP.into()),
        }
    }

    fn write(&self, path: &Path, _: &str) -> Result<(), TreeError> {
        self.node(path)?;
        Err(Errno::ROFS.into())
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, TreeError> {
        match self.node(folder)? {
            Node::Folder(names) => Ok(names.iter().cloned().collect()),
            Node::Fails(error) => Err(*error),
            Node::File(_) | Node::Link(_) => Err(TreeError::NotFound),
        }
    }

    fn link(&self, path: &Path) -> Result<PathBuf, TreeError> {
        match self.nodes.get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(_) => Err(Errno::INVAL.into()),
            None => Err(TreeError::NotFound),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.node(path).is_ok()
    }
}

/// The error with this name, of those that drivers return to a reader; any other failed as well.
fn errno(name: &str) -> Errno {
    match name.trim() {
        "EAGAIN" | "EWOULDBLOCK" => Errno::AGAIN,
        "EACCES" => Errno::ACCESS,
        "EPERM" => Errno::PERM,
        "ENOENT" => Errno::NOENT,
        "ENOTDIR" => Errno::NOTDIR,
        "EINVAL" => Errno::INVAL,
        "ENODATA" => Errno::NODATA,
        "ENODEV" => Errno::NODEV,
        "ENXIO" => Errno::NXIO,
        "EBUSY" => Errno::BUSY,
        "ETIMEDOUT" => Errno::TIMEDOUT,
        "EREMOTEIO" => Errno::REMOTEIO,
        "EOPNOTSUPP" | "ENOTSUP" => Errno::OPNOTSUPP,
        "ENOSYS" => Errno::NOSYS,
        "ERANGE" => Errno::RANGE,
        "ESHUTDOWN" => Errno::SHUTDOWN,
        "ELOOP" => Errno::LOOP,
        number if number.parse::<i32>().is_ok_and(|number| number > 0) => {
            Errno::from_raw_os_error(number.parse().unwrap_or_default())
        }
        _ => Errno::IO,
    }
}
