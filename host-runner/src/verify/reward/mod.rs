//! Do the published rewards come out as published? `energyllm verify reward CASES.csv`
//!
//! Each row of the file is one call of a published reward function: inputs in `in_*`, outputs in
//! `out_*`, or in `error` the name of what the call raised. Every row goes through the f64 oracle
//! ([`controller_core::reward::reference`]) and through the fixed-point code of the controller.
//! What the published code raises for must be a typed error here, from both.
//!
//! We differ in one point on purpose: where the published code turns a NaN into a NaN, or takes it
//! for harmless, the oracle refuses it. Fixed point has no NaN.

mod cases;
mod compare;
mod report;

pub use cases::{Case, Expected, Rule};
pub use compare::{FIXED_LIMIT, REAL_LIMIT};
pub use report::{RewardReport, VariantReport};

use super::table::{Table, TableError};
use std::path::Path;

/// Reads a file of cases and compares.
pub fn verify_file(path: &Path) -> Result<RewardReport, TableError> {
    verify(&Table::read(path, &cases::REQUIRED)?)
}

/// Compares the cases of a table.
pub fn verify(table: &Table) -> Result<RewardReport, TableError> {
    let cases = table.rows().map(|row| Case::read(&row)).collect::<Result<Vec<_>, _>>()?;
    Ok(RewardReport::of(cases.iter().map(|case| (case, compare::judge(case)))))
}
