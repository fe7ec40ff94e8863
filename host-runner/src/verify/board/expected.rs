//! Comparison of what was found with what is expected, value by value.

use serde::Serialize;
use serde_json::{Map, Value};

/// A value that is not what was expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where, such as `line 3 /temps_c/gpu`.
    pub place: String,
    /// What was expected; null also where nothing was.
    pub expected: Value,
    /// What was found; null also where nothing was.
    pub found: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: expected {}, found {}", self.place, self.expected, self.found)
    }
}

/// What came of one case.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Values that were compared.
    pub values: usize,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Names that mean nothing to us.
    pub unknown: Vec<String>,
}

/// Objects whose keys are data: zones, rails, engines. A key too many is a difference there; of all
/// other objects only what is expected is compared.
const OPEN: [&str; 6] = ["engines", "plain", "temps_c", "temps_peak_c", "rails_mw", "gr3d"];

/// Lists in which the order says nothing.
const SETS: [&str; 5] = ["temps_offline", "suspect_zones", "offline", "dummy", "skipped"];

/// Words of the author, not values.
const REMARKS: [&str; 3] = ["note", "lenient", "line"];

/// A power that we multiply and the author rounds may differ by this for each rail, mW.
const ROUNDING_MW: f64 = 1.0;

impl Ledger {
    /// Compares an object with what is expected of it.
    pub fn compare(&mut self, place: &str, expected: &Map<String, Value>, found: &Map<String, Value>) {
        // Fields that a reader may leave out.
        let lenient = match expected.get("lenient") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::Object(names)) => names.keys().cloned().collect(),
            _ => Vec::new(),
        };
        for (name, wanted) in expected {
            if REMARKS.contains(&name.as_str()) {
                continue;
            }
            let place = format!("{place}/{name}");
            match found.get(name) {
                None => self.unknown.push(name.clone()),
                Some(value) if lenient.contains(name) && is_blank(value) => {}
                Some(value) => self.value(&place, name, wanted, value),
            }
        }
    }

    fn value(&mut self, place: &str, name: &str, expected: &Value, found: &Value) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) if OPEN.contains(&name) => {
                for (key, wanted) in expected {
                    let value = found.get(key).unwrap_or(&Value::Null);
                    self.value(&format!("{place}/{key}"), &format!("{name}/"), wanted, value);
                }
                for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                    self.differ(&format!("{place}/{key}"), &Value::Null, value);
                }
            }
            (Value::Object(expected), Value::Object(found)) => self.compare(place, expected, found),
            _ => {
                self.values += 1;
                let tolerance = if name == "rails_mw/" || name == "total_mw" { ROUNDING_MW } else { 0.0 };
                if !same(expected, found, tolerance, SETS.contains(&name)) {
                    self.differ(place, expected, found);
                }
            }
        }
    }

    /// Notes a difference.
    pub fn differ(&mut self, place: &str, expected: &Value, found: &Value) {
        self.differences.push(Difference { place: place.to_owned(), expected: expected.clone(), found: found.clone() });
    }
}

/// Equal, numbers up to rounding of decimals and the tolerance; a part that is absent is null or says
/// nothing at all.
fn same(expected: &Value, found: &Value, tolerance: f64, is_set: bool) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= tolerance + 1e-9 * a.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(b)) if is_set => {
            let sorted = |list: &[Value]| {
                let mut texts: Vec<String> = list.iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            sorted(a) == sorted(b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance, false))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, tolerance, false)))
        }
        (Value::Null, value) | (value, Value::Null) => is_blank(value),
        _ => expected == found,
    }
}

/// Null, or a part that says nothing.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(parts) => parts.values().all(is_blank),
        Value::Array(parts) => parts.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differences(expected: &Value, found: &Value) -> Vec<String> {
        let mut ledger = Ledger::default();
        ledger.compare("", expected.as_object().unwrap(), found.as_object().unwrap());
        ledger.differences.into_iter().map(|difference| difference.place).collect()
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let none: [&str; 0] = [];
        for (expected, found, places) in [
            (json!({"a": 1, "note": "x"}), json!({"a": 1.0, "b": 2}), &none[..]),
            (json!({"a": 1}), json!({"a": 2}), &["/a"]),
            (json!({"a": null}), json!({"a": 0}), &["/a"]),
            (json!({"a": 0}), json!({"a": null}), &["/a"]),
            (json!({"a": null}), json!({"a": {"b": null, "c": []}}), &none),
            (json!({"temps_c": {"x": 42.593}}), json!({"temps_c": {"x": 42.593, "y": 1}}), &["/temps_c/y"]),
            (json!({"temps_c": {"x": 42.593}}), json!({"temps_c": {}}), &["/temps_c/x"]),
            (json!({"temps_c": {"x": 42.593}}), json!({"temps_c": {"x": 42.594}}), &["/temps_c/x"]),
            (json!({"offline": ["a", "b"]}), json!({"offline": ["b", "a"]}), &none),
            (json!({"offline": ["a", "a"]}), json!({"offline": ["b", "a"]}), &["/offline"]),
            (json!({"cpus": [1, 2]}), json!({"cpus": [2, 1]}), &["/cpus"]),
            (json!({"power": {"rails_mw": {"a": 7}}}), json!({"power": {"rails_mw": {"a": 8}}}), &none),
            (
                json!({"power": {"rails_mw": {"a": 7}}}),
                json!({"power": {"rails_mw": {"a": 9}}}),
                &["/power/rails_mw/a"],
            ),
            (json!({"a": 1, "lenient": ["a"]}), json!({"a": null}), &none),
            (json!({"a": 1, "lenient": ["a"]}), json!({"a": 2}), &["/a"]),
        ] {
            assert_eq!(differences(&expected, &found), places, "{expected} {found}");
        }
    }

    #[test]
    fn names_without_meaning_are_counted() {
        let mut ledger = Ledger::default();
        ledger.compare("", json!({"a": 1, "moon": 2}).as_object().unwrap(), json!({"a": 1}).as_object().unwrap());
        assert_eq!((ledger.values, ledger.unknown.as_slice()), (1, &["moon".to_owned()][..]));
    }
}
