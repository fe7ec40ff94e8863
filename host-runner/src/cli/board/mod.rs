//! `energyllm board`: what the board is and what it says.

mod info;
mod watch;

use super::{Format, Outcome};
use crate::board::survey::Place;
use crate::board::tree::RealTree;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::sync::Arc;

/// Look at the board: what was found, from where, and what it says. Nothing is written.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Info(info::Info),
    Watch(watch::Watch),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.what {
        What::Info(options) => info::run(options, format),
        What::Watch(options) => watch::run(options, format),
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
