//! A CSV file that is written at once, when all of its rows are there.

use crate::atomic_file::{AtomicFile, AtomicFileError};
use std::path::Path;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum CsvFileError {
    /// A row could not be put together.
    #[error("cannot write a row: {0}")]
    Csv(#[from] csv::Error),
    /// The file could not be made.
    #[error(transparent)]
    File(#[from] AtomicFileError),
}

/// Writes a header and rows of as many cells.
pub fn write(
    path: &Path,
    header: impl IntoIterator<Item = impl AsRef<[u8]>>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<(), CsvFileError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(&row)?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(AtomicFile::write(path, &bytes)?)
}
