//! `energyllm llm`: early exit by itself, without a board or a governor.

mod check;

use super::{Format, Outcome};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Check and measure early exit of a model, without a board.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Check(check::Arguments),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.what {
        What::Check(check) => check::run(check, format),
    }
}

/// The file name of a model, as it stands in tables.
fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The models that come with the program.
fn shipped() -> Vec<PathBuf> {
    ["f16", "q8_0"].map(|kind| PathBuf::from(format!("models/tiny-llama/tiny-llama-{kind}.gguf"))).into()
}
