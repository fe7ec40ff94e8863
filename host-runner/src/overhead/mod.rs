//! What control costs beside the work that it controls, and beside a grid search: every second and joule of a method has a
//! part that it belongs to.
//!
//! Two clocks go into a ledger. What the board does (batches, gaps) takes the board's time, which is simulated. What our
//! code does (look, think, learn, write a clock) is measured on the machine that runs it, and the board idles meanwhile: its
//! energy is that of the idle board for as long. What of the loop's wall time belongs to none of the parts is `other`; the
//! time that simulating a batch takes is not counted, since it stands for the batch.
//!
//! On a real board there is one clock. Setting a clock then takes the time until the board has followed, and all that is not
//! inference costs the power that was measured beside the batches.
//!
//! | module | role |
//! |---|---|
//! | [`ledger`] | time and energy by part |
//! | [`rig`] | what a method needs of a board, and what a batch earns under the published reward |
//! | [`simulated`] | the simulated board |
//! | [`real`] | the real one, with llama.cpp |
//! | [`methods`] | inference alone, grid search, a frozen policy, policies that learn |
//! | [`files`] | both CSV files |

pub mod files;
pub mod ledger;
pub mod methods;
pub mod real;
pub mod rig;
pub mod simulated;

use ledger::Ledger;
use serde::{Deserialize, Serialize};

/// One evaluation of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Clock of the prefill and of the decode, by index.
    pub clocks: [u8; 2],
    /// Sequences.
    pub batch: u16,
    /// Layers.
    pub depth: u16,
    /// Prefill and decode, J.
    pub energy_j: f64,
    /// Prefill and decode, s.
    pub latency_s: f64,
    /// Generated tokens.
    pub generated_tokens: u32,
    /// Die at the end, °C.
    pub temperature_c: f64,
    /// Published reward `step`; none for settings outside the published ones.
    pub reward: Option<f64>,
    /// The best that any published action would have earned at that temperature; nobody knows it on a real board.
    pub best_reward: Option<f64>,
}

/// What a method did.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its name.
    pub method: &'static str,
    /// Evaluation by evaluation.
    pub steps: Vec<Step>,
    /// Its time and energy.
    pub ledger: Ledger,
    /// Actions drawn at once; 0 where none are drawn.
    pub group: usize,
    /// Groups drawn.
    pub groups: u32,
    /// Updates of the parameters.
    pub updates: u32,
    /// It did all that it set out to do.
    pub complete: bool,
}
