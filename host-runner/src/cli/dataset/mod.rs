//! `energyllm dataset`: grids and prompts.

mod convert;
mod stats;
mod synth_entropy;

use super::{Format, Outcome};
use clap::Subcommand;
use std::path::Path;

/// Look at a grid, add synthetic entropy to one, or make prompts of a published data set.
#[derive(Debug, Subcommand)]
pub enum Command {
    Stats(stats::Arguments),
    SynthEntropy(synth_entropy::Arguments),
    Convert(convert::Arguments),
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Stats(stats) => stats::run(stats, format),
        Command::SynthEntropy(synth) => synth_entropy::run(synth, format),
        Command::Convert(convert) => convert::run(convert, format),
    }
}

/// Refuses to write over what is read, under whatever name.
fn keep(input: &Path, out: &Path) -> anyhow::Result<()> {
    let place = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    anyhow::ensure!(place(input) != place(out), "{} is not overwritten; name another file with --out", input.display());
    Ok(())
}
