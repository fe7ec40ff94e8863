//! Rows of sweeps, ours and published.

use firmware_sim::plant::Profile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One measured setting.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepRow {
    /// Index of the prefill clock.
    pub prefill_clock: usize,
    /// Index of the decode clock.
    pub decode_clock: usize,
    /// Sequences.
    pub batch: u32,
    /// Layers.
    pub depth: u32,
    /// Prompt tokens of the batch, padding included.
    pub prompt_tokens: u32,
    /// Decode steps.
    pub steps: u32,
    /// Prefill, s.
    pub prefill_s: f64,
    /// Decode, s.
    pub decode_s: f64,
    /// Rails while decoding, W.
    pub decode_w: f64,
    /// Rails while prefilling, W; `None` in the published grids, where it is a lagging reading of the decode before.
    pub prefill_w: Option<f64>,
    /// Rails, both phases, as the file has it, J.
    pub energy_j: f64,
    /// Junction, C; `None` where the column is known to be invented.
    pub temperature_c: Option<f64>,
}

/// Why a sweep cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be opened.
    #[error("cannot open the sweep {path}: {cause}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not CSV.
    #[error("the sweep is not a CSV table: {0}")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("the sweep has no column `{0}`; `energyllm sweep` writes what is needed, docs/calibration.md has the list")]
    Column(&'static str),
    /// A cell that no board measures.
    #[error("line {line}: `{column}` is no number that a board of this profile could have; mend or remove the row")]
    Cell {
        /// Line, the header being 1.
        line: u64,
        /// The column.
        column: &'static str,
    },
    /// Nothing to fit.
    #[error("the sweep has {0} rows; at least 20 are needed")]
    TooShort(usize),
}

const COLUMNS: [&str; 9] = [
    "prefill_freq_bin",
    "decode_freq_bin",
    "effective_batch_size",
    "num_prompt_tokens",
    "num_decode_tokens",
    "prefill_time",
    "decode_time",
    "decode_power_w",
    "energy",
];

/// Reads a sweep of ours or a published grid. `profile` says which clocks and depths exist.
///
/// # Errors
/// [`DataError`].
pub fn read(path: &Path, profile: &Profile) -> Result<Vec<SweepRow>, DataError> {
    let file = std::fs::File::open(path).map_err(|cause| DataError::Open { path: path.to_owned(), cause })?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let mut places = BTreeMap::new();
    for (place, name) in reader.headers()?.iter().enumerate() {
        places.entry(name.trim_start_matches('\u{feff}').to_owned()).or_insert(place);
    }
    if let Some(missing) = COLUMNS.iter().find(|column| !places.contains_key(**column)) {
        return Err(DataError::Column(missing));
    }
    // Only our own sweeps say how often they repeated; their phase powers and temperatures are what they say.
    let ours = places.contains_key("repeats");
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(Cells { places: &places, record: &record, line }.row(profile, ours)?);
    }
    if rows.len() < 20 { Err(DataError::TooShort(rows.len())) } else { Ok(rows) }
}

struct Cells<'a> {
    places: &'a BTreeMap<String, usize>,
    record: &'a csv::StringRecord,
    line: u64,
}

impl Cells<'_> {
    fn number(&self, column: &'static str, low: f64, high: f64) -> Result<f64, DataError> {
        let cell = self.places.get(column).and_then(|&place| self.record.get(place)).and_then(|cell| cell.parse().ok());
        cell.filter(|value: &f64| (low..=high).contains(value)).ok_or(DataError::Cell { line: self.line, column })
    }

    fn count(&self, column: &'static str, low: f64, high: f64) -> Result<u32, DataError> {
        let value = self.number(column, low, high)?.round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within a range of whole numbers")]
        let count = value as u32;
        Ok(count)
    }

    fn row(&self, profile: &Profile, ours: bool) -> Result<SweepRow, DataError> {
        let top = (profile.gpu_clock_khz.len() - 1) as f64;
        let batch = self.count("effective_batch_size", 1.0, 1024.0)?;
        let depth = if self.places.contains_key("depth") {
            self.count("depth", 1.0, f64::from(profile.layers))?
        } else {
            profile.layers
        };
        let (prefill_s, decode_s) = (self.number("prefill_time", 1e-4, 1e4)?, self.number("decode_time", 1e-4, 1e4)?);
        Ok(SweepRow {
            prefill_clock: self.count("prefill_freq_bin", 0.0, top)? as usize,
            decode_clock: self.count("decode_freq_bin", 0.0, top)? as usize,
            batch,
            depth,
            prompt_tokens: self.count("num_prompt_tokens", 1.0, 1e6)?,
            steps: self.count("num_decode_tokens", 1.0, 1e6)? / batch,
            prefill_s,
            decode_s,
            decode_w: self.number("decode_power_w", 1e-2, 1e4)?,
            prefill_w: if ours { Some(self.number("prefill_power_w", 1e-2, 1e4)?) } else { None },
            energy_j: self.number("energy", 1e-3, 1e7)?,
            temperature_c: if ours { Some(self.number("temperature", -40.0, 150.0)?) } else { None },
        })
    }
}
