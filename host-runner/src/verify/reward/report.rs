//! What the comparison found, variant by variant.

use super::cases::Case;
use super::compare::{FIXED_LIMIT, Kind, REAL_LIMIT, Verdict};
use controller_core::reward::Variant;
use std::fmt;

/// Most failures that are listed.
const LISTED: usize = 10;

/// The cases of one variant.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct VariantReport {
    /// Which reward.
    pub variant: Variant,
    /// All of its cases.
    pub cases: usize,
    /// Cases with numbers, compared in f64 and, but for the next two, in fixed point.
    pub compared: usize,
    /// Numbers beyond the range of fixed point: compared in f64, at the end of the range in fixed point.
    pub saturating: usize,
    /// At the switch of `step`, where fixed point took the other side.
    pub at_switch: usize,
    /// Cases in which the published code raises and we return a typed error.
    pub errors: usize,
    /// Cases with NaN, which we refuse.
    pub not_finite: usize,
    /// Largest relative error of the oracle.
    pub max_relative_error: f64,
    /// The case that has it; null when all are exact.
    pub worst_relative_case: Option<String>,
    /// Largest absolute error of fixed point.
    pub max_fixed_error: f64,
    /// The case that has it.
    pub worst_fixed_case: Option<String>,
    /// Cases that fail.
    pub failed: usize,
}

/// Everything `energyllm verify reward` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardReport {
    /// One per variant, in the order of their first case.
    pub variants: Vec<VariantReport>,
    /// The first failures: case and reason.
    pub failures: Vec<(String, String)>,
    /// No case fails.
    pub pass: bool,
}

impl RewardReport {
    pub(super) fn of<'a>(judged: impl Iterator<Item = (&'a Case, Verdict)>) -> Self {
        let mut report = Self { variants: Vec::new(), failures: Vec::new(), pass: true };
        for (case, verdict) in judged {
            report.add(case, verdict);
        }
        report
    }

    fn add(&mut self, case: &Case, verdict: Verdict) {
        let place = self.variants.iter().position(|entry| entry.variant == case.variant).unwrap_or_else(|| {
            self.variants.push(VariantReport::new(case.variant));
            self.variants.len() - 1
        });
        let entry = &mut self.variants[place];
        entry.cases += 1;
        let count = match verdict.kind {
            Kind::Compared => &mut entry.compared,
            Kind::Saturating => &mut entry.saturating,
            Kind::AtSwitch => &mut entry.at_switch,
            Kind::Error => &mut entry.errors,
            Kind::NotFinite => &mut entry.not_finite,
        };
        *count += 1;
        for (error, worst, id) in [
            (verdict.real_error, &mut entry.max_relative_error, &mut entry.worst_relative_case),
            (verdict.fixed_error, &mut entry.max_fixed_error, &mut entry.worst_fixed_case),
        ] {
            if error > *worst {
                *worst = error;
                *id = Some(case.id.clone());
            }
        }
        if let Some(why) = verdict.failure {
            self.pass = false;
            entry.failed += 1;
            if self.failures.len() < LISTED {
                self.failures.push((format!("{} {}", case.variant, case.id), why));
            }
        }
    }
}

impl VariantReport {
    fn new(variant: Variant) -> Self {
        Self {
            variant,
            cases: 0,
            compared: 0,
            saturating: 0,
            at_switch: 0,
            errors: 0,
            not_finite: 0,
            max_relative_error: 0.0,
            worst_relative_case: None,
            max_fixed_error: 0.0,
            worst_fixed_case: None,
            failed: 0,
        }
    }
}

impl fmt::Display for RewardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.variants {
            let VariantReport { variant, cases, compared, saturating, at_switch, errors, not_finite, .. } = report;
            writeln!(f, "{variant}: {cases} cases")?;
            writeln!(f, "  {compared} compared, {errors} typed errors, {not_finite} refused for NaN")?;
            if saturating + at_switch > 0 {
                writeln!(f, "  {saturating} beyond the range of fixed point, {at_switch} at the switch")?;
            }
            let case = |id: &Option<String>| id.as_ref().map_or_else(String::new, |id| format!(", case {id}"));
            let (relative, fixed) = (report.max_relative_error, report.max_fixed_error);
            writeln!(
                f,
                "  f64, relative error:   {relative:9.2e} of {REAL_LIMIT:.0e}{}",
                case(&report.worst_relative_case)
            )?;
            writeln!(
                f,
                "  fixed point, absolute: {fixed:9.2e} of {FIXED_LIMIT:.0e}{}",
                case(&report.worst_fixed_case)
            )?;
        }
        for (case, why) in &self.failures {
            writeln!(f, "FAIL {case}: {why}")?;
        }
        let failed: usize = self.variants.iter().map(|report| report.failed).sum();
        if failed > self.failures.len() {
            writeln!(f, "and {} more", failed - self.failures.len())?;
        }
        write!(f, "{}", if self.pass { "pass" } else { "FAIL" })
    }
}
