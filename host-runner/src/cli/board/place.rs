//! Which board is meant: this machine, or a tree of files.

use crate::board::services::{NoServices, Services, Systemd};
use crate::board::session::STATE_FOLDER;
use crate::board::tree::{FileTree, RealTree};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the board's files are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Folder in which the board's files lie, for trees that are not this machine. Services of this machine are then
    /// left alone.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Folder for the lock and for the board's state while it is changed. Default: run/energyllm below the root.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl Place {
    /// The board's files.
    pub fn tree(&self) -> anyhow::Result<Arc<dyn FileTree>> {
        let tree = RealTree::new(&self.root);
        let tree = tree.with_context(|| format!("cannot open the board's files below {}", self.root.display()))?;
        Ok(Arc::new(tree))
    }

    /// The board's services.
    #[must_use]
    pub fn services(&self) -> Arc<dyn Services> {
        if self.is_this_machine() { Arc::new(Systemd) } else { Arc::new(NoServices) }
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        let below = || self.root.join(STATE_FOLDER.trim_start_matches('/'));
        self.state.clone().unwrap_or_else(below)
    }

    /// The board is the machine that this program runs on.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A file of the board as this machine finds it.
    #[must_use]
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}
