//! Which board is meant: this machine, or a tree of files.

use crate::board::services::{NoServices, Services, Systemd};
use crate::board::session::STATE_FOLDER;
use crate::board::tree::{FileTree, RealTree};
use anyhow::Context as _;
use clap::Args;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a board is called that is no profile.
const JETSON: &str = "jetson";

/// The profile of the board that is simulated when nothing else is said.
pub const DEFAULT_PROFILE: &str = "models/boards/agx-orin-hf.toml";

/// `--board`: a profile, by its file or as `sim`, or the word `jetson`; a file of that name is `./jetson`.
#[expect(clippy::unnecessary_wraps, reason = "clap asks for a result")]
pub fn board_or_profile(text: &str) -> Result<PathBuf, Infallible> {
    Ok(if text == "sim" { DEFAULT_PROFILE } else { text }.into())
}

/// `--board` where only a simulated one will do: a profile, by its file or as `sim`.
pub fn profile_only(text: &str) -> Result<PathBuf, &'static str> {
    let Ok(board) = board_or_profile(text);
    if is_jetson(&board) {
        return Err(
            "this command needs a board that can be set back, which a real one cannot; give a profile, for instance one that \
             `calibrate` has made of a sweep on the board",
        );
    }
    Ok(board)
}

/// The real board is meant.
#[must_use]
pub fn is_jetson(board: &Path) -> bool {
    board.as_os_str() == JETSON
}

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
