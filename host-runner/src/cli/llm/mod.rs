//! `energyllm llm`: early exit by itself, without a board or a governor.

mod bench;
mod check;
mod depths;
mod gate;
mod speculate;
mod stress;

use super::interrupt::{self, STOP};
use super::output::note;
use super::{Format, Outcome};
use crate::llm::conformance::ConformanceError;
use crate::llm::depths::Question;
use crate::llm::random::Shape;
use crate::llm::{Model, Request, prompt};
use crate::run::prompts;
use anyhow::Context as _;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Check and measure early exit of a model, without a board.
#[derive(Debug, Subcommand)]
pub enum Command {
    Check(check::Arguments),
    Depths(depths::Arguments),
    Bench(bench::Arguments),
    Speculate(speculate::Arguments),
    Gate(gate::Arguments),
    Stress(stress::Arguments),
}

/// An error once the user has stopped the command: half a comparison proves nothing, half a measurement means nothing.
fn go_on() -> anyhow::Result<()> {
    anyhow::ensure!(!interrupt::is_wanted(), ConformanceError::Stopped);
    Ok(())
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    // The models made on the spot lie in a folder that is removed on the way out.
    interrupt::watch()?;
    let result = match command {
        Command::Check(check) => check::run(check, format),
        Command::Depths(depths) => depths::run(depths, format),
        Command::Bench(bench) => bench::run(bench, format),
        Command::Speculate(speculate) => speculate::run(speculate, format),
        Command::Gate(gate) => gate::run(gate, format),
        Command::Stress(stress) => stress::run(stress, format),
    };
    match result {
        Err(error) if interrupt::is_wanted() => {
            note(&format!("{error:#}"));
            Ok(Outcome::Interrupted)
        }
        result => result,
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

const DEFAULT_MODEL: &str = "models/tiny-llama/tiny-llama-f16.gguf";
const DEFAULT_PROMPTS: &str = "models/prompts/questions.jsonl";

/// Reads a prompt file and renders its prompts for the model; the first `limit` of them, if there is a limit.
fn questions(model: &Model, path: &Path, limit: Option<usize>, max_new_tokens: u32) -> anyhow::Result<Vec<Question>> {
    anyhow::ensure!(limit != Some(0), "--limit must be at least 1");
    anyhow::ensure!(max_new_tokens > 0, "--max-new-tokens must be at least 1");
    let mut questions = Vec::new();
    for (number, prompt) in (1..).zip(prompts::read(path)?).take(limit.unwrap_or(usize::MAX)) {
        let text = prompt::render(model, &prompt.text).with_context(|| format!("prompt {number}"))?;
        questions.push(Question { request: Request::greedy(text, max_new_tokens), phrase: prompt.answer });
    }
    Ok(questions)
}

/// Writes a random model.
fn write_random(shape: &Shape, path: &Path) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        shape.write(shape.layers, &mut file)?;
        file.flush()
    };
    write().with_context(|| format!("cannot write the random model {}", path.display()))
}

/// A folder for models made on the spot; it disappears with its handle.
fn temporary_folder() -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir().context("cannot make a temporary folder; set TMPDIR to one with room")
}

fn progress_bar(length: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(length);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} (eta {eta})")?);
    Ok(bar)
}

/// Numbers with commas between them, as in `1,4`.
fn parse_numbers(text: &str) -> Result<Vec<u32>, String> {
    let number =
        |text: &str| text.trim().parse().map_err(|_| "give whole numbers with commas between, such as 1,4".to_owned());
    text.split(',').map(number).collect()
}
