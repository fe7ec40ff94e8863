//! The CSV of a sweep, the manifest beside it, and going on after a crash.
//!
//! A row is one write and one `fsync`: after a crash the file holds whole rows and at most one torn line at the end, which
//! is cut off and measured again. The manifest holds everything that a row depends on; a sweep with another one is another
//! sweep and is refused.

use super::grid::{Grid, Key};
use super::row::{Effort, Row};
use crate::atomic_file::{AtomicFile, AtomicFileError};
use crate::input_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Everything that the rows of a sweep depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `sweep`.
    pub command: String,
    /// Version of this program.
    pub version: String,
    /// Seed of everything random.
    pub seed: u64,
    /// A simulated board.
    pub simulated: bool,
    /// Name of the board profile.
    pub board: String,
    /// SHA-256 of the board profile's file.
    pub board_sha256: String,
    /// The settings.
    pub grid: Grid,
    /// What is done for a row.
    pub effort: Effort,
    /// Air at the heat sink, C; of a simulated board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambient_c: Option<f64>,
    /// Probability of a disturbed batch; of a simulated board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interference: Option<f64>,
    /// Time between two batches, s.
    pub gap_s: f64,
    /// What only a real board has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<RealPlan>,
}

/// What the rows of a real board depend on besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealPlan {
    /// The board's table of clocks, kHz: what the indices count in.
    pub clocks_khz: Vec<u32>,
    /// Power mode.
    pub power_mode: Option<String>,
    /// Rails whose power is integrated.
    pub power_rails: String,
    /// Name of the language model.
    pub model: String,
    /// SHA-256 of its file.
    pub model_sha256: String,
    /// CPU threads of llama.cpp.
    pub threads: u32,
}

/// Why a sweep's file cannot be written or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system said no.
    #[error("cannot write the sweep {path}: {cause}; choose another place with --out", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The manifest could not be written.
    #[error(transparent)]
    Manifest(#[from] AtomicFileError),
    /// A CSV without its manifest.
    #[error(
        "{path} exists without its manifest {manifest}, so nobody knows what its rows are; move it away or choose another --out",
        path = path.display(), manifest = manifest.display()
    )]
    NoManifest {
        /// The CSV.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
    },
    /// Another sweep.
    #[error("{manifest} is of another sweep, it differs in {what}; give the same options to go on, or another --out", manifest = manifest.display())]
    OtherPlan {
        /// The manifest.
        manifest: PathBuf,
        /// Fields that differ.
        what: String,
    },
    /// A row that does not belong.
    #[error("{path}, line {line}: {reason}; move the file away and start again", path = path.display())]
    Row {
        /// The CSV.
        path: PathBuf,
        /// Line, the header being 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// An open sweep file.
#[derive(Debug)]
pub struct SweepFile {
    path: PathBuf,
    file: File,
    done: BTreeSet<Key>,
    torn: bool,
}

/// Where the manifest of a sweep lies.
#[must_use]
pub fn manifest_path(path: &Path) -> PathBuf {
    path.with_extension("manifest.json")
}

impl SweepFile {
    /// Begins a sweep, or opens one to go on with. A torn last line is cut off.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path, plan: &Plan) -> Result<Self, FileError> {
        let io = |cause| FileError::Io { path: path.to_owned(), cause };
        AtomicFile::check(path)?;
        let manifest = manifest_path(path);
        let known = input_file::read_text(&manifest).ok();
        // An empty file is what a crash before the first row leaves.
        let exists = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0);
        match known {
            Some(text) => same_plan(&text, plan, &manifest)?,
            None if exists => return Err(FileError::NoManifest { path: path.to_owned(), manifest }),
            None => {
                let mut text = serde_json::to_string_pretty(plan).expect("a plan is JSON");
                text.push('\n');
                AtomicFile::write(&manifest, text.as_bytes())?;
            }
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let torn = whole < text.len();
        let done = done_keys(&text[..whole], path, plan)?;
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        if whole == 0 {
            let header = csv_line(&header());
            file.write_all(header.as_bytes()).map_err(io)?;
            file.sync_data().map_err(io)?;
        }
        Ok(Self { path: path.to_owned(), file, done, torn })
    }

    /// Settings that are in the file.
    #[must_use]
    pub fn done(&self) -> &BTreeSet<Key> {
        &self.done
    }

    /// The last line was cut off by a crash, and was removed.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.torn
    }

    /// Appends a row and waits until the disk has it.
    ///
    /// # Errors
    /// A key that is in the file, or what the system said.
    pub fn append(&mut self, row: &Row) -> Result<(), FileError> {
        if !self.done.insert(row.key()) {
            let line = self.done.len() + 1;
            let reason = format!("the setting {} would be there twice", row.key());
            return Err(FileError::Row { path: self.path.clone(), line, reason });
        }
        let io = |cause| FileError::Io { path: self.path.clone(), cause };
        self.file.write_all(csv_line(&cells(row)).as_bytes()).map_err(io)?;
        self.file.sync_data().map_err(io)
    }
}

fn same_plan(text: &str, plan: &Plan, manifest: &Path) -> Result<(), FileError> {
    let ours = serde_json::to_value(plan).expect("a plan is JSON");
    let theirs: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let fields = ours.as_object().expect("a plan is an object");
    let what: Vec<&str> =
        fields.iter().filter(|(name, value)| theirs.get(name) != Some(value)).map(|(name, _)| name.as_str()).collect();
    if what.is_empty() {
        Ok(())
    } else {
        Err(FileError::OtherPlan { manifest: manifest.to_owned(), what: what.join(", ") })
    }
}

/// Keys of the rows: each one of the plan, none twice.
fn done_keys(text: &str, path: &Path, plan: &Plan) -> Result<BTreeSet<Key>, FileError> {
    let asked: BTreeSet<Key> = plan.grid.keys().collect();
    let wrong = |line: usize, reason: String| FileError::Row { path: path.to_owned(), line, reason };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut done = BTreeSet::new();
    if !text.is_empty() && reader.headers().is_ok_and(|found| found != &csv::StringRecord::from(header())) {
        return Err(wrong(1, "its columns are not those of this version".to_owned()));
    }
    for (number, row) in reader.deserialize::<Row>().enumerate() {
        let line = number + 2;
        let key = row.map_err(|error| wrong(line, error.to_string()))?.key();
        if !asked.contains(&key) {
            return Err(wrong(line, format!("the setting {key} is not in the grid")));
        }
        if !done.insert(key) {
            return Err(wrong(line, format!("the setting {key} is there twice")));
        }
    }
    Ok(done)
}

/// Column names, in the order of the fields.
fn header() -> Vec<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(sample()).expect("a row is CSV");
    let bytes = writer.into_inner().expect("memory does not fail");
    let text = String::from_utf8(bytes).expect("CSV of numbers");
    text.lines().next().unwrap_or("").split(',').map(str::to_owned).collect()
}

fn cells(row: &Row) -> Vec<String> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.serialize(row).expect("a row is CSV");
    let bytes = writer.into_inner().expect("memory does not fail");
    let text = String::from_utf8(bytes).expect("CSV of numbers");
    text.trim_end().split(',').map(str::to_owned).collect()
}

fn csv_line(cells: &[String]) -> String {
    let mut line = cells.join(",");
    line.push('\n');
    line
}

/// Any row: its header is that of all.
fn sample() -> Row {
    use super::row::Flag;
    Row {
        prefill_freq_bin: 0,
        decode_freq_bin: 0,
        effective_batch_size: 1,
        energy: 0.0,
        latency: 0.0,
        inference_time: 0.0,
        avg_power: 0.0,
        temperature: 0.0,
        power_headroom: 0.0,
        slo_violation: Flag::False,
        temp_violation: Flag::False,
        power_violation: Flag::False,
        throughput_raw: 0.0,
        edp_efficiency_raw: 0.0,
        prefill_power_w: 0.0,
        decode_power_w: 0.0,
        prefill_time: 0.0,
        decode_time: 0.0,
        num_prompt_tokens: 0,
        num_decode_tokens: 0,
        depth: 1,
        fan_pwm: 0,
        prefill_khz: 0,
        decode_khz: 0,
        fan_energy: None,
        repeats: 1,
        latency_sd: 0.0,
        energy_sd: 0.0,
        warm_up: 0,
        settled: Flag::True,
        discarded: 0,
        disturbed: Flag::False,
        as_set: Flag::True,
        simulated: Flag::True,
    }
}

#[cfg(test)]
mod tests;
