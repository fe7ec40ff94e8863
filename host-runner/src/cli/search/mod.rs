//! `energyllm search`: find a good setting in few evaluations.

mod replay;

use super::{Format, Outcome};
use clap::{Args, Subcommand};

/// Find a good setting of a board in few evaluations.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    Replay(replay::Arguments),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.how {
        How::Replay(replay) => replay::run(replay, format),
    }
}
