//! Grid search on a board into a CSV: `energyllm sweep`.
//!
//! Every setting of a grid of clocks, batch, depth and fan is run as full batches of equal requests: warm-up batches
//! until two in a row agree, then repeats for a mean and its noise. A batch that another process disturbed is discarded
//! and repeated. Rows are appended one by one and survive a crash; a sweep that is started again goes on behind the last
//! whole row and never runs a row twice.
//!
//! | module | role |
//! |---|---|
//! | [`grid`] | the settings, each once |
//! | [`rig`] | who runs a batch: the simulated board |
//! | [`real`] | the real board with a language model |
//! | [`row`] | one setting measured: settle, repeat, discard |
//! | [`file`](mod@file) | the CSV, its manifest, and going on after a crash |

pub mod file;
pub mod grid;
pub mod real;
pub mod rig;
pub mod row;

pub use grid::{Grid, Key};
pub use rig::{Batch, Rig, SimulatedRig};
pub use row::{Effort, Row};
