//! Who chooses the action. Every governor sits behind the same trait and the same supervisor.

mod fixed;
mod learned;
mod ondemand;
mod two_rule;

pub use fixed::Fixed;
pub use learned::{Learned, LearnedError, check_actions};
pub use ondemand::Ondemand;
pub use two_rule::TwoRule;

use crate::action::{Action, ActionSpace};
use crate::observation::Observer;
use crate::telemetry::Telemetry;

/// What a governor may look at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The board and the queue now.
    pub telemetry: &'a Telemetry,
    /// What is remembered of the past.
    pub observer: &'a Observer,
    /// What may be chosen.
    pub actions: &'a ActionSpace,
}

/// Chooses an action for the next turn.
pub trait Governor {
    /// The action that this governor wants. The supervisor has the last word.
    fn decide(&mut self, situation: &Situation<'_>) -> Action;

    /// The normalized input of the last decision; empty for governors that use none.
    fn observation(&self) -> &[i16] {
        &[]
    }
}

impl<G: Governor> Governor for &mut G {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        (**self).decide(situation)
    }

    fn observation(&self) -> &[i16] {
        (**self).observation()
    }
}
