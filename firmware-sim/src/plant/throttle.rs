//! The clock cap that heat imposes.
//!
//! Once a period the kernel's step-wise governor looks at the die: at or above onset the cap falls one clock, below
//! release it rises one. Between the two it holds. With onset at the 99.0 C passive trip of the Orin device tree this
//! pins the die at 98.9 C and lets the clock toggle between neighbours, as the published fan-off runs show.
//!
//! Not modelled: the CPU and memory throttling after some minutes that stretched one published run to 60 s a batch.

use super::profile::Throttling;

/// Index of the highest clock that heat allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCap {
    index: usize,
    top: usize,
}

impl ClockCap {
    /// No cap: every clock up to index `top`.
    #[must_use]
    pub fn released(top: usize) -> Self {
        Self { index: top, top }
    }

    /// The clock that runs when `requested` is asked for.
    #[must_use]
    pub fn limit(self, requested: usize) -> usize {
        requested.min(self.index)
    }

    /// One look at the die; call once every [`Throttling::period_s`].
    pub fn look(&mut self, throttling: &Throttling, die_c: f64) {
        if die_c >= throttling.onset_c {
            self.index = self.index.saturating_sub(1);
        } else if die_c < throttling.release_c {
            self.index = (self.index + 1).min(self.top);
        }
    }
}
