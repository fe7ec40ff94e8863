//! `energyllm train`: teach a policy.

mod losses;
mod online;
mod pretrain;
mod real;
mod resume;

use super::{Format, Outcome};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Train a policy with GRPO.
///
/// Every training writes checkpoints as it goes, from which `train resume` goes on bit for bit as if it had not been
/// interrupted; a CSV log of its losses, a figure of them, and a manifest lie beside the checkpoint (docs/training.md).
#[derive(Debug, Subcommand)]
pub enum Command {
    Pretrain(pretrain::Arguments),
    Online(Box<online::Arguments>),
    Resume(resume::Arguments),
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Pretrain(pretrain) => pretrain::run(pretrain, format),
        Command::Online(online) => online::run(online, format),
        Command::Resume(resume) => resume::run(resume, format),
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

fn within(name: &str, value: usize, low: usize, high: usize) -> anyhow::Result<()> {
    anyhow::ensure!((low..=high).contains(&value), "{name} must lie between {low} and {high}, not {value}");
    Ok(())
}
