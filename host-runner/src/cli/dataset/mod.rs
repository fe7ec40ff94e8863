//! `energyllm dataset`: grids and prompts.

mod convert;
mod stats;
mod synth_entropy;

use super::{Format, Outcome};
use clap::{Args, Subcommand};

/// Look at a grid, add synthetic entropy to one, or make prompts of a published data set.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Stats(stats::Arguments),
    SynthEntropy(synth_entropy::Arguments),
    Convert(convert::Arguments),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.what {
        What::Stats(stats) => stats::run(stats, format),
        What::SynthEntropy(synth) => synth_entropy::run(synth, format),
        What::Convert(convert) => convert::run(convert, format),
    }
}
