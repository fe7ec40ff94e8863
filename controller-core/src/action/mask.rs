//! Which values of every knob may be chosen at all.

use super::{Action, ActionSpace, KNOBS, Knob};

/// A set of allowed actions: for every knob, the allowed indices. No knob is ever left without
/// one, so there is always something to choose.
///
/// ```
/// use controller_core::action::{Action, ActionMask, Knob};
///
/// let mut mask = ActionMask::ALL;
/// assert!(mask.forbid(Knob::Batch, 0));
/// assert!(mask.at_most(Knob::Decode, 6));
/// assert!(!mask.allows(Action { batch: 0, ..Action::default() }));
/// assert!(mask.allows(Action { batch: 1, decode: 6, ..Action::default() }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionMask {
    /// Bit `i` of a knob: index `i` is allowed.
    bits: [u32; KNOBS],
}

impl Default for ActionMask {
    fn default() -> Self {
        Self::ALL
    }
}

impl ActionMask {
    /// Everything is allowed.
    pub const ALL: Self = Self { bits: [u32::MAX; KNOBS] };

    /// Forbids one value. False, and nothing changes, when no other value of the knob is allowed.
    pub const fn forbid(&mut self, knob: Knob, index: u8) -> bool {
        self.narrow(knob, !bit(index))
    }

    /// Forbids every value above `index`. False, and nothing changes, when none would be left.
    pub const fn at_most(&mut self, knob: Knob, index: u8) -> bool {
        // Two shifts, because one by 32 does not exist.
        let above = if index < 31 { (u32::MAX << index) << 1 } else { 0 };
        self.narrow(knob, !above)
    }

    /// Forbids every value below `index`. False, and nothing changes, when none would be left.
    pub const fn at_least(&mut self, knob: Knob, index: u8) -> bool {
        self.narrow(knob, if index < 32 { u32::MAX << index } else { 0 })
    }

    /// Whether a value may be chosen.
    #[must_use]
    pub const fn allows_value(&self, knob: Knob, index: u8) -> bool {
        self.bits_of(knob) & bit(index) != 0
    }

    /// Whether every value of an action may be chosen.
    #[must_use]
    pub fn allows(&self, action: Action) -> bool {
        Knob::ALL.into_iter().all(|knob| self.allows_value(knob, action.get(knob)))
    }

    /// Whether every knob of this space has an allowed value.
    #[must_use]
    pub fn leaves_a_choice(&self, actions: &ActionSpace) -> bool {
        Knob::ALL.into_iter().all(|knob| (0..=actions.last(knob)).any(|index| self.allows_value(knob, index)))
    }

    const fn bits_of(&self, knob: Knob) -> u32 {
        let [prefill, decode, batch, depth, fan] = self.bits;
        match knob {
            Knob::Prefill => prefill,
            Knob::Decode => decode,
            Knob::Batch => batch,
            Knob::Depth => depth,
            Knob::Fan => fan,
        }
    }

    const fn narrow(&mut self, knob: Knob, allowed: u32) -> bool {
        let left = self.bits_of(knob) & allowed;
        if left == 0 {
            return false;
        }
        let [prefill, decode, batch, depth, fan] = &mut self.bits;
        *match knob {
            Knob::Prefill => prefill,
            Knob::Decode => decode,
            Knob::Batch => batch,
            Knob::Depth => depth,
            Knob::Fan => fan,
        } = left;
        true
    }
}

/// The bit of an index; none beyond the most values a knob can have.
const fn bit(index: u8) -> u32 {
    if index < 32 { 1 << index } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bounds_mean_what_they_say(low in 0u8..40, high in 0u8..40, index in 0u8..40) {
            let mut mask = ActionMask::ALL;
            let applied = (mask.at_least(Knob::Depth, low), mask.at_most(Knob::Depth, high));
            let expected = index < 32 && (!applied.0 || index >= low) && (!applied.1 || index <= high);
            prop_assert_eq!(mask.allows_value(Knob::Depth, index), expected);
            prop_assert!((0..32).any(|index| mask.allows_value(Knob::Depth, index)));
            prop_assert!(mask.allows_value(Knob::Fan, 31));
        }
    }

    #[test]
    fn the_last_value_cannot_be_forbidden() {
        let mut mask = ActionMask::ALL;
        assert!(mask.at_most(Knob::Fan, 0));
        assert!(!mask.forbid(Knob::Fan, 0));
        assert!(!mask.at_least(Knob::Fan, 1));
        assert!(mask.allows(Action::default()));
    }
}
