//! `energyllm search`: find a good setting in few evaluations.

mod live;
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
    Live(live::Arguments),
    Replay(replay::Arguments),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.how {
        How::Live(live) => live::run(live, format),
        How::Replay(replay) => replay::run(replay, format),
    }
}
