//! What we read of boards against captured lines and trees with the values that are in them.
//!
//! A folder has `NAME.log` (lines of tegrastats) or `NAME.json` (a captured tree), each beside
//! `NAME.expected.json`. Every value that is expected must be found; a value that means nothing to
//! us is counted and named, and not checked.

mod expected;
mod sysfs;
mod tegrastats;

pub use expected::{Difference, Ledger};
pub use sysfs::describe;

use crate::input_file;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why a folder of cases cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardCaseError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file is not JSON, or not of the form that is needed.
    #[error("{path} is no file of expected values ({cause}); see docs/jetson.md for its form", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A captured tree is not one.
    #[error("{path}: {cause}", path = path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: crate::board::tree::CaptureError,
    },
    /// Expected values of nothing.
    #[error(
        "{expected} has no case beside it; put {case}.log (lines of tegrastats) or {case}.json (a tree) there",
        expected = expected.display()
    )]
    Alone {
        /// The expected values.
        expected: PathBuf,
        /// The name of the case.
        case: String,
    },
    /// No cases.
    #[error("{folder} has no *.expected.json beside a *{kind}; name a folder of cases", folder = folder.display())]
    Empty {
        /// The folder.
        folder: PathBuf,
        /// What was looked for.
        kind: &'static str,
    },
}

/// What came of one file of cases.
#[derive(Clone, Debug, Serialize)]
pub struct File {
    /// Its name.
    pub file: String,
    /// Lines, or 1 for a tree.
    pub cases: usize,
    /// Cases with a value that differs.
    pub failed: usize,
    /// Values that were compared.
    pub values: usize,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// What came of all files.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// File by file, by name.
    pub files: Vec<File>,
    /// Names of expected values that mean nothing to us.
    pub unknown: Vec<String>,
}

impl Report {
    /// Cases in all.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.files.iter().map(|file| file.cases).sum()
    }

    /// Cases with a value that differs.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.files.iter().map(|file| file.failed).sum()
    }

    /// Values that were compared.
    #[must_use]
    pub fn values(&self) -> usize {
        self.files.iter().map(|file| file.values).sum()
    }

    /// Nothing differs.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.failed() == 0
    }

    fn add(&mut self, file: String, cases: Vec<Ledger>) {
        let failed = cases.iter().filter(|case| !case.differences.is_empty()).count();
        let values = cases.iter().map(|case| case.values).sum();
        let count = cases.len();
        let mut differences = Vec::new();
        for case in cases {
            differences.extend(case.differences);
            for name in case.unknown {
                if !self.unknown.contains(&name) {
                    self.unknown.push(name);
                }
            }
        }
        self.files.push(File { file, cases: count, failed, values, differences });
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<44} {:>6} {:>7} {:>7}", "file", "cases", "values", "failed")?;
        for file in &self.files {
            writeln!(f, "{:<44} {:>6} {:>7} {:>7}", file.file, file.cases, file.values, file.failed)?;
            for difference in &file.differences {
                writeln!(f, "  {difference}")?;
            }
        }
        if !self.unknown.is_empty() {
            writeln!(f, "not checked, because nobody here knows what they mean: {}", self.unknown.join(", "))?;
        }
        let right = self.cases() - self.failed();
        write!(f, "{right} of {} cases right, {} values compared", self.cases(), self.values())
    }
}

/// Compares all tegrastats logs of a folder, or of its folder `tegrastats`.
pub fn verify_tegrastats(folder: &Path) -> Result<Report, BoardCaseError> {
    let mut report = Report::default();
    for (name, log, expected) in pairs(folder, "tegrastats", ".log")? {
        report.add(name, tegrastats::compare(&log, &expected)?);
    }
    Ok(report)
}

/// Compares all captured trees of a folder, or of its folder `sysfs`.
pub fn verify_sysfs(folder: &Path) -> Result<Report, BoardCaseError> {
    let mut report = Report::default();
    for (name, tree, expected) in pairs(folder, "sysfs", ".json")? {
        report.add(name, vec![sysfs::compare(&tree, &expected)?]);
    }
    Ok(report)
}

/// Name, case and expected values of every pair in a folder.
fn pairs(folder: &Path, below: &str, kind: &'static str) -> Result<Vec<(String, PathBuf, PathBuf)>, BoardCaseError> {
    const EXPECTED: &str = ".expected.json";
    let mut pairs = Vec::new();
    for place in [folder.to_owned(), folder.join(below)] {
        let entries = match std::fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(_) if place != folder => continue,
            Err(cause) => return Err(BoardCaseError::Read { path: place, cause }),
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort();
        for name in names {
            let Some(case) = name.strip_suffix(EXPECTED) else { continue };
            let path = place.join(format!("{case}{kind}"));
            if path.exists() {
                pairs.push((case.to_owned(), path, place.join(&name)));
            } else if [".log", ".json"].iter().all(|kind| !place.join(format!("{case}{kind}")).exists()) {
                return Err(BoardCaseError::Alone { expected: place.join(&name), case: case.to_owned() });
            }
        }
    }
    if pairs.is_empty() { Err(BoardCaseError::Empty { folder: folder.to_owned(), kind }) } else { Ok(pairs) }
}

fn read(path: &Path) -> Result<String, BoardCaseError> {
    input_file::read_text(path).map_err(|cause| BoardCaseError::Read { path: path.to_owned(), cause })
}

fn read_json(path: &Path) -> Result<Value, BoardCaseError> {
    let form = |cause: serde_json::Error| BoardCaseError::Form { path: path.to_owned(), cause: cause.to_string() };
    serde_json::from_str(&read(path)?).map_err(form)
}
