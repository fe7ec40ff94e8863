//! The file of cases: JSON with numbers, where "nan" and "inf" are text and null is NaN.

use crate::input_file;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why a file of cases cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not the JSON of cases.
    #[error("not a file of GRPO cases: {0}")]
    Json(#[from] serde_json::Error),
    /// No cases.
    #[error("the file has no cases; give at least one")]
    Empty,
    /// Lists of different lengths or a choice that does not exist.
    #[error("case {case}: {what}")]
    Shape {
        /// The case.
        case: String,
        /// What does not fit.
        what: String,
    },
}

/// A number that JSON may have as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        number(&value).map(Self).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a number")))
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(f64::NAN),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A list, a list of lists or one number, laid out flat.
pub(super) fn flat(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Array(values) => values.iter().map(flat).collect::<Option<Vec<_>>>().map(|lists| lists.concat()),
        other => number(other).map(|number| vec![number]),
    }
}

/// A batch of samples.
#[derive(Clone, Debug, Deserialize)]
pub struct Inputs {
    /// Reward of each sample.
    pub rewards: Vec<Number>,
    /// Which group each belongs to.
    pub group_ids: Vec<i64>,
    /// What each chose.
    pub actions: Vec<usize>,
    /// Logits of the policy that drew the samples.
    pub logits_old: Vec<Vec<Number>>,
    /// Logits of the policy that is trained.
    pub logits_new: Vec<Vec<Number>>,
    /// Logits of the reference policy.
    pub logits_ref: Vec<Vec<Number>>,
    /// Clip range ε.
    pub clip_eps: f64,
    /// Weight of the entropy bonus.
    pub entropy_coef: f64,
    /// Weight of the divergence.
    pub kl_coef: f64,
    /// Stored log-probabilities, where they are not those of `logits_old`.
    #[serde(default)]
    pub old_logp_override: Option<Vec<Number>>,
    /// Temperature headroom of each sample, for the published code's split average.
    #[serde(default)]
    pub temperature_headroom: Option<Vec<Number>>,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    id: Value,
    #[serde(default)]
    name: String,
    /// What goes in.
    pub inputs: Inputs,
    /// What must come out, by name; `seed` and `recommended` are maps themselves.
    pub expected: BTreeMap<String, Value>,
}

impl Case {
    /// Number and name.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.id, self.name).trim().to_owned()
    }

    pub(super) fn shape_error(&self, what: impl Into<String>) -> CasesError {
        CasesError::Shape { case: self.label(), what: what.into() }
    }

    /// Checks that all lists belong together.
    pub(super) fn check(&self) -> Result<(), CasesError> {
        let inputs = &self.inputs;
        let count = inputs.rewards.len();
        let lengths = [
            ("group_ids", inputs.group_ids.len()),
            ("actions", inputs.actions.len()),
            ("logits_old", inputs.logits_old.len()),
            ("logits_new", inputs.logits_new.len()),
            ("logits_ref", inputs.logits_ref.len()),
            ("old_logp_override", inputs.old_logp_override.as_ref().map_or(count, Vec::len)),
            ("temperature_headroom", inputs.temperature_headroom.as_ref().map_or(count, Vec::len)),
        ];
        if count == 0 {
            return Err(self.shape_error("it has no samples"));
        }
        if let Some((name, length)) = lengths.into_iter().find(|(_, length)| *length != count) {
            return Err(self.shape_error(format!("{name} has {length} entries for {count} rewards")));
        }
        let rows = inputs.logits_old.iter().zip(&inputs.logits_new).zip(&inputs.logits_ref);
        for (((old, new), reference), action) in rows.zip(&inputs.actions) {
            if old.len() != new.len() || new.len() != reference.len() {
                return Err(self.shape_error("old, new and reference logits differ in number"));
            }
            if *action >= new.len() {
                return Err(self.shape_error(format!("action {action} of {} choices does not exist", new.len())));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Case>, CasesError> {
    let text = input_file::read_text(path).map_err(|cause| CasesError::Read { path: path.to_owned(), cause })?;
    parse(&text)
}

/// Reads cases out of text.
pub(super) fn parse(text: &str) -> Result<Vec<Case>, CasesError> {
    let file: File = serde_json::from_str(text)?;
    for case in &file.cases {
        case.check()?;
    }
    if file.cases.is_empty() { Err(CasesError::Empty) } else { Ok(file.cases) }
}
