//! The command line: one file per command.
//!
//! Results go to stdout, as tables for people or, with `--json`, as one object for machines;
//! progress and logs go to stderr. Exit codes: 0 done, 1 a result or verification failed, 2 usage
//! or environment, 130 stopped by Ctrl-C, SIGTERM or SIGHUP before the end.

mod bench;
mod board;
mod calibrate;
mod commissioned;
mod dataset;
mod eval;
mod fan;
mod firmware;
mod freeze;
mod interrupt;
mod llm;
mod output;
mod overhead;
mod plot;
mod run;
mod search;
mod sweep;
mod train;
mod verify;
mod world;

use clap::{Parser, Subcommand};
pub use output::Format;
use std::process::ExitCode;

/// The energy controller for LLM inference on edge devices.
#[derive(Debug, Parser)]
#[command(name = "energyllm", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object on stdout instead of tables (docs/json.md).
    #[arg(long, global = true)]
    json: bool,
    /// More messages on stderr; give it twice for llama.cpp's own log.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Arguments>),
    #[command(subcommand)]
    Train(train::Command),
    Freeze(freeze::Arguments),
    Eval(eval::Arguments),
    #[command(subcommand)]
    Search(search::Command),
    Sweep(sweep::Arguments),
    Calibrate(calibrate::Arguments),
    #[command(subcommand)]
    Verify(verify::Command),
    #[command(subcommand)]
    Bench(bench::Command),
    #[command(subcommand)]
    Board(board::Command),
    #[command(subcommand)]
    Llm(llm::Command),
    #[command(subcommand)]
    Fan(fan::Command),
    Plot(plot::Arguments),
    #[command(subcommand)]
    Dataset(dataset::Command),
    Overhead(overhead::Arguments),
    #[command(subcommand)]
    Firmware(firmware::Command),
}

/// How a command ended, when nothing went wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything holds.
    Passed,
    /// The command did its work, and the result is that something does not hold.
    Failed,
    /// A signal stopped it before the end; what it had done is kept.
    Interrupted,
}

impl Outcome {
    /// Of a command that may have been stopped: what was left undone weighs more than what the part that was done says.
    const fn of(pass: bool, interrupted: bool) -> Self {
        match (interrupted, pass) {
            (true, _) => Self::Interrupted,
            (false, true) => Self::Passed,
            (false, false) => Self::Failed,
        }
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.verbose);
    let format = if arguments.json { Format::Json } else { Format::Text };
    let result = match &arguments.command {
        Command::Run(run) => run::run(run, format),
        Command::Train(train) => train::run(train, format),
        Command::Freeze(freeze) => freeze::run(freeze, format),
        Command::Eval(eval) => eval::run(eval, format),
        Command::Search(search) => search::run(search, format),
        Command::Sweep(sweep) => sweep::run(sweep, format),
        Command::Calibrate(calibrate) => calibrate::run(calibrate, format),
        Command::Verify(verify) => verify::run(verify, format),
        Command::Bench(bench) => bench::run(bench, format),
        Command::Board(board) => board::run(board, format),
        Command::Llm(llm) => llm::run(llm, format),
        Command::Fan(fan) => fan::run(fan, format),
        Command::Plot(plot) => plot::run(plot, format),
        Command::Dataset(dataset) => dataset::run(dataset, format),
        Command::Overhead(overhead) => overhead::run(overhead, format),
        Command::Firmware(firmware) => firmware::run(firmware, format),
    };
    match result {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            output::note(&format!("energyllm: {}", sentence(&error)));
            ExitCode::from(2)
        }
    }
}

/// An error with its causes. Most errors name their cause themselves: it is not said twice.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "warn,llama-cpp-2=error",
        1 => "info,llama-cpp-2=error",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second subscriber can only come from a caller of the library that has set one already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .try_init();
}
