//! The same action every turn: the static settings that any controller has to beat.

use super::{Governor, Situation};
use crate::action::{Action, ActionSpace};

/// Always the same action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed(pub Action);

impl Fixed {
    /// Highest clocks, largest batch, full depth; the fan follows the board's own curve.
    #[must_use]
    pub fn max(actions: &ActionSpace) -> Self {
        Self(actions.fastest())
    }

    /// Lowest clocks and smallest batch at full depth; the fan follows the board's own curve.
    #[must_use]
    pub fn min(actions: &ActionSpace) -> Self {
        Self(Action { fan: 0, ..actions.safest() })
    }
}

impl Governor for Fixed {
    fn decide(&mut self, _: &Situation<'_>) -> Action {
        self.0
    }
}
