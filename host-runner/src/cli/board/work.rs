//! What a command that measures on a real board needs besides the board: a language model, and a profile for knobs and limits.

use super::super::output::note;
use super::place::DEFAULT_PROFILE;
use super::real::Options;
use crate::env::quality::Quality;
use crate::llm::Model;
use clap::Args;
use std::path::{Path, PathBuf};

/// Options of a measurement on a real board.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --board jetson")]
pub struct Work {
    /// Language model: a GGUF file of a Llama architecture. Depths count its layers.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/tiny-llama-f16.gguf")]
    pub model: PathBuf,
    /// Limits, and which clocks and batches are used when nothing else is said.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROFILE)]
    pub profile: PathBuf,
    #[command(flatten)]
    pub board: Options,
}

impl Work {
    /// Refuses what only a real board can do.
    pub fn check_simulated(&self) -> anyhow::Result<()> {
        self.board.check_simulated()
    }

    /// Refuses to go on without the right to write.
    pub fn needs_apply(&self, what: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.board.applies(),
            "{what} sets clocks and fan for every setting, and without --apply nothing is written to a board; add --apply. \
             `energyllm board doctor` says first what is in the way"
        );
        Ok(())
    }
}

/// How good the model of a file is at fewer layers than `full`, the deepest of the knob: what `depths.json` beside it says.
/// Without that, full depth is all that is allowed.
pub fn quality_of(model: &Model, path: &Path, full: u16) -> anyhow::Result<Quality> {
    if model.require_exits().is_err() {
        return Ok(Quality::only_full_depth(full));
    }
    let path = path.with_file_name("depths.json");
    if path.exists() {
        return Ok(Quality::read(&path)?);
    }
    note(&format!(
        "there is no {} that says how good this model is at fewer layers, so it runs at full depth",
        path.display()
    ));
    Ok(Quality::only_full_depth(full))
}
