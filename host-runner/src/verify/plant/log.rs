//! The published logs, read into one shape.

use super::MIN_ROWS;
use firmware_sim::plant::Profile;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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
        let format = columns.format()?;
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

fn are_measured(mut temperatures: impl Iterator<Item = Option<f64>> + Clone) -> bool {
    let is_tenth = |c: f64| (c * 10.0 - (c * 10.0).round()).abs() < 1e-6;
    temperatures.clone().all(|c| c.is_some()) && !temperatures.all(|c| c.is_some_and(is_tenth))
}

/// Column name to place; of a repeated name the first counts.
struct Columns(BTreeMap<String, usize>);

impl Columns {
    fn new(header: &csv::StringRecord) -> Self {
        let mut places = BTreeMap::new();
        for (place, name) in header.iter().enumerate() {
            places.entry(name.trim_start_matches('\u{feff}').to_owned()).or_insert(place);
        }
        Self(places)
    }

    fn missing(&self, needed: &[&'static str]) -> Vec<&'static str> {
        needed.iter().copied().filter(|name| !self.0.contains_key(*name)).collect()
    }

    fn format(&self) -> Result<Format, LogError> {
        let mut gaps = FORMATS.map(|(format, needed)| (format, self.missing(needed)));
        if self.0.keys().all(String::is_empty) {
            return Err(LogError::Empty);
        }
        if self.0.keys().any(|name| name.contains(';')) {
            return Err(LogError::Semicolons);
        }
        if let Some((format, _)) = gaps.iter().find(|(_, missing)| missing.is_empty()) {
            return Ok(*format);
        }
        gaps.sort_by_key(|(_, missing)| missing.len());
        Err(LogError::Header { nearest: gaps[0].0, missing: gaps[0].1.join(", ") })
    }
}

/// One record under its header.
struct Cells<'a> {
    columns: &'a Columns,
    record: &'a csv::StringRecord,
}

const NOT_A_NUMBER: &str = "a needed value is missing or not a finite number";
const OUT_OF_RANGE: &str = "a value lies outside the board profile or below zero";
const NOT_PHYSICAL: &str = "a temperature outside -40..150 C, an energy outside 0.001..1e6 J, a power outside \
                            0.001..1e4 W or a time outside 0.0001..1e4 s: no board logs it";
const TEMPERATURE_C: RangeInclusive<f64> = -40.0..=150.0;
const ENERGY_J: RangeInclusive<f64> = 1e-3..=1e6;
const POWER_W: RangeInclusive<f64> = 1e-3..=1e4;
const SECONDS: RangeInclusive<f64> = 1e-4..=1e4;

impl Cells<'_> {
    fn optional(&self, name: &str) -> Option<f64> {
        let cell = self.record.get(*self.columns.0.get(name)?)?;
        cell.parse().ok().filter(|value: &f64| value.is_finite())
    }

    fn positive(&self, name: &str) -> Result<f64, &'static str> {
        let value = self.optional(name).ok_or(NOT_A_NUMBER)?;
        if value > 0.0 { Ok(value) } else { Err(OUT_OF_RANGE) }
    }

    /// A measurement that a board could have made.
    fn measured(&self, name: &str, range: RangeInclusive<f64>) -> Result<f64, &'static str> {
        let value = self.optional(name).ok_or(NOT_A_NUMBER)?;
        if range.contains(&value) { Ok(value) } else { Err(NOT_PHYSICAL) }
    }

    /// The same where the log may lack it: `None` without the number, an error for an absurd one.
    fn if_measured(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, &'static str> {
        if self.optional(name).is_none() { Ok(None) } else { self.measured(name, range).map(Some) }
    }

    fn count(&self, name: &str, range: RangeInclusive<u32>) -> Result<u32, &'static str> {
        whole(self.optional(name).ok_or(NOT_A_NUMBER)?, range)
    }

    fn clock(&self, name: &str, profile: &Profile) -> Result<usize, &'static str> {
        let top = u32::try_from(profile.gpu_clock_khz.len()).unwrap_or(u32::MAX) - 1;
        Ok(self.count(name, 0..=top)? as usize)
    }

    fn row(&self, format: Format, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        match format {
            Format::Training | Format::Deploy => self.training_row(line, profile),
            Format::Grid => self.grid_row(line, profile),
            Format::EarlyExit => self.early_exit_row(line, profile),
        }
    }

    fn training_row(&self, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        let batch = self.count("batch", 1..=1024)?;
        let latency_s = self.measured("end_to_end_latency", SECONDS)?;
        let tokens = self.positive("throughput_raw")? * latency_s;
        Ok(Row {
            line,
            prefill_clock: self.clock("prefill_freq", profile)?,
            decode_clock: self.clock("decode_freq", profile)?,
            batch,
            depth: profile.layers,
            prompt_tokens: prompt_tokens(tokens, batch)?,
            latency_s,
            prefill_s: self.if_measured("prefill_latency", SECONDS)?,
            decode_s: self.if_measured("decode_latency", SECONDS)?,
            energy_j: Some(self.measured("energy", ENERGY_J)?),
            decode_power_w: None,
            temperature_c: Some(self.measured("temperature", TEMPERATURE_C)?),
            gap_s: None,
        })
    }

    fn grid_row(&self, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        let (prefill_s, decode_s) = (self.measured("prefill_time", SECONDS)?, self.measured("decode_time", SECONDS)?);
        let latency_s = prefill_s + decode_s;
        Ok(Row {
            line,
            prefill_clock: self.clock("prefill_freq_bin", profile)?,
            decode_clock: self.clock("decode_freq_bin", profile)?,
            batch: self.count("effective_batch_size", 1..=1024)?,
            depth: profile.layers,
            prompt_tokens: self.count("num_prompt_tokens", 1..=1 << 20)?,
            latency_s,
            prefill_s: Some(prefill_s),
            decode_s: Some(decode_s),
            energy_j: Some(self.measured("energy", ENERGY_J)?),
            decode_power_w: self.if_measured("decode_power_w", POWER_W)?,
            temperature_c: self.if_measured("temperature", TEMPERATURE_C)?,
            gap_s: self.if_measured("inference_time", SECONDS)?.map(|whole| (whole - latency_s).max(0.0)),
        })
    }

    fn early_exit_row(&self, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        let batch = self.count("batch_size", 1..=1024)?;
        let latency_s = self.measured("latency", SECONDS)?;
        let decode_s = self.measured("decode_latency", SECONDS)?;
        Ok(Row {
            line,
            prefill_clock: self.clock("prefill_freq", profile)?,
            decode_clock: self.clock("decode_freq", profile)?,
            batch,
            depth: self.count("num_layers", 1..=profile.layers)?,
            prompt_tokens: prompt_tokens(latency_s / self.positive("per_token_latency")?, batch)?,
            latency_s,
            prefill_s: Some(latency_s - decode_s).filter(|s| SECONDS.contains(s)),
            decode_s: Some(decode_s),
            energy_j: None,
            decode_power_w: None,
            temperature_c: self.if_measured("temperature", TEMPERATURE_C)?,
            gap_s: None,
        })
    }
}

/// Prompt tokens of a batch, from all tokens of it.
fn prompt_tokens(all: f64, batch: u32) -> Result<u32, &'static str> {
    whole(all - f64::from(batch * STEPS), 1..=1 << 20)
}

fn whole(value: f64, range: RangeInclusive<u32>) -> Result<u32, &'static str> {
    let rounded = value.round();
    if (f64::from(*range.start())..=f64::from(*range.end())).contains(&rounded) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range of a u32")]
        let count = rounded as u32;
        Ok(count)
    } else {
        Err(OUT_OF_RANGE)
    }
}
