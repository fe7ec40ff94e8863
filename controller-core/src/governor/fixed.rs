//! The same action every turn: the static settings that any controller has to beat.

use super::{Governor, Situation};
use crate::action::{Action, ActionSpace, Knob};
use crate::units::KiloHertz;

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

    /// Race to idle: every batch as fast as the board can, with the fan full so that heat does not
    /// cut the race short. What the board does between batches is no knob: it idles, at one power
    /// whatever the clock, and nobody waits for a batch to fill.
    #[must_use]
    pub fn race_to_idle(actions: &ActionSpace) -> Self {
        Self(Action { fan: actions.last(Knob::Fan), ..actions.fastest() })
    }

    /// [`Fixed::max`] under a cap on both clocks, as a power mode of `nvpmodel` sets one: the
    /// highest clocks not above `cap`; `None` when the board has none so low.
    #[must_use]
    pub fn capped(actions: &ActionSpace, cap: KiloHertz) -> Option<Self> {
        let below = |clocks: &[u32]| {
            let index = clocks.iter().rposition(|&khz| khz <= cap.0)?;
            u8::try_from(index).ok()
        };
        let (prefill, decode) = (below(&actions.prefill_khz)?, below(&actions.decode_khz)?);
        Some(Self(Action { prefill, decode, ..actions.fastest() }))
    }
}

impl Governor for Fixed {
    fn decide(&mut self, _: &Situation<'_>) -> Action {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;

    #[test]
    fn a_cap_takes_the_highest_clocks_below_it() {
        let actions = small_space();
        let clocks = |khz| Fixed::capped(&actions, KiloHertz(khz)).map(|fixed| (fixed.0.prefill, fixed.0.decode));
        assert_eq!(clocks(816_000), Some((1, 2)));
        assert_eq!(clocks(815_999), Some((1, 1)));
        assert_eq!(clocks(u32::MAX), Some((2, 3)));
        assert_eq!(clocks(305_999), None);
    }
}
