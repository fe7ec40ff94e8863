//! `energyllm verify`: conformance against files of recorded truth.

mod board;
mod cases;
pub mod plant;

use super::{Format, Outcome};
use clap::Subcommand;

/// Check parts of the system against recorded truth.
#[derive(Debug, Subcommand)]
pub enum Command {
    Plant(plant::Plant),
    Reward(cases::Reward),
    Grpo(cases::Grpo),
    Policy(cases::Policy),
    Tegrastats(board::Tegrastats),
    Sysfs(board::Sysfs),
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Plant(options) => plant::run(options, format),
        Command::Reward(options) => cases::reward(options, format),
        Command::Grpo(options) => cases::grpo(options, format),
        Command::Policy(options) => cases::policy(options, format),
        Command::Tegrastats(options) => board::tegrastats(options, format),
        Command::Sysfs(options) => board::sysfs(options, format),
    }
}
