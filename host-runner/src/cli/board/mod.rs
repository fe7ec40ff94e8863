//! `energyllm board`: a real board.

pub mod doctor;
pub mod place;
pub mod restore;

use super::{Format, Outcome};
use clap::{Args, Subcommand};

/// Look at a real board, see what is wrong with it, give it back.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Doctor(doctor::Arguments),
    Restore(restore::Arguments),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.what {
        What::Doctor(doctor) => doctor::run(doctor, format),
        What::Restore(restore) => restore::run(restore, format),
    }
}
