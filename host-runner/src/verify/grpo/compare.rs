//! Our numbers against those of the file, and what came of it.

use super::cases::{Case, flat};
use super::compute::{Computed, Quantity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Largest difference, relative to a number above 1, absolute below. Rounding of a group's mean
/// comes on top where rewards differ by little.
pub const LIMIT: f64 = 1e-12;
/// Largest difference between fixed-point and floating-point advantages, absolute.
pub const FIXED_LIMIT: f64 = 1e-8;

/// Most failures that are listed.
const LISTED: usize = 10;

/// One quantity over all cases.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct QuantityReport {
    /// Its name in the file.
    pub quantity: String,
    /// Cases that have it.
    pub cases: usize,
    /// Numbers compared.
    pub numbers: usize,
    /// Largest difference, relative above 1.
    pub max_error: f64,
    /// The case that has it; null when all are exact.
    pub worst_case: Option<String>,
    /// Cases in which it fails.
    pub failed: usize,
}

/// Everything `energyllm verify grpo` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrpoReport {
    /// Cases of the file.
    pub cases: usize,
    /// By quantity and form.
    pub quantities: BTreeMap<String, QuantityReport>,
    /// Cases whose logits were refused as not finite and replaced by a uniform policy.
    pub refused: usize,
    /// Largest difference between fixed-point and floating-point advantages.
    pub max_fixed_error: f64,
    /// Names in the file that mean nothing to us.
    pub unknown: BTreeSet<String>,
    /// The first failures: case, quantity and numbers.
    pub failures: Vec<String>,
    /// Number of failures.
    pub failed: usize,
}

impl GrpoReport {
    /// Nothing fails and something was compared.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.failed == 0 && self.max_fixed_error <= FIXED_LIMIT && !self.quantities.is_empty()
    }

    /// Largest difference over everything.
    #[must_use]
    pub fn max_error(&self) -> f64 {
        self.quantities.values().fold(0.0, |worst, quantity| worst.max(quantity.max_error))
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.failures.len() < LISTED {
            self.failures.push(why);
        }
    }
}

pub(super) fn judge(case: &Case, computed: &Computed, report: &mut GrpoReport) {
    report.cases += 1;
    report.refused += usize::from(computed.refused);
    report.max_fixed_error = report.max_fixed_error.max(computed.fixed_error);
    for (name, value) in &case.expected {
        match (value, computed.forms.get(name.as_str())) {
            (Value::Object(quantities), Some(form)) => {
                for (quantity, value) in quantities {
                    let found = form.get(quantity.as_str());
                    one(case, &format!("{name}.{quantity}"), value, found, computed.rounding, report);
                }
            }
            _ => one(case, name, value, computed.advantages.get(name.as_str()), computed.rounding, report),
        }
    }
}

fn one(case: &Case, name: &str, value: &Value, found: Option<&Quantity>, rounding: f64, report: &mut GrpoReport) {
    let Some(found) = found else {
        report.unknown.insert(name.to_owned());
        return;
    };
    let entry = report.quantities.entry(name.to_owned()).or_default();
    name.clone_into(&mut entry.quantity);
    entry.cases += 1;
    let Some(expected) = flat(value).filter(|expected| is_alike(expected, found)) else {
        entry.failed += 1;
        report.fail(format!("case {}: {name} has another shape than its inputs ask for", case.label()));
        return;
    };
    entry.numbers += expected.len();
    let mut failure = None;
    for (&expected, (&low, &high)) in expected.iter().zip(found.low.iter().zip(&found.high)) {
        let apart = distance(expected, low, high);
        let error = apart / expected.abs().max(1.0);
        if error > entry.max_error {
            entry.max_error = error;
            entry.worst_case = Some(case.label());
        }
        let holds = error <= LIMIT + rounding;
        if !holds && failure.is_none() {
            failure = Some(format!("case {}: {name} is {low}, the file says {expected}", case.label()));
        }
    }
    if let Some(why) = failure {
        entry.failed += 1;
        report.fail(why);
    }
}

/// A scalar that is null stands for a batch without any such number.
fn is_alike(expected: &[f64], found: &Quantity) -> bool {
    expected.len() == found.low.len()
}

/// From the nearest point between `low` and `high`; NaN is at home with NaN alone.
fn distance(expected: f64, low: f64, high: f64) -> f64 {
    match (expected.is_nan(), low.is_nan() || high.is_nan()) {
        (true, true) => 0.0,
        (false, false) => (low - expected).max(expected - high).max(0.0),
        _ => f64::INFINITY,
    }
}

impl fmt::Display for GrpoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<45}{:>7}{:>9}{:>11}  worst case", "quantity", "cases", "numbers", "error")?;
        for report in self.quantities.values() {
            let QuantityReport { quantity, cases, numbers, max_error, worst_case, failed } = report;
            let worst = worst_case.as_deref().unwrap_or("-");
            let mark = if *failed > 0 { "  FAIL" } else { "" };
            writeln!(f, "{quantity:<45}{cases:>7}{numbers:>9}{max_error:>11.1e}  {worst}{mark}")?;
        }
        writeln!(f, "\n{} cases; limit {LIMIT:.0e}, plus rounding where rewards differ by little", self.cases)?;
        let fixed = self.max_fixed_error;
        writeln!(f, "advantages in fixed point against f64, all variants: {fixed:.1e} of {FIXED_LIMIT:.0e}")?;
        if self.refused > 0 {
            writeln!(
                f,
                "{} cases have logits that are not finite: refused, and compared with the uniform policy of the \
                 published code",
                self.refused
            )?;
        }
        if !self.unknown.is_empty() {
            let names: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
            writeln!(f, "not checked, unknown names: {}", names.join(", "))?;
        }
        for why in &self.failures {
            writeln!(f, "FAIL {why}")?;
        }
        if self.failed > self.failures.len() {
            writeln!(f, "and {} more", self.failed - self.failures.len())?;
        }
        write!(f, "{}", if self.pass() { "pass" } else { "FAIL" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{cases::parse, verify};
    use super::*;

    /// Two samples of one group; the second's ratio of 1.5 is clipped. All numbers by hand.
    fn file(change: impl FnOnce(&mut Value)) -> String {
        let half = 0.5f64.ln();
        let mut file = serde_json::json!({"cases": [{
            "id": 1, "name": "by hand",
            "inputs": {
                "rewards": [0.0, 1.0], "group_ids": [5, 5], "actions": [0, 1],
                "logits_old": [[0, 0], [half, 0.0]], "logits_new": [[0, 0], [0, 0]], "logits_ref": [[0, 0], [0, 0]],
                "clip_eps": 0.2, "entropy_coef": 0.0, "kl_coef": 0.1,
                // log(1/3): half over a third is a ratio of 1.5.
                "old_logp_override": [half, (1.0f64 / 3.0).ln()], "temperature_headroom": null
            },
            "expected": {
                "adv_group": [-1.0 / 1.000_000_02, 1.0 / 1.000_000_02],
                "recommended": {
                    "ratio": [1.0, 1.5], "clipped": [false, true], "kl_exact_categorical": 0.0,
                    "policy_loss": -0.1 / 1.000_000_02,
                    "grad_new_logits_exactkl": [[0.25 / 1.000_000_02, -0.25 / 1.000_000_02], [0.0, 0.0]]
                }
            }
        }]});
        change(&mut file);
        file.to_string()
    }

    fn report(change: impl FnOnce(&mut Value)) -> GrpoReport {
        verify(&parse(&file(change)).unwrap()).unwrap()
    }

    #[test]
    fn a_case_by_hand_passes_and_each_wrong_number_fails() {
        let good = report(|_| {});
        assert!(good.pass(), "{good}");
        assert_eq!((good.cases, good.quantities.len(), good.refused), (1, 6, 0));
        for (pointer, wrong) in [
            ("/cases/0/expected/adv_group/0", -1.0),
            ("/cases/0/expected/recommended/ratio/1", 1.500_000_1),
            ("/cases/0/expected/recommended/clipped/0", 1.0),
            ("/cases/0/expected/recommended/policy_loss", 0.1),
            ("/cases/0/expected/recommended/grad_new_logits_exactkl/1/0", 0.1),
        ] {
            let bad = report(|file| *file.pointer_mut(pointer).unwrap() = wrong.into());
            assert_eq!((bad.pass(), bad.failed), (false, 1), "{pointer}: {bad}");
        }
    }

    #[test]
    fn shapes_and_names_are_looked_at() {
        let other = report(|file| file["cases"][0]["expected"]["recommended"]["ratio"] = serde_json::json!([1.0]));
        assert!(other.failures[0].contains("another shape"), "{other}");
        let unknown = report(|file| file["cases"][0]["expected"]["recommended"]["kl_k9"] = 1.0.into());
        assert!(unknown.pass() && unknown.unknown.contains("recommended.kl_k9"), "{unknown}");
        let none = report(|file| file["cases"][0]["expected"] = serde_json::json!({"other": 1}));
        assert!(!none.pass(), "nothing compared is no pass");
    }

    #[test]
    fn broken_files_are_answered() {
        let message = |change: fn(&mut Value)| parse(&file(change)).unwrap_err().to_string();
        assert!(message(|file| file["cases"] = serde_json::json!([])).contains("no cases"));
        assert!(
            message(|file| file["cases"][0]["inputs"]["actions"] = serde_json::json!([0])).contains("actions has 1")
        );
        assert!(message(|file| file["cases"][0]["inputs"]["actions"][1] = 2.into()).contains("action 2 of 2"));
        assert!(message(|file| file["cases"][0]["inputs"]["rewards"][1] = "x".into()).contains("not a number"));
    }

    #[test]
    fn logits_that_are_not_finite_are_refused_and_count_as_uniform() {
        let odd = report(|file| file["cases"][0]["inputs"]["logits_new"][1][0] = "nan".into());
        assert!(odd.pass() && odd.refused == 1, "{odd}");
    }
}
