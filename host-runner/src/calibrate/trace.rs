//! Cool-down and heating traces: temperature over time at a known power.

use crate::measure::percentile::median;
use crate::verify::plant::Segment;
use firmware_sim::plant::thermal::Nodes;
use firmware_sim::plant::{Profile, fan};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    time_s: f64,
    temperature_c: f64,
    power_w: f64,
    fan_pwm: u8,
}

/// A trace: samples in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    samples: Vec<Sample>,
    ambient_c: f64,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened.
    #[error("cannot open the trace {path}: {cause}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not CSV.
    #[error("the trace is not a CSV table: {0}")]
    Csv(#[from] csv::Error),
    /// A cell, or a whole column, that says nothing usable.
    #[error("line {line}: `{column}` must be a number from {low} to {high}; mend or remove the line")]
    Cell {
        /// Line, the header being 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// Least value.
        low: f64,
        /// Greatest value.
        high: f64,
    },
    /// Time that stands or goes back.
    #[error("line {0}: `time_s` must rise from line to line; sort the trace")]
    Time(u64),
    /// Too little.
    #[error("the trace has {0} samples; at least 20 are needed")]
    TooShort(usize),
}

const COLUMNS: [(&str, f64, f64); 4] =
    [("time_s", -1e9, 1e9), ("temperature_c", -40.0, 150.0), ("power_w", 0.0, 1e4), ("fan_pwm", 0.0, 255.0)];

/// Whether a file is a trace: it has a time column, which no published log has.
#[must_use]
pub fn is_trace(path: &Path) -> bool {
    let header = csv::Reader::from_path(path).and_then(|mut reader| reader.headers().cloned());
    header.is_ok_and(|header| header.iter().any(|name| name.trim() == COLUMNS[0].0))
}

impl Trace {
    /// Reads a CSV with the columns `time_s`, `temperature_c`, `power_w` (that flows until the next sample) and `fan_pwm`.
    /// Duties are moved to the nearest one whose cooling the profile knows.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn read(path: &Path, profile: &Profile, ambient_c: f64) -> Result<Self, TraceError> {
        let file = std::fs::File::open(path).map_err(|cause| TraceError::Open { path: path.to_owned(), cause })?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let places: BTreeMap<String, usize> =
            reader.headers()?.iter().enumerate().map(|(place, name)| (name.to_owned(), place)).collect();
        let mut samples: Vec<Sample> = Vec::new();
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let mut values = [0.0; 4];
            for (value, (column, low, high)) in values.iter_mut().zip(COLUMNS) {
                let cell = places.get(column).and_then(|&place| record.get(place)).and_then(|cell| cell.parse().ok());
                *value = cell.filter(|value: &f64| (low..=high).contains(value)).ok_or(TraceError::Cell {
                    line,
                    column,
                    low,
                    high,
                })?;
            }
            let [time_s, temperature_c, power_w, pwm] = values;
            if samples.last().is_some_and(|last| time_s <= last.time_s) {
                return Err(TraceError::Time(line));
            }
            samples.push(Sample { time_s, temperature_c, power_w, fan_pwm: nearest_duty(profile, pwm) });
        }
        if samples.len() < 20 { Err(TraceError::TooShort(samples.len())) } else { Ok(Self { samples, ambient_c }) }
    }

    /// Stretches of one duty.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut first = 0;
        for run in self.samples.chunk_by(|a, b| a.fan_pwm == b.fan_pwm) {
            let end = first + run.len();
            segments.push(Segment {
                first,
                end,
                pwm: run[0].fan_pwm,
                observed_k_per_w: f64::NAN,
                rmse_k: 0.0,
                bias_k: 0.0,
            });
            first = end;
        }
        segments
    }

    /// Replay minus trace over some samples, from the first of them, K.
    #[must_use]
    pub fn residuals_k(&self, profile: &Profile, rows: Range<usize>) -> Vec<f64> {
        let samples = &self.samples[rows];
        let Some(first) = samples.first() else { return Vec::new() };
        let thermal = &profile.thermal;
        let above_sink_k = first.power_w * thermal.die_to_sink_k_per_w;
        let mut nodes = Nodes { die_c: first.temperature_c, sink_c: first.temperature_c - above_sink_k };
        let mut residuals = vec![0.0];
        for pair in samples.windows(2) {
            let w_per_k = fan::sink_w_per_k(&profile.fan, pair[0].fan_pwm);
            let dt_s = pair[1].time_s - pair[0].time_s;
            nodes = nodes.after(thermal, pair[0].power_w, w_per_k, self.ambient_c, dt_s);
            residuals.push(nodes.die_c - pair[1].temperature_c);
        }
        residuals
    }

    /// Median time between two samples, s.
    #[must_use]
    pub fn spacing_s(&self) -> f64 {
        median(self.samples.windows(2).map(|pair| pair[1].time_s - pair[0].time_s).collect()).unwrap_or(f64::NAN)
    }
}

fn nearest_duty(profile: &Profile, pwm: f64) -> u8 {
    let distance = |duty: u8| (f64::from(duty) - pwm).abs();
    let duties = profile.fan.cooling.iter().map(|point| point.pwm);
    duties.min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
}
