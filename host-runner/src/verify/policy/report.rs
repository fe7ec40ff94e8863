//! What the comparison found.

use super::compare::{DOUBLE_LIMIT, FLOAT_LIMIT};
use crate::measure::percentile::percentile;
use controller_core::action::{KNOBS, Knob};
use serde_json::{Map, Value};
use std::fmt;

/// Smallest share of equal actions of a frozen joint policy.
const JOINT_SHARE: f64 = 0.985;
/// Smallest share of equal choices of each head of a frozen factored policy.
const HEAD_SHARE: f64 = 0.995;
/// Largest measured error of a lead, logits. No image of the policy in the golden file is further off.
const MEASURED_LIMIT: f64 = 0.5;
/// Most rows that are named.
const LISTED: usize = 8;

/// The largest error of something, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worst {
    /// Its size.
    pub error: f64,
    /// The row.
    pub row: Option<String>,
    /// There was something to compare.
    pub seen: bool,
}

impl Worst {
    pub(super) fn see(&mut self, difference: f64, row: &str) {
        self.seen = true;
        // A NaN is the worst there is.
        let error = if difference.is_nan() { f64::INFINITY } else { difference.abs() };
        if error > self.error {
            self.error = error;
            self.row = Some(row.to_owned());
        }
    }
}

/// The trained policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatReport {
    /// Rows with another action in f32.
    pub wrong_f32: Vec<String>,
    /// Rows with another action in f64.
    pub wrong_f64: Vec<String>,
    /// Log-probabilities compared.
    pub log_probabilities: usize,
    /// Errors of log-probabilities and entropies in f32.
    pub error_f32: Worst,
    /// The same in f64, the largest logit included.
    pub error_f64: Worst,
    /// Errors of log-probabilities in f64 against those that the board logged.
    pub error_logged: Worst,
}

impl FloatReport {
    fn passes(&self) -> bool {
        self.wrong_f32.is_empty()
            && self.wrong_f64.is_empty()
            && self.error_f32.error <= FLOAT_LIMIT
            && self.error_f64.error <= DOUBLE_LIMIT
            && self.error_logged.error <= FLOAT_LIMIT
    }
}

/// The frozen policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrozenReport {
    /// Size of the image.
    pub bytes: usize,
    /// One head over all actions.
    pub joint: bool,
    /// The bounds are proven; else measured.
    pub is_proven: bool,
    /// Rows compared.
    pub rows: usize,
    /// Rows with the same action.
    pub same_action: usize,
    /// Rows with the same choice, per knob.
    pub same_choice: [usize; KNOBS],
    /// Bound on the error of a lead, logits: one per row when proven, one at all when measured.
    pub bounds: Vec<f64>,
    /// Rows whose lead exceeds its bound.
    pub certain: usize,
    /// Rows with another action.
    pub different: Vec<String>,
    /// Those among them whose lead exceeds its bound.
    pub wrong: Vec<String>,
}

impl FrozenReport {
    fn share(&self, count: usize) -> f64 {
        count as f64 / self.rows.max(1) as f64
    }

    fn passes(&self) -> bool {
        let faithful = if self.joint {
            self.share(self.same_action) >= JOINT_SHARE
        } else {
            self.same_choice.iter().all(|count| self.share(*count) >= HEAD_SHARE)
        };
        let close = self.is_proven || self.bound().is_none_or(|(_, largest)| largest <= MEASURED_LIMIT);
        faithful && close && self.wrong.is_empty() && self.rows > 0
    }

    /// Median and largest bound; `None` without any.
    fn bound(&self) -> Option<(f64, f64)> {
        let mut sorted = self.bounds.clone();
        sorted.sort_by(f64::total_cmp);
        Some((percentile(&sorted, 50.0)?, *sorted.last()?))
    }
}

/// Everything `energyllm verify policy` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyReport {
    /// What sort of file the policy is.
    pub sort: &'static str,
    /// Golden rows.
    pub rows: usize,
    /// The trained policy; absent for an image.
    pub float: Option<FloatReport>,
    /// The frozen policy.
    pub frozen: FrozenReport,
}

impl PolicyReport {
    pub(super) fn new(sort: &'static str, rows: usize, float: Option<FloatReport>, frozen: FrozenReport) -> Self {
        Self { sort, rows, float, frozen }
    }

    /// Every limit is kept.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.float.as_ref().is_none_or(FloatReport::passes) && self.frozen.passes()
    }

    /// The numbers by name.
    #[must_use]
    pub fn figures(&self) -> Map<String, Value> {
        let mut figures = Map::new();
        let mut add = |name: &str, value: Value| drop(figures.insert(name.to_owned(), value));
        add("rows", self.rows.into());
        if let Some(float) = &self.float {
            add("wrong_actions_f32", float.wrong_f32.len().into());
            add("wrong_actions_f64", float.wrong_f64.len().into());
            add("log_probabilities", float.log_probabilities.into());
            add("max_error_f32_nats", float.error_f32.error.into());
            add("max_error_f64_nats", float.error_f64.error.into());
            if float.error_logged.seen {
                add("max_error_logged_nats", float.error_logged.error.into());
            }
        }
        let frozen = &self.frozen;
        add("image_bytes", frozen.bytes.into());
        add("same_action_share", frozen.share(frozen.same_action).into());
        for (knob, count) in Knob::ALL.into_iter().zip(frozen.same_choice) {
            add(&format!("same_{}_share", knob.to_string().replace(' ', "_")), frozen.share(count).into());
        }
        if let Some((median, largest)) = frozen.bound() {
            add("bound_median_nats", median.into());
            add("bound_max_nats", largest.into());
        }
        add("bound_is_proven", u8::from(frozen.is_proven).into());
        add("certain_rows", frozen.certain.into());
        add("certain_rows_wrong", frozen.wrong.len().into());
        figures
    }
}

/// The first few names.
fn named(rows: &[String]) -> String {
    let more = if rows.len() > LISTED { ", ..." } else { "" };
    format!("{}{more}", rows[..rows.len().min(LISTED)].join(", "))
}

impl fmt::Display for PolicyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} golden rows", self.sort, self.rows)?;
        if let Some(float) = &self.float {
            let at = |worst: &Worst| worst.row.as_ref().map_or_else(String::new, |row| format!(", row {row}"));
            let actions = |wrong: &[String]| match wrong {
                [] => "same action in every row".to_owned(),
                rows => format!("another action in {} rows: {}", rows.len(), named(rows)),
            };
            writeln!(f, "trained policy, {} log-probabilities and the entropies", float.log_probabilities)?;
            for (name, wrong, worst, limit) in [
                ("f32", &float.wrong_f32, &float.error_f32, FLOAT_LIMIT),
                ("f64", &float.wrong_f64, &float.error_f64, DOUBLE_LIMIT),
            ] {
                writeln!(
                    f,
                    "  {name}: {}; error {:.2e} of {limit:.0e} nats{}",
                    actions(wrong),
                    worst.error,
                    at(worst)
                )?;
            }
            if float.error_logged.seen {
                let worst = &float.error_logged;
                writeln!(
                    f,
                    "  f64 against the log of the board: {:.2e} of {FLOAT_LIMIT:.0e} nats{}",
                    worst.error,
                    at(worst)
                )?;
            }
        }
        let frozen = &self.frozen;
        let shape = if frozen.joint { "joint" } else { "factored" };
        writeln!(
            f,
            "frozen policy, {shape}, {} bytes: 14-bit weights, 13-bit activations, 32-bit sums, scales powers of two",
            frozen.bytes
        )?;
        let percent = |count: usize| frozen.share(count) * 100.0;
        let limit = if frozen.joint { format!(" of at least {} %", JOINT_SHARE * 100.0) } else { String::new() };
        writeln!(f, "  same action: {:.2} %{limit}", percent(frozen.same_action))?;
        if !frozen.joint {
            for (knob, count) in Knob::ALL.into_iter().zip(frozen.same_choice) {
                let name = knob.to_string();
                writeln!(f, "    same {name:<14} {:.2} % of at least {} %", percent(count), HEAD_SHARE * 100.0)?;
            }
        }
        match (frozen.bound(), frozen.is_proven) {
            (Some((median, largest)), true) => writeln!(
                f,
                "  proven bound on the error of a lead: {median:.4} in the median, {largest:.4} at most, in logits"
            )?,
            (Some((_, largest)), false) => writeln!(
                f,
                "  error of a lead, measured on the golden file's own leads: {largest:.4} of {MEASURED_LIMIT} logits"
            )?,
            (None, _) => writeln!(f, "  no bound: the golden file has no log-probabilities of second actions")?,
        }
        writeln!(f, "  the lead exceeds the bound in {} rows, {} of them differ", frozen.certain, frozen.wrong.len())?;
        if !frozen.different.is_empty() {
            writeln!(f, "  rows that differ: {}", named(&frozen.different))?;
        }
        write!(f, "{}", if self.pass() { "pass" } else { "FAIL" })
    }
}
