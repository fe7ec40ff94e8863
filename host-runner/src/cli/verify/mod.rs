//! `energyllm verify`: conformance against files of recorded truth.

mod board;
mod cases;
pub mod plant;

use super::{Format, Outcome};
use clap::{Args, Subcommand};

/// Check parts of the system against recorded truth.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Plant(plant::Plant),
    Reward(cases::Reward),
    Grpo(cases::Grpo),
    Policy(cases::Policy),
    Tegrastats(board::Tegrastats),
    Sysfs(board::Sysfs),
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.what {
        What::Plant(options) => plant::run(options, format),
        What::Reward(options) => cases::reward(options, format),
        What::Grpo(options) => cases::grpo(options, format),
        What::Policy(options) => cases::policy(options, format),
        What::Tegrastats(options) => board::tegrastats(options, format),
        What::Sysfs(options) => board::sysfs(options, format),
    }
}
