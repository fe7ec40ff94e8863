//! A CSV file as columns of numbers and texts, and what its manifest says about how it came about.

use crate::input_file;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Names of the latency of a batch, s.
pub const LATENCY: &[&str] = &["end_to_end_latency", "latency", "request_latency_sec"];
/// Names of the batch.
pub const BATCH: &[&str] = &["batch", "batch_size", "effective_batch_size"];
/// Names of the depth.
pub const DEPTH: &[&str] = &["depth", "exit_layer"];
/// Names of the perplexity.
pub const PERPLEXITY: &[&str] = &["perplexity", "wikitext_ppl"];

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    file: String,
    conditions: String,
    rows: usize,
    texts: HashMap<String, Vec<String>>,
    numbers: HashMap<String, Vec<f64>>,
}

/// Why a file is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}; name a CSV file with a header")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not CSV, or not the JSON of depths.
    #[error("{path} is not a table: {cause}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// It has a header and nothing else.
    #[error("{path} holds no rows; give a file with at least one")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Table {
    /// Reads a CSV file; lines that begin with # are remarks. A `depths.json` of `energyllm llm depths` is taken as well.
    pub fn read(path: &Path) -> Result<Self, TableError> {
        let text = input_file::read_text(path).map_err(|source| TableError::Read { path: path.into(), source })?;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        let wrong = |cause: String| TableError::Content { path: path.into(), cause };
        let (header, records) =
            if text.trim_start().starts_with('{') { depths(&text) } else { csv(&text) }.map_err(wrong)?;
        if records.is_empty() {
            return Err(TableError::Empty { path: path.into() });
        }
        let origin = manifest(path).or_else(|| model(&header, &records));
        let origin = origin.unwrap_or_else(|| "no manifest: origin not stated".to_owned());
        Ok(Self::of(&name, &origin, &header, &records))
    }

    /// A table of cells.
    #[must_use]
    pub fn of(file: &str, conditions: &str, header: &[String], records: &[Vec<String>]) -> Self {
        let mut table = Self {
            file: file.to_owned(),
            conditions: conditions.to_owned(),
            rows: records.len(),
            texts: HashMap::new(),
            numbers: HashMap::new(),
        };
        for (place, name) in header.iter().enumerate() {
            let cells: Vec<String> =
                records.iter().map(|record| record.get(place).cloned().unwrap_or_default()).collect();
            // Of a repeated name the first counts.
            if table.texts.contains_key(name) {
                continue;
            }
            table.numbers.insert(name.clone(), cells.iter().map(|cell| number(cell)).collect());
            table.texts.insert(name.clone(), cells);
        }
        table
    }

    /// Name of the file, without its folder.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Name of the file without its ending, for legends.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.file.split_once('.').map_or(&self.file, |(stem, _)| stem)
    }

    /// How its numbers came about.
    #[must_use]
    pub fn conditions(&self) -> &str {
        &self.conditions
    }

    /// The same under other conditions.
    #[must_use]
    pub fn with_conditions(self, conditions: &str) -> Self {
        Self { conditions: conditions.to_owned(), ..self }
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// A column of numbers; an empty or other cell is not a number, true and false are 1 and 0.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.numbers.get(name).map(Vec::as_slice)
    }

    /// The first of several names that is a column.
    #[must_use]
    pub fn any(&self, names: &[&str]) -> Option<&[f64]> {
        names.iter().find_map(|name| self.column(name))
    }

    /// A column as it is written.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&[String]> {
        self.texts.get(name).map(Vec::as_slice)
    }

    /// One column against another, rows without either left out.
    #[must_use]
    pub fn points(&self, x: &[&str], y: &[&str]) -> Vec<(f64, f64)> {
        match (self.any(x), self.any(y)) {
            (Some(xs), Some(ys)) => {
                let pairs = xs.iter().copied().zip(ys.iter().copied());
                pairs.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
            }
            _ => vec![],
        }
    }
}

fn number(cell: &str) -> f64 {
    match cell {
        "True" | "true" => 1.0,
        "False" | "false" => 0.0,
        cell => cell.parse().ok().filter(|value: &f64| value.is_finite()).unwrap_or(f64::NAN),
    }
}

type Cells = (Vec<String>, Vec<Vec<String>>);

fn csv(text: &str) -> Result<Cells, String> {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).comment(Some(b'#')).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(str::to_owned).collect();
    if header.len() < 2 {
        return Err("its header names fewer than two columns, separated by commas".to_owned());
    }
    let cells = |record: csv::StringRecord| record.iter().map(str::to_owned).collect();
    let records: Result<Vec<Vec<String>>, _> = reader.records().map(|record| record.map(cells)).collect();
    Ok((header, records.map_err(|error| error.to_string())?))
}

/// `depths.json`: the rows of its list `depths`, with the model's name.
fn depths(text: &str) -> Result<Cells, String> {
    let file: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let rows = file.get("depths").and_then(serde_json::Value::as_array);
    let rows = rows.ok_or("it is JSON, and only depths.json with a list `depths` is drawn")?;
    let mut header: Vec<String> = vec!["model".to_owned()];
    for row in rows.iter().filter_map(serde_json::Value::as_object) {
        for key in row.keys().filter(|key| !header.contains(*key)).cloned().collect::<Vec<_>>() {
            header.push(key);
        }
    }
    let model = file.get("model").and_then(serde_json::Value::as_str).unwrap_or("model").to_owned();
    let cell = |row: &serde_json::Value, name: &str| row.get(name).map_or(String::new(), ToString::to_string);
    let record = |row: &serde_json::Value| {
        std::iter::once(model.clone()).chain(header.iter().skip(1).map(|name| cell(row, name))).collect()
    };
    Ok((header.clone(), rows.iter().map(record).collect()))
}

/// Where a `depths.json` comes from.
fn model(header: &[String], records: &[Vec<String>]) -> Option<String> {
    let measured =
        header.first().is_some_and(|name| name == "model") && header.iter().any(|name| name == "mean_entropy_nats");
    let model = records.first()?.first()?;
    measured.then(|| format!("answers of {model}, measured by energyllm llm depths"))
}

/// What the manifest beside a file says: board, simulated or logged, seed, command.
fn manifest(path: &Path) -> Option<String> {
    // online.episodes.csv and online.losses.csv come from one command, whose manifest is online.manifest.json.
    let name = path.file_name()?.to_string_lossy();
    let first = name.split('.').next().unwrap_or_default();
    let beside = [path.with_extension("manifest.json"), path.with_file_name(format!("{first}.manifest.json"))];
    let text = beside.iter().find_map(|path| input_file::read_text(path).ok())?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    let said = |name: &str| manifest.get(name).and_then(serde_json::Value::as_str);
    let origin = match (manifest.get("simulated").and_then(serde_json::Value::as_bool), said("board")) {
        (Some(true), Some(board)) => format!("simulated board {board}"),
        (Some(true), None) => "simulated board".to_owned(),
        (Some(false), Some(board)) => format!("board {board}, measured"),
        (Some(false), None) => "logged or measured, not simulated".to_owned(),
        (None, _) => "origin not stated".to_owned(),
    };
    let seed = manifest.get("seed").and_then(serde_json::Value::as_u64);
    let seed = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    let command = said("command").map_or(String::new(), |command| format!(", energyllm {command}"));
    Some(format!("{origin}{seed}{command} {}", said("version").unwrap_or_default()).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Table, TableError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Table::read(&path)
    }

    #[test]
    fn cells_are_numbers_flags_or_nothing() {
        let table = read("a.b.csv", "# remark\nx,flag,x\n1.5,True,9\n,False,9\nabc\n").unwrap();
        let xs = table.column("x").unwrap();
        assert!((xs[0] - 1.5).abs() < 1e-12 && xs[1].is_nan() && xs[2].is_nan());
        assert_eq!(table.points(&["flag"], &["x"]), [(1.0, 1.5)]);
        assert_eq!((table.rows(), table.stem(), table.text("x").unwrap()[2].as_str()), (3, "a", "abc"));
        assert!(table.conditions().contains("origin not stated"));
    }

    #[test]
    fn depths_are_a_table_with_their_model() {
        let table = read("depths.json", r#"{"model": "m", "depths": [{"depth": 4, "perplexity": 2.5}]}"#).unwrap();
        assert_eq!(table.points(&["depth"], &["perplexity"]), [(4.0, 2.5)]);
        assert_eq!(table.text("model").unwrap(), ["m"]);
    }

    #[test]
    fn bad_files_are_named() {
        assert!(matches!(Table::read(Path::new("/nowhere.csv")), Err(TableError::Read { .. })));
        assert!(matches!(read("a.csv", "a,b\n"), Err(TableError::Empty { .. })));
        assert!(matches!(read("a.csv", "a;b\n1;2\n"), Err(TableError::Content { .. })));
        assert!(matches!(read("a.json", "{\"x\": 1}"), Err(TableError::Content { .. })));
    }

    #[test]
    fn the_manifest_says_the_conditions() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv"), "x,y\n1,2\n").unwrap();
        std::fs::write(folder.path().join("a.losses.csv"), "x,y\n1,2\n").unwrap();
        let manifest = r#"{"command": "sweep", "version": "0.1.0", "seed": 3, "simulated": true, "board": "orin"}"#;
        std::fs::write(folder.path().join("a.manifest.json"), manifest).unwrap();
        let table = Table::read(&folder.path().join("a.csv")).unwrap();
        assert_eq!(table.conditions(), "simulated board orin, seed 3, energyllm sweep 0.1.0");
        let losses = Table::read(&folder.path().join("a.losses.csv")).unwrap();
        assert_eq!(losses.conditions(), "simulated board orin, seed 3, energyllm sweep 0.1.0");
    }
}
