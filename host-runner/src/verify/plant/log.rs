//! The published logs, read into one shape.

mod cells;

use super::MIN_ROWS;
use cells::{Cells, Columns};
use firmware_sim::plant::Profile;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// New tokens per sequence in every published log.
pub(super) const STEPS: u32 = 100;

/// Which published log this is, told by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Online training: `prefill_freq`, `decode_freq`, `batch`, `energy`, `end_to_end_latency`, `temperature`,
    /// `throughput_raw`.
    Training,
    /// Deployment: the same with `prefill_latency` and `decode_latency`.
    Deploy,
    /// Grid search: `prefill_freq_bin`, `decode_freq_bin`, `effective_batch_size`, `num_prompt_tokens`, `prefill_time`,
    /// `decode_time`, `energy`.
    Grid,
    /// Early-exit training: `prefill_freq`, `decode_freq`, `batch_size`, `num_layers`, `latency`, `decode_latency`,
    /// `per_token_latency`. No energy.
    EarlyExit,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Training => "training",
            Self::Deploy => "deployment",
            Self::Grid => "grid",
            Self::EarlyExit => "early-exit training",
        })
    }
}

/// In the order in which they are tried: the richer header first.
const FORMATS: [(Format, &[&str]); 4] = [
    (
        Format::Grid,
        &[
            "prefill_freq_bin",
            "decode_freq_bin",
            "effective_batch_size",
            "num_prompt_tokens",
            "prefill_time",
            "decode_time",
            "energy",
        ],
    ),
    (
        Format::EarlyExit,
        &["prefill_freq", "decode_freq", "batch_size", "num_layers", "latency", "decode_latency", "per_token_latency"],
    ),
    (
        Format::Deploy,
        &[
            "prefill_freq",
            "decode_freq",
            "batch",
            "energy",
            "end_to_end_latency",
            "temperature",
            "throughput_raw",
            "prefill_latency",
            "decode_latency",
        ],
    ),
    (
        Format::Training,
        &["prefill_freq", "decode_freq", "batch", "energy", "end_to_end_latency", "temperature", "throughput_raw"],
    ),
];

impl Format {
    /// Idle time before a batch where the log has no wall clock, s. Training: 0.52 around the call, 1.75 in the loop,
    /// 0.24 as a tenth of the policy update; deployment: the call alone; early exit: about 1.7 between inferences.
    /// Grids log their step time; this is for those that do not.
    #[must_use]
    pub fn default_gap_s(self) -> f64 {
        match self {
            Self::Training => 2.51,
            Self::Deploy => 0.52,
            Self::Grid => 0.325,
            Self::EarlyExit => 1.7,
        }
    }

    /// Batches behind one row: the early-exit run tried six actions and ran the best again.
    #[must_use]
    pub fn batches_per_row(self) -> u32 {
        if self == Self::EarlyExit { 7 } else { 1 }
    }
}

/// One logged batch. Times in s, energy in J, power in W, temperature in C; `None`: the log has no such column.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Line in the file, the header being 1.
    pub line: u64,
    /// Index of the prefill clock.
    pub prefill_clock: usize,
    /// Index of the decode clock.
    pub decode_clock: usize,
    /// Sequences.
    pub batch: u32,
    /// Decoder layers.
    pub depth: u32,
    /// Prompt tokens of the batch with padding.
    pub prompt_tokens: u32,
    /// Prefill and decode together.
    pub latency_s: f64,
    /// Prefill alone.
    pub prefill_s: Option<f64>,
    /// Decode alone.
    pub decode_s: Option<f64>,
    /// Rails, prefill and decode.
    pub energy_j: Option<f64>,
    /// Rails while decoding.
    pub decode_power_w: Option<f64>,
    /// Junction, mean of the two phases' means.
    pub temperature_c: Option<f64>,
    /// Idle time that the log itself shows around the batch.
    pub gap_s: Option<f64>,
}

/// A log, in file order.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// What its header said.
    pub format: Format,
    /// Rows with everything the format requires.
    pub rows: Vec<Row>,
    /// Rows left out while reading, by reason.
    pub unreadable: BTreeMap<&'static str, usize>,
    /// Its temperatures are measurements. False when absent, or when every one is a whole tenth: a mean of sensor
    /// readings has more digits, and the fan-on grid's column proved to be computed from the setting.
    pub measured_temperature: bool,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("cannot open the log {path}: {cause}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not CSV.
    #[error("the log is not a CSV table: {0}")]
    Csv(#[from] csv::Error),
    /// Nothing in it.
    #[error("the log is empty; give a CSV file with a header and at least {MIN_ROWS} rows")]
    Empty,
    /// Another separator.
    #[error("the log's columns are separated by semicolons; save it with commas between columns and points in numbers")]
    Semicolons,
    /// No known header.
    #[error("the header fits no known log; nearest is the {nearest} log, which also needs the columns {missing}")]
    Header {
        /// The format that fits best.
        nearest: Format,
        /// Its columns that are absent, comma-separated.
        missing: String,
    },
    /// Too few rows.
    #[error("only {usable} usable rows of {total}, at least {needed} are needed; give a longer log")]
    TooShort {
        /// Rows fit for use.
        usable: usize,
        /// Rows in the file.
        total: usize,
        /// What was needed.
        needed: usize,
    },
}

impl Log {
    /// Reads CSV with a header. Rows with a missing, non-finite or out-of-range value are counted and left out; `profile`
    /// says which clocks and depths exist.
    ///
    /// # Errors
    /// Empty, not CSV, no known header, or fewer than [`MIN_ROWS`] rows left.
    pub fn read(source: impl std::io::Read, profile: &Profile) -> Result<Self, LogError> {
        // Flexible: a last line cut off by a power failure costs its own row, not the log.
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(source);
        let columns = Columns::new(reader.headers()?);
        let format = format_of(&columns)?;
        let mut rows = Vec::new();
        let mut unreadable = BTreeMap::new();
        let mut total = 0;
        for record in reader.records() {
            let record = record?;
            total += 1;
            let line = record.position().map_or(0, csv::Position::line);
            match (Cells { columns: &columns, record: &record }).row(format, line, profile) {
                Ok(row) => rows.push(row),
                Err(reason) => *unreadable.entry(reason).or_insert(0) += 1,
            }
        }
        if rows.len() < MIN_ROWS {
            return Err(LogError::TooShort { usable: rows.len(), total, needed: MIN_ROWS });
        }
        let measured_temperature = are_measured(rows.iter().map(|row| row.temperature_c));
        Ok(Self { format, rows, unreadable, measured_temperature })
    }
}

/// The format whose columns are all there.
fn format_of(columns: &Columns) -> Result<Format, LogError> {
    let mut gaps = FORMATS.map(|(format, needed)| (format, columns.missing(needed)));
    if columns.names().all(String::is_empty) {
        return Err(LogError::Empty);
    }
    if columns.names().any(|name| name.contains(';')) {
        return Err(LogError::Semicolons);
    }
    if let Some((format, _)) = gaps.iter().find(|(_, missing)| missing.is_empty()) {
        return Ok(*format);
    }
    gaps.sort_by_key(|(_, missing)| missing.len());
    Err(LogError::Header { nearest: gaps[0].0, missing: gaps[0].1.join(", ") })
}

fn are_measured(mut temperatures: impl Iterator<Item = Option<f64>> + Clone) -> bool {
    let is_tenth = |c: f64| (c * 10.0 - (c * 10.0).round()).abs() < 1e-6;
    temperatures.clone().all(|c| c.is_some()) && !temperatures.all(|c| c.is_some_and(is_tenth))
}
