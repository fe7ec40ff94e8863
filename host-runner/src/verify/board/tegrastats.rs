//! Lines of a log against `{"lines": [...]}`.

use super::{BoardCaseError, Ledger, read, read_json};
use crate::board::tegrastats::Line;
use serde_json::{Map, Value};
use std::path::Path;

/// Compares a log line by line; a ledger for each line.
pub fn compare(log: &Path, expected: &Path) -> Result<Vec<Ledger>, BoardCaseError> {
    let text = read(log)?;
    let file = read_json(expected)?;
    let form = |cause: &str| BoardCaseError::Form { path: expected.to_owned(), cause: cause.to_owned() };
    let wanted = file.get("lines").and_then(Value::as_array).ok_or_else(|| form("it needs a list `lines`"))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut ledgers = Vec::new();
    for (number, wanted) in wanted.iter().enumerate() {
        let wanted = wanted.as_object().ok_or_else(|| form("each line is an object"))?;
        let mut ledger = Ledger::default();
        let place = format!("line {} ", number + 1);
        match lines.get(number) {
            Some(line) => {
                ledger.compare(&place, wanted, Line::parse(line).to_json().as_object().unwrap_or(&Map::new()));
            }
            None => ledger.differ(&place, &Value::Object(wanted.clone()), &Value::Null),
        }
        ledgers.push(ledger);
    }
    for (number, line) in lines.iter().enumerate().skip(wanted.len()) {
        let mut ledger = Ledger::default();
        ledger.differ(&format!("line {}", number + 1), &Value::Null, &Value::String((*line).to_owned()));
        ledgers.push(ledger);
    }
    Ok(ledgers)
}
