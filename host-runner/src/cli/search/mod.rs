//! `energyllm search`: find a good setting in few evaluations.

mod live;
mod replay;

use super::{Format, Outcome};
use clap::Subcommand;

/// Find a good setting of a board in few evaluations.
#[derive(Debug, Subcommand)]
pub enum Command {
    Live(live::Arguments),
    Replay(replay::Arguments),
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Live(live) => live::run(live, format),
        Command::Replay(replay) => replay::run(replay, format),
    }
}
