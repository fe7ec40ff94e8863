//! `energyllm board`: what the board is, what it says, what is wrong with it, and giving it back.

pub mod doctor;
mod info;
pub mod place;
pub mod real;
pub mod restore;
mod watch;
pub mod work;

use super::{Format, Outcome};
use crate::board::survey::Place;
use crate::board::tree::RealTree;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::sync::Arc;

/// Look at the board, see what is wrong with it, give it back. Only `restore` writes to it.
#[derive(Debug, Subcommand)]
pub enum Command {
    Info(info::Info),
    Watch(watch::Watch),
    Doctor(doctor::Arguments),
    Restore(restore::Arguments),
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Info(options) => info::run(options, format),
        Command::Watch(options) => watch::run(options, format),
        Command::Doctor(options) => doctor::run(options, format),
        Command::Restore(options) => restore::run(options, format),
    }
}

/// Where the files of the board are.
#[derive(Clone, Debug, Args)]
pub struct Root {
    /// Folder below which /sys, /proc and /etc are looked for, for captured boards.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

impl Root {
    /// The tree below the folder.
    pub fn place(&self) -> anyhow::Result<Place> {
        let tree = RealTree::new(&self.root).with_context(|| format!("cannot look below {}", self.root.display()))?;
        Ok(Place { tree: Arc::new(tree), is_this_machine: self.root == std::path::Path::new("/") })
    }
}
