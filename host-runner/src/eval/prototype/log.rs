//! The columns of a training log that the reward needs.

use crate::input_file;
use controller_core::reward::published::{Limit, Published, Range};
use controller_core::reward::step::Step;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Row {
    /// Junction, °C.
    #[serde(rename = "temperature")]
    pub temperature_c: f64,
    /// What the logged action earned.
    pub reward: f64,
    throughput_min: f64,
    throughput_max: f64,
    edp_efficiency_min: f64,
    edp_efficiency_max: f64,
    energy_min: f64,
    energy_max: f64,
}

impl Row {
    fn is_finite(&self) -> bool {
        let Self { temperature_c, reward, throughput_min, throughput_max, .. } = *self;
        let ranges = [self.edp_efficiency_min, self.edp_efficiency_max, self.energy_min, self.energy_max];
        [temperature_c, reward, throughput_min, throughput_max].into_iter().chain(ranges).all(f64::is_finite)
    }

    /// The reward `step` with the ranges of this row.
    fn rule(&self) -> Step<f64> {
        step(
            Range { low: self.throughput_min, high: self.throughput_max },
            Range { low: self.edp_efficiency_min, high: self.edp_efficiency_max },
            Range { low: self.energy_min, high: self.energy_max },
        )
    }
}

/// The reward `step` with the published limits and weights, and these ranges: tokens per second, 1/(J·s), J.
#[must_use]
pub const fn step(throughput: Range<f64>, edp_efficiency: Range<f64>, energy: Range<f64>) -> Step<f64> {
    Step {
        published: Published {
            throughput,
            edp_efficiency,
            temperature: Range { low: 40.0, high: 100.0 },
            headroom_weight: 1.0,
            latency_limit: Limit { limit: 15.0, full: 22.5, weight: 1.0 },
            temperature_limit: Limit { limit: 100.0, full: 120.0, weight: 1.5 },
            power_limit: Limit { limit: 60.0, full: 78.0, weight: 1.0 },
            steepness: 5.0,
        },
        energy,
    }
}

/// A training log.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingLog {
    /// Its rows, in order.
    pub rows: Vec<Row>,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrainingLogError {
    /// It cannot be read.
    #[error("cannot read the log {path}: {source}; name a CSV file with the columns of the published training log")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A row or column is missing or is no number.
    #[error(
        "{path} is not a training log: {source}; it needs the columns temperature, reward, and the min and max of \
         throughput, edp_efficiency and energy"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause, with the line.
        source: csv::Error,
    },
    /// A number is infinite or none, or the ranges are empty.
    #[error("{path}, row {row}: a value is not finite or a range is empty; remove the row")]
    Value {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
    },
    /// Nothing in it.
    #[error("{path} holds no rows; give a log with at least one")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl TrainingLog {
    /// Reads a log.
    pub fn read(path: &Path) -> Result<Self, TrainingLogError> {
        let text = input_file::read(path).map_err(|source| TrainingLogError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// The same of a file that has been read already.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, TrainingLogError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let rows: Result<Vec<Row>, csv::Error> = reader.deserialize().collect();
        let rows = rows.map_err(|source| TrainingLogError::Content { path: path.into(), source })?;
        let full = |row: &Row| {
            row.throughput_min < row.throughput_max
                && row.edp_efficiency_min < row.edp_efficiency_max
                && row.energy_min < row.energy_max
        };
        if let Some(bad) = rows.iter().position(|row| !row.is_finite() || !full(row)) {
            return Err(TrainingLogError::Value { path: path.into(), row: bad + 1 });
        }
        if rows.is_empty() { Err(TrainingLogError::Empty { path: path.into() }) } else { Ok(Self { rows }) }
    }

    /// The reward of the log, with the ranges in force at its start.
    #[must_use]
    pub fn rule(&self) -> Step<f64> {
        self.rows[0].rule()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "temperature,reward,throughput_min,throughput_max,edp_efficiency_min,edp_efficiency_max,\
                          energy_min,energy_max,batch";

    fn read(rows: &str) -> Result<TrainingLog, TrainingLogError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        std::fs::write(&path, format!("{HEADER}\n{rows}")).unwrap();
        TrainingLog::read(&path)
    }

    #[test]
    fn ranges_are_those_of_the_first_row() {
        let log = read("45.5,0.5,8,900,0.0001,0.002,100,400,32\n60,0.6,1,2000,0.0001,0.003,50,400,1\n").unwrap();
        assert_eq!(log.rows.len(), 2);
        assert_eq!(log.rule().energy, Range { low: 100.0, high: 400.0 });
    }

    #[test]
    fn bad_logs_are_named() {
        use TrainingLogError as E;
        assert!(matches!(read(""), Err(E::Empty { .. })));
        assert!(matches!(read("a,0.5,8,900,0.0001,0.002,100,400,32\n"), Err(E::Content { .. })));
        assert!(matches!(read("45,NaN,8,900,0.0001,0.002,100,400,32\n"), Err(E::Value { row: 1, .. })));
        assert!(matches!(read("45,0.5,900,900,0.0001,0.002,100,400,32\n"), Err(E::Value { row: 1, .. })));
        assert!(matches!(TrainingLog::read(Path::new("/nowhere")), Err(E::Read { .. })));
    }
}
