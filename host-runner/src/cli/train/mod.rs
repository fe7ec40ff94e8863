//! `energyllm train`: teach a policy.

mod losses;
mod online;
mod pretrain;
mod real;
mod resume;

use super::{Format, Outcome};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Train a policy with GRPO.
///
/// Every training writes checkpoints as it goes, from which `train resume` goes on bit for bit as if it had not been
/// interrupted; a CSV log of its losses, a figure of them, and a manifest lie beside the checkpoint (docs/training.md).
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    Pretrain(pretrain::Arguments),
    Online(Box<online::Arguments>),
    Resume(resume::Arguments),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.how {
        How::Pretrain(pretrain) => pretrain::run(pretrain, format),
        How::Online(online) => online::run(online, format),
        How::Resume(resume) => resume::run(resume, format),
    }
}

/// The files of a training, all named after its checkpoint.
#[derive(Clone, Debug)]
struct Files {
    checkpoint: PathBuf,
}

impl Files {
    fn beside(checkpoint: &Path) -> Self {
        Self { checkpoint: checkpoint.to_owned() }
    }

    fn losses(&self) -> PathBuf {
        self.checkpoint.with_extension("losses.csv")
    }

    fn figure(&self) -> PathBuf {
        self.checkpoint.with_extension("losses.png")
    }

    fn episodes(&self) -> PathBuf {
        self.checkpoint.with_extension("episodes.csv")
    }

    fn manifest(&self) -> PathBuf {
        self.checkpoint.with_extension("manifest.json")
    }
}

/// Ctrl-C ends a training after the round that is under way, with a checkpoint.
fn interruption() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    // Fails only when somebody else listens already; then Ctrl-C ends the program at once, as ever.
    let _ = ctrlc::set_handler(move || set.store(true, Ordering::Relaxed));
    flag
}

fn within(name: &str, value: usize, low: usize, high: usize) -> anyhow::Result<()> {
    anyhow::ensure!((low..=high).contains(&value), "{name} must lie between {low} and {high}, not {value}");
    Ok(())
}
