//! How fast knobs may move: dwell, slew and dead band.
//!
//! Each knob has a safe end: the lowest clocks, batch 1, full depth, full fan, that is the values
//! of [`ActionSpace::safest`]. Towards it a knob is always free. Away from it three rules hold:
//!
//! - *dwell*: after a move towards the safe end, a time must pass before the way back. A governor
//!   that wavers between two values rests at the safer one, and the knob turns back at most once
//!   per dwell.
//! - *slew*: at most so many steps of the knob's list in one turn.
//! - *hysteresis*: a shorter way than this is not worth a move, unless it leads to the very end.

use crate::action::{Action, ActionSpace, KNOBS, Knob};
use crate::time::{Duration, Instant};
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// How fast one knob may move away from its safe end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Time between a move towards the safe end and the next one away from it.
    pub dwell: Duration,
    /// Most steps of the knob's list in one turn; 255 is any number.
    pub slew: u8,
    /// Fewest steps of the knob's list that are worth a move; 1 is any number.
    pub hysteresis: u8,
}

wire!(struct Pace { dwell, slew, hysteresis });

impl Pace {
    /// No rule at all.
    pub const FREE: Self = Self { dwell: Duration::ZERO, slew: u8::MAX, hysteresis: 1 };

    /// A pace with a dwell of `secs` seconds and a slew.
    const fn new(secs: u32, slew: u8) -> Self {
        Self { dwell: Duration::from_secs(secs), slew, hysteresis: 1 }
    }
}

/// The pace of every knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paces {
    /// GPU clock for prefill.
    pub prefill: Pace,
    /// GPU clock for decode.
    pub decode: Pace,
    /// Batch size.
    pub batch: Pace,
    /// Exit layer.
    pub depth: Pace,
    /// Fan.
    pub fan: Pace,
}

wire!(struct Paces { prefill, decode, batch, depth, fan });

/// Longest dwell: a knob that waits longer is as good as fixed.
const LONGEST_DWELL: Duration = Duration::from_secs(600);

impl Paces {
    /// No rules at all.
    pub const FREE: Self =
        Self { prefill: Pace::FREE, decode: Pace::FREE, batch: Pace::FREE, depth: Pace::FREE, fan: Pace::FREE };

    /// Clocks of a Jetson AGX Orin: no flicker, and three turns from bottom to top. The batch
    /// follows the queue and the depth costs nothing to change, so both are free; a fan that
    /// speeds up and slows down is heard.
    #[must_use]
    pub const fn agx_orin() -> Self {
        let clock = Pace::new(10, 4);
        Self { prefill: clock, decode: clock, batch: Pace::FREE, depth: Pace::FREE, fan: Pace::new(20, 1) }
    }

    /// The pace of one knob.
    #[must_use]
    pub const fn get(&self, knob: Knob) -> &Pace {
        match knob {
            Knob::Prefill => &self.prefill,
            Knob::Decode => &self.decode,
            Knob::Batch => &self.batch,
            Knob::Depth => &self.depth,
            Knob::Fan => &self.fan,
        }
    }

    pub(super) fn check(&self) -> Result<(), PaceError> {
        for knob in Knob::ALL {
            let Pace { dwell, slew, hysteresis } = *self.get(knob);
            if slew == 0 {
                return Err(PaceError::Slew(knob));
            }
            if hysteresis == 0 {
                return Err(PaceError::Hysteresis(knob));
            }
            if dwell > LONGEST_DWELL {
                return Err(PaceError::Dwell(knob));
            }
        }
        Ok(())
    }
}

/// Why a pace cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceError {
    /// A knob that could never leave its safe end.
    Slew(Knob),
    /// Fewer steps than one.
    Hysteresis(Knob),
    /// A knob that waits longer than ten minutes.
    Dwell(Knob),
}

impl fmt::Display for PaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slew(knob) => write!(f, "the slew of the {knob} must be at least 1 step; 255 is free"),
            Self::Hysteresis(knob) => write!(f, "the hysteresis of the {knob} must be at least 1 step, which is none"),
            Self::Dwell(knob) => {
                write!(f, "the dwell of the {knob} must be at most 600 s; times here are in microseconds")
            }
        }
    }
}

impl core::error::Error for PaceError {}

/// What the knobs did last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pacer {
    applied: Option<Action>,
    /// When each knob may move away from its safe end again.
    free_at: [Instant; KNOBS],
}

/// How far every knob lies from its safe end, in steps: depth and fan are safe at their last index. The same function turns
/// steps into indices.
#[inline(never)]
fn exposure(action: Action, [.., depth, fan]: [u8; KNOBS]) -> Action {
    Action { depth: depth.saturating_sub(action.depth), fan: fan.saturating_sub(action.fan), ..action }
}

impl Pacer {
    /// What last ran; `None` before the first turn, when nothing is known and any move is free.
    pub(super) const fn applied(&self) -> Option<Action> {
        self.applied
    }

    /// As much of a wish, which must lie in the action space, as the pace allows now.
    pub(super) fn limit(&self, now: Instant, wanted: Action, paces: &Paces, actions: &ActionSpace) -> Action {
        let Some(applied) = self.applied else { return wanted };
        let lasts = actions.lasts();
        let from = exposure(applied, lasts).indices();
        let mut to = exposure(wanted, lasts).indices();
        let knobs = Knob::ALL.iter().zip(&self.free_at).zip(from).zip(lasts);
        for ((((&knob, &free_at), from), last), to) in knobs.zip(&mut to) {
            let Some(way @ 1..) = to.checked_sub(from) else { continue };
            let pace = paces.get(knob);
            let too_short = way < pace.hysteresis && *to != last;
            let step = if now < free_at || too_short { 0 } else { way.min(pace.slew) };
            *to = from.saturating_add(step);
        }
        exposure(Action::from_indices(to), lasts)
    }

    /// Remembers what runs from now on.
    pub(super) fn remember(&mut self, now: Instant, applied: Action, paces: &Paces, actions: &ActionSpace) {
        let Some(before) = self.applied.replace(applied) else { return };
        let lasts = actions.lasts();
        let (was, is) = (exposure(before, lasts).indices(), exposure(applied, lasts).indices());
        for (((&knob, free_at), was), is) in Knob::ALL.iter().zip(&mut self.free_at).zip(was).zip(is) {
            if is < was {
                *free_at = now + paces.get(knob).dwell;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;

    /// Decode index after each second, when the governor wants these.
    fn decode(pace: Pace, wanted: &[u8]) -> std::vec::Vec<u8> {
        let (actions, paces) = (small_space(), Paces { decode: pace, ..Paces::FREE });
        let mut memory = Pacer::default();
        let turn = |(second, &decode): (u32, &u8)| {
            let now = Instant::ZERO + Duration::from_secs(second);
            let allowed = memory.limit(now, Action { decode, ..actions.safest() }, &paces, &actions);
            memory.remember(now, allowed, &paces, &actions);
            allowed.decode
        };
        (0..).zip(wanted).map(turn).collect()
    }

    #[test]
    fn a_wavering_wish_rests_at_the_safer_value() {
        let wanted = [3, 1, 3, 1, 3, 3, 3, 3, 1, 3];
        assert_eq!(decode(Pace::FREE, &wanted), wanted);
        assert_eq!(
            decode(Pace { dwell: Duration::from_secs(4), ..Pace::FREE }, &wanted),
            [3, 1, 1, 1, 1, 3, 3, 3, 1, 1]
        );
    }

    #[test]
    fn steps_up_are_small_and_steps_down_are_free() {
        assert_eq!(decode(Pace { slew: 1, ..Pace::FREE }, &[0, 3, 3, 3, 3, 0, 2]), [0, 1, 2, 3, 3, 0, 1]);
    }

    #[test]
    fn short_ways_are_not_gone_but_the_end_is_reached() {
        assert_eq!(decode(Pace { hysteresis: 2, ..Pace::FREE }, &[1, 2, 3, 2, 3, 1, 2]), [1, 1, 3, 2, 3, 1, 1]);
    }

    #[test]
    fn the_fan_is_free_upwards() {
        let (actions, paces) =
            (small_space(), Paces { fan: Pace { dwell: Duration::from_secs(5), ..Pace::FREE }, ..Paces::FREE });
        let mut memory = Pacer::default();
        for (second, wanted, expected) in [(0, 0, 0), (1, 1, 1), (2, 0, 1), (5, 0, 1), (6, 0, 0), (7, 1, 1)] {
            let now = Instant::ZERO + Duration::from_secs(second);
            let allowed = memory.limit(now, Action { fan: wanted, ..actions.safest() }, &paces, &actions);
            memory.remember(now, allowed, &paces, &actions);
            assert_eq!(allowed.fan, expected, "second {second}");
        }
    }
}
