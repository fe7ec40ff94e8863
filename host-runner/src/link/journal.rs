//! The turns of a run in the order in which a controller hears of them.
//!
//! A controller is a function of its configuration and its turns. So one that missed some, or was
//! reset, can be told the rest, and decides from then on as if it had been there all the time. Some
//! 600 bytes a turn, for as long as the run lasts.

use controller_core::action::Decision;
use controller_core::protocol::{Reply, Request};
use controller_core::record::StepRecord;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;

/// Half a turn, with the answer that a controller must give.
#[derive(Clone, Debug, PartialEq)]
pub enum Half {
    /// The decision.
    Step {
        /// Time on the board's clock.
        now: Instant,
        /// What was known.
        telemetry: Telemetry,
        /// What is decided.
        decision: Decision,
    },
    /// The settlement.
    Settle {
        /// What the turn cost.
        measurement: Measurement,
        /// The record of the turn.
        record: Box<StepRecord>,
    },
}

impl Half {
    /// What the firmware is asked.
    #[must_use]
    pub const fn request(&self) -> Request<'static> {
        match self {
            Self::Step { now, telemetry, .. } => Request::Telemetry { now: *now, telemetry: *telemetry },
            Self::Settle { measurement, .. } => Request::Measurement(*measurement),
        }
    }

    /// Whether the firmware answered as the controller in this process did.
    #[must_use]
    pub fn agrees_with(&self, reply: &Reply) -> bool {
        match (self, reply) {
            (Self::Step { decision, .. }, Reply::Decision(theirs)) => decision == theirs,
            (Self::Settle { record, .. }, Reply::Settled(theirs)) => **record == *theirs,
            _ => false,
        }
    }
}
