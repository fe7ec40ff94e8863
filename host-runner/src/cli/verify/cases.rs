//! `energyllm verify reward` and `verify grpo`: files of cases.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use crate::verify::{grpo, reward};
use anyhow::Context as _;
use clap::Args;
use std::fmt::Display;
use std::path::PathBuf;

/// Compare the published rewards, in f64 and in the controller's fixed point, with a file of cases.
///
/// A CSV file with a header: `case_id`, `variant` (`early_exit`, `grpo_old` or `unified`), inputs
/// `in_*`, outputs `out_*`, and `error`, the name of what the published code raises, where it does.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm verify reward reward_cases.csv --json")]
pub struct Reward {
    /// The cases.
    cases: PathBuf,
}

pub fn reward(options: &Reward, format: Format) -> anyhow::Result<Outcome> {
    let report = reward::verify_file(&options.cases)
        .with_context(|| format!("cannot verify rewards against {}", options.cases.display()))?;
    let mut object = Object::new("verify reward", None, false);
    for entry in &report.variants {
        let variant = entry.variant;
        object.figure(&format!("{variant}_cases"), entry.cases);
        object.figure(&format!("{variant}_failed"), entry.failed);
        object.figure(&format!("{variant}_max_relative_error"), entry.max_relative_error);
        object.figure(&format!("{variant}_max_fixed_error"), entry.max_fixed_error);
    }
    object.rows = report.variants.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    object.pass = report.pass;
    show(&object, &report, format)
}

/// Compare advantages, ratios, clipping, divergences, entropies, losses and gradients of our GRPO
/// with a file of cases.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm verify grpo grpo_cases.json --json")]
pub struct Grpo {
    /// The cases, JSON.
    cases: PathBuf,
}

pub fn grpo(options: &Grpo, format: Format) -> anyhow::Result<Outcome> {
    let report = grpo::verify_file(&options.cases)
        .with_context(|| format!("cannot verify GRPO against {}", options.cases.display()))?;
    let mut object = Object::new("verify grpo", None, false);
    object.figure("cases", report.cases);
    object.figure("failed", report.failed);
    object.figure("max_error", report.max_error());
    object.figure("max_fixed_advantage_error", report.max_fixed_error);
    object.figure("refused_cases", report.refused);
    object.figure("unknown_quantities", report.unknown.len());
    object.rows = report.quantities.values().map(serde_json::to_value).collect::<Result<_, _>>()?;
    object.pass = report.pass();
    show(&object, &report, format)
}

/// Prints a report and says how it ended.
pub(super) fn show(object: &Object, report: &impl Display, format: Format) -> anyhow::Result<Outcome> {
    match format {
        Format::Text => print(&report.to_string())?,
        Format::Json => object.print()?,
    }
    Ok(if object.pass { Outcome::Passed } else { Outcome::Failed })
}
