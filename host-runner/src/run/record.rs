//! The record of a run: JSON lines, a header, one line per turn, and the summary at the end.

use super::TurnRecord;
use super::summary::Summary;
use crate::atomic_file::AtomicFile;
use controller_core::action::Setting;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// First line of a record: everything needed to do the run again.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// Always `energyllm-run`.
    pub record: &'static str,
    /// Version of the record's format.
    pub format: u32,
    /// Version of the program.
    pub version: &'static str,
    /// Seed of arrivals and noise.
    pub seed: u64,
    /// True when the board is simulated.
    pub simulated: bool,
    /// What was read and written, where the board is real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<RealHeader>,
    /// Name of the board.
    pub board: String,
    /// SHA-256 of the board profile.
    pub board_sha256: String,
    /// The governor.
    pub governor: String,
    /// The static setting that the governor must not be worse than; `None` when nobody compares.
    pub fallback: Option<Setting>,
    /// SHA-256 of the policy image; `None` when the governor uses none.
    pub policy_sha256: Option<String>,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// SHA-256 of the prompt file.
    pub prompts_sha256: String,
    /// SHA-256 of the file with the quality per depth; `None` when the model has none.
    pub depths_sha256: Option<String>,
    /// Requests of the run.
    pub requests: usize,
    /// Offered load, requests per second.
    pub rate_per_s: f64,
    /// The fan fails when this request arrives.
    pub fan_off_at: Option<usize>,
    /// Air around the simulated board, °C.
    pub ambient_c: Option<f64>,
    /// Temperature of the simulated board at the start, °C.
    pub start_c: Option<f64>,
    /// Temperature that must never be reached, °C.
    pub temperature_limit_c: f64,
    /// Most tokens of an answer.
    pub max_new_tokens: u32,
    /// Tokens of one request, prompt and answer together.
    pub context_tokens: u32,
    /// CPU threads of llama.cpp; their number may change the last bits of its sums.
    pub threads: u32,
    /// Fewest layers that the model's quality allows.
    pub min_depth: u16,
    /// Drafts or a gate, where one was asked for: `draft 4`, `draft auto`, `gate 0.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoding: Option<String>,
}

/// What a record says about a real board.
#[derive(Clone, Debug, Serialize)]
pub struct RealHeader {
    /// The rails whose power is integrated, such as `VDD_IN`.
    pub power_rails: String,
    /// False for a dry run: decisions were made, and clocks and fan left alone.
    pub applied: bool,
    /// L4T release.
    pub release: Option<String>,
    /// Power mode.
    pub power_mode: Option<String>,
    /// Clocks that the power mode allows, Hz.
    pub allowed_hz: (u64, u64),
}

/// Last line of a record.
#[derive(Serialize)]
struct Last<'a> {
    record: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// A record being written.
#[derive(Debug)]
pub struct RecordFile(AtomicFile);

impl RecordFile {
    /// Opens the record and writes its first line.
    pub fn create(path: &Path, header: &Header) -> anyhow::Result<Self> {
        let mut record = Self(AtomicFile::create(path)?);
        record.line(header)?;
        Ok(record)
    }

    fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        self.0.write_all(b"\n")
    }

    /// Adds a turn.
    pub fn turn(&mut self, turn: &TurnRecord) -> std::io::Result<()> {
        self.line(turn)
    }

    /// Writes the summary as the last line and gives the record its name.
    pub fn finish(mut self, summary: &Summary) -> anyhow::Result<()> {
        self.line(&Last { record: "summary", summary })?;
        Ok(self.0.commit()?)
    }
}
