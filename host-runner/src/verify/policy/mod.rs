//! Does a policy still decide as it was recorded? `energyllm verify policy POLICY GOLDEN.csv`
//!
//! The golden file holds states, the action that an independent implementation chose in each, and
//! log-probabilities. A checkpoint, the published prototype's or ours, is run in f32 and in f64 and
//! must choose the same everywhere; then it is frozen in memory, and the frozen policy must choose
//! the same wherever [`ErrorBound`] proves that it does. Of an image alone the trained numbers are
//! not known: its bound is measured on the golden file's own probabilities.
//!
//! States are the prototype's for what comes from it (last clocks, batch and headroom scaled to 0..1),
//! and the network's own inputs, -1..1, for ours.
//!
//! [`ErrorBound`]: crate::quantize::ErrorBound

mod compare;
mod golden;
mod report;

pub use compare::{FLOAT_LIMIT, verify_file};
pub use golden::{Golden, Ranked};
pub use report::{FloatReport, FrozenReport, PolicyReport};

use crate::grpo::checkpoint::CheckpointError;
use crate::import::prototype::PrototypeError;
use crate::quantize::FreezeError;
use crate::verify::table::TableError;
use controller_core::policy::ImageError;

/// Why a policy cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy's file cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not a policy image.
    #[error("not a usable policy image: {0}")]
    Image(#[from] ImageError),
    /// Not a checkpoint of the prototype.
    #[error(transparent)]
    Prototype(#[from] PrototypeError),
    /// Not a checkpoint of ours.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Cannot be frozen.
    #[error("cannot freeze it: {0}")]
    Freeze(#[from] FreezeError),
    /// The golden file is unusable.
    #[error("golden file: {0}")]
    Golden(#[from] TableError),
    /// Golden file and policy do not belong together.
    #[error("the golden file has {columns} state columns s0, s1, ..., the policy has {inputs} inputs")]
    Inputs {
        /// Columns of the file.
        columns: usize,
        /// Inputs of the policy.
        inputs: usize,
    },
    /// An action beyond the table.
    #[error("golden row {row}: action {action} is not among the policy's {count}")]
    Action {
        /// The row.
        row: String,
        /// The action.
        action: usize,
        /// Actions of the policy.
        count: usize,
    },
}
