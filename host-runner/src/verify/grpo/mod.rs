//! Is our GRPO the textbook's? `energyllm verify grpo CASES.json`
//!
//! Each case is a batch of samples in groups with old, new and reference logits, and what an
//! independent implementation computed for it. What is exercised is what trains:
//! [`crate::grpo::advantage`], [`crate::grpo::categorical`] and [`crate::grpo::loss`], with the
//! options that reproduce the published code. The rewards also go, rounded to millionths, through
//! the controller's fixed-point advantages, in all of their variants.
//!
//! Logits that are not finite are refused by [`Categorical::checked`]. The published code puts a
//! uniform policy in their place, so the numbers of such a case are compared with that.
//!
//! [`Categorical::checked`]: crate::grpo::categorical::Categorical::checked

mod cases;
mod compare;
mod compute;

pub use cases::{Case, CasesError};
pub use compare::{GrpoReport, LIMIT};

use std::path::Path;

/// Reads a file of cases and compares.
pub fn verify_file(path: &Path) -> Result<GrpoReport, CasesError> {
    verify(&cases::read(path)?)
}

/// Compares cases.
pub fn verify(cases: &[Case]) -> Result<GrpoReport, CasesError> {
    let mut report = GrpoReport::default();
    for case in cases {
        compare::judge(case, &compute::compute(case)?, &mut report);
    }
    Ok(report)
}
