//! A CSV file that grows while a command works, and that an interrupted command can go on with.

use crate::atomic_file::{AtomicFile, AtomicFileError};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A growing CSV file.
#[derive(Debug)]
pub struct CsvLog {
    file: File,
    path: PathBuf,
    columns: usize,
    rows: usize,
}

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CsvLogError {
    /// The file cannot be made.
    #[error(transparent)]
    Create(#[from] AtomicFileError),
    /// Something failed later.
    #[error("cannot write the log {path}: {source}; free space or choose another place with --out")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It has other columns.
    #[error("{path} has other columns than this program writes; move it away to start a new log")]
    Columns {
        /// The file.
        path: PathBuf,
    },
}

impl CsvLog {
    /// Starts a log with these columns; a file of that name is replaced.
    pub fn create(path: &Path, columns: &[&str]) -> Result<Self, CsvLogError> {
        AtomicFile::write(path, line(columns).as_bytes())?;
        Self::append(path, columns.len(), 0)
    }

    /// Goes on after the first `rows` rows of a log and drops what was written after them. Without the file a new one
    /// begins.
    pub fn resume(path: &Path, columns: &[&str], rows: usize) -> Result<Self, CsvLogError> {
        let Ok(text) = std::fs::read_to_string(path) else { return Self::create(path, columns) };
        let header = line(columns);
        let body = text.strip_prefix(&header).ok_or_else(|| CsvLogError::Columns { path: path.into() })?;
        // A line that was cut off has no line feed. No cell of ours holds one.
        let whole: Vec<&str> = body.split_inclusive('\n').filter(|row| row.ends_with('\n')).take(rows).collect();
        AtomicFile::write(path, format!("{header}{}", whole.concat()).as_bytes())?;
        Self::append(path, columns.len(), whole.len())
    }

    fn append(path: &Path, columns: usize, rows: usize) -> Result<Self, CsvLogError> {
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|source| CsvLogError::Write { path: path.into(), source })?;
        Ok(Self { file, path: path.into(), columns, rows })
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Waits until the disk has all rows. To be called before a checkpoint is written that counts on them.
    pub fn sync(&self) -> Result<(), CsvLogError> {
        self.file.sync_data().map_err(|source| CsvLogError::Write { path: self.path.clone(), source })
    }

    /// Adds a row; it is in the file when this returns.
    ///
    /// # Panics
    /// When the row has another number of cells than the log has columns.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) -> Result<(), CsvLogError> {
        assert_eq!(cells.len(), self.columns, "a cell per column");
        let failed = |source| CsvLogError::Write { path: self.path.clone(), source };
        self.file.write_all(line(cells).as_bytes()).map_err(failed)?;
        self.rows += 1;
        Ok(())
    }
}

fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let quoted = |cell: &str| if cell.contains(',') { format!("\"{cell}\"") } else { cell.to_owned() };
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell.as_ref())).collect();
    format!("{}\n", cells.join(","))
}

/// A number as a cell: as many digits as it takes to read the same number back; empty for none.
#[must_use]
pub fn cell(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_log_goes_on_as_if_nothing_had_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let columns = ["a", "b"];
        let write = |log: &mut CsvLog, rows: std::ops::Range<u32>| {
            rows.for_each(|row| log.row(&[row.to_string(), cell(Some(f64::from(row) / 3.0))]).unwrap());
        };
        let mut whole = CsvLog::create(&path, &columns).unwrap();
        write(&mut whole, 0..6);
        let expected = std::fs::read(&path).unwrap();
        // Killed while row 5 was written, the checkpoint being after row 3.
        std::fs::write(&path, &expected[..expected.len() - 4]).unwrap();
        let mut resumed = CsvLog::resume(&path, &columns, 3).unwrap();
        assert_eq!(resumed.rows(), 3);
        write(&mut resumed, 3..6);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        assert!(matches!(CsvLog::resume(&path, &["a", "c"], 1), Err(CsvLogError::Columns { .. })));
        let gone = folder.path().join("gone.csv");
        assert_eq!(CsvLog::resume(&gone, &columns, 9).unwrap().rows(), 0);
    }
}
