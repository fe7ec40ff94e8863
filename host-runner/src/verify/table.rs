//! A CSV table of cases, addressed by the names in its header.

use crate::input_file;
use std::path::{Path, PathBuf};

/// Why a table of cases cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not CSV.
    #[error("not a CSV table: {0}")]
    Csv(#[from] csv::Error),
    /// No rows.
    #[error("the table has no rows below its header; give at least one case")]
    Empty,
    /// Columns that every case needs are absent.
    #[error("the header lacks {missing}; its columns are {present}")]
    Columns {
        /// What is missing, comma-separated.
        missing: String,
        /// What is there, comma-separated.
        present: String,
    },
    /// The same name twice.
    #[error("the header has the column {name} twice; name each once")]
    Repeated {
        /// The name.
        name: String,
    },
    /// A cell that does not hold what its column promises.
    #[error("line {line}, column {column}: {value:?} is not {expected}")]
    Cell {
        /// Line in the file; the header is line 1.
        line: u64,
        /// The column.
        column: String,
        /// What the cell holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// A table in memory.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    records: Vec<csv::StringRecord>,
}

/// One row, with the names of its cells.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    header: &'a [String],
    record: &'a csv::StringRecord,
}

impl Table {
    /// Reads a file that must have all of `required` in its header.
    pub fn read(path: &Path, required: &[&str]) -> Result<Self, TableError> {
        let text = input_file::read_text(path).map_err(|cause| TableError::Read { path: path.to_owned(), cause })?;
        Self::parse(&text, required)
    }

    /// Reads a text that must have all of `required` in its header.
    pub fn parse(text: &str, required: &[&str]) -> Result<Self, TableError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        if let Some((_, name)) = header.iter().enumerate().find(|(place, name)| header[..*place].contains(name)) {
            return Err(TableError::Repeated { name: name.clone() });
        }
        let missing: Vec<&str> =
            required.iter().filter(|name| !header.iter().any(|have| have == *name)).copied().collect();
        if !missing.is_empty() {
            return Err(TableError::Columns { missing: missing.join(", "), present: header.join(", ") });
        }
        let records: Vec<_> = reader.records().collect::<Result<_, _>>()?;
        if records.is_empty() { Err(TableError::Empty) } else { Ok(Self { header, records }) }
    }

    /// The rows in file order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { header: &self.header, record })
    }

    /// The header has this column.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.header.iter().any(|name| name == column)
    }
}

impl<'a> Row<'a> {
    /// The text of a cell; `None` when it is empty or the table has no such column.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let place = self.header.iter().position(|name| name == column)?;
        self.record.get(place).filter(|cell| !cell.is_empty())
    }

    /// The number in a cell, which may be NaN or infinite; `None` when it is empty or absent.
    pub fn number(&self, column: &str) -> Result<Option<f64>, TableError> {
        self.parsed(column, "a number")
    }

    /// The number in a cell that must have one.
    pub fn needed(&self, column: &str) -> Result<f64, TableError> {
        self.number(column)?.ok_or_else(|| self.wrong(column, "a number"))
    }

    /// The whole number in a cell; `None` when it is empty or absent.
    pub fn whole(&self, column: &str) -> Result<Option<u64>, TableError> {
        self.parsed(column, "a whole number of 0 or more")
    }

    fn parsed<T: std::str::FromStr>(&self, column: &str, expected: &'static str) -> Result<Option<T>, TableError> {
        self.text(column).map(|cell| cell.parse().map_err(|_| self.wrong(column, expected))).transpose()
    }

    /// True or false; `None` when the cell is empty or absent.
    pub fn flag(&self, column: &str) -> Result<Option<bool>, TableError> {
        match self.text(column).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(self.wrong(column, "true or false")),
        }
    }

    /// The error of a cell that does not hold what it should.
    #[must_use]
    pub fn wrong(&self, column: &str, expected: &'static str) -> TableError {
        TableError::Cell {
            line: self.record.position().map_or(0, csv::Position::line),
            column: column.to_owned(),
            value: self.text(column).unwrap_or_default().to_owned(),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_name_in_any_order() {
        let table = Table::parse("b, a,flag\n2,-inf,True\n,1e-3,0\n", &["a", "b"]).unwrap();
        let rows: Vec<Row<'_>> = table.rows().collect();
        assert_eq!(rows[0].number("a").unwrap(), Some(f64::NEG_INFINITY));
        assert_eq!((rows[0].whole("b").unwrap(), rows[1].whole("b").unwrap()), (Some(2), None));
        assert_eq!((rows[0].flag("flag").unwrap(), rows[1].flag("flag").unwrap()), (Some(true), Some(false)));
        assert_eq!(rows[0].number("absent").unwrap(), None);
        assert!(!table.has("absent"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| match Table::parse(text, &["a", "b"]) {
            Ok(table) => table.rows().next().unwrap().needed("b").unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        for (text, part) in [
            ("a,c\n1,2\n", "lacks b"),
            ("a,b\n", "no rows"),
            ("a,b,a\n1,2,3\n", "column a twice"),
            ("a,b\n1\n", "1 field"),
            ("a,b\n1,x\n", "line 2, column b: \"x\" is not a number"),
            ("a,b\n1,\n", "line 2, column b: \"\" is not a number"),
        ] {
            assert!(message(text).contains(part), "{text:?}: {}", message(text));
        }
    }
}
