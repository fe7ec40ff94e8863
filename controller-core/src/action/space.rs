//! The values that every knob may take on a board, and actions as indices into them.

use super::{Action, KNOBS, Knob, MAX_VALUES, Setting};
use crate::units::KiloHertz;
use crate::wire::wire;
use core::fmt;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The values each knob may take, in the order of their indices. All lists ascend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSpace {
    /// GPU clocks for prefill, in kHz.
    pub prefill_khz: Vec<u32, MAX_VALUES>,
    /// GPU clocks for decode, in kHz.
    pub decode_khz: Vec<u32, MAX_VALUES>,
    /// Most requests answered together.
    pub batch: Vec<u16, MAX_VALUES>,
    /// Exit layer: how many decoder layers run.
    pub depth: Vec<u16, MAX_VALUES>,
    /// Lowest fan drive, 0 to 255; the board's own fan curve may ask for more.
    pub fan_pwm: Vec<u8, MAX_VALUES>,
}

wire!(struct ActionSpace { prefill_khz, decode_khz, batch, depth, fan_pwm });

/// Why an action space cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionSpaceError {
    /// A knob has no value.
    Empty(Knob),
    /// The values of a knob do not ascend.
    NotAscending(Knob),
    /// A batch or depth of 0.
    Zero(Knob),
}

impl fmt::Display for ActionSpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(knob) => write!(f, "the {knob} has no values; give at least one"),
            Self::NotAscending(knob) => write!(f, "the values of the {knob} must ascend without repeats"),
            Self::Zero(knob) => write!(f, "the {knob} contains 0; values start at 1"),
        }
    }
}

impl core::error::Error for ActionSpaceError {}

impl ActionSpace {
    /// Checks that every knob has ascending values and that batch and depth start at 1 or above.
    pub fn check(&self) -> Result<(), ActionSpaceError> {
        for knob in Knob::ALL {
            if self.len(knob) == 0 {
                return Err(ActionSpaceError::Empty(knob));
            }
            if !self.values(knob).is_sorted_by(|a, b| a < b) {
                return Err(ActionSpaceError::NotAscending(knob));
            }
        }
        match [Knob::Batch, Knob::Depth].into_iter().find(|&knob| self.value(knob, 0) == Some(0)) {
            Some(knob) => Err(ActionSpaceError::Zero(knob)),
            None => Ok(()),
        }
    }

    /// The value of a knob at an index, in the unit of its list; `None` beyond the last.
    #[must_use]
    #[inline(never)] // whoever goes through knobs and values has one way to them in flash
    pub fn value(&self, knob: Knob, index: usize) -> Option<u32> {
        match knob {
            Knob::Prefill => self.prefill_khz.get(index).copied(),
            Knob::Decode => self.decode_khz.get(index).copied(),
            Knob::Batch => self.batch.get(index).copied().map(u32::from),
            Knob::Depth => self.depth.get(index).copied().map(u32::from),
            Knob::Fan => self.fan_pwm.get(index).copied().map(u32::from),
        }
    }

    /// The values of a knob, in the unit of its list.
    pub fn values(&self, knob: Knob) -> impl Iterator<Item = u32> {
        (0..MAX_VALUES).map_while(move |index| self.value(knob, index))
    }

    /// How many values a knob has.
    #[must_use]
    pub fn len(&self, knob: Knob) -> usize {
        match knob {
            Knob::Prefill => self.prefill_khz.len(),
            Knob::Decode => self.decode_khz.len(),
            Knob::Batch => self.batch.len(),
            Knob::Depth => self.depth.len(),
            Knob::Fan => self.fan_pwm.len(),
        }
    }

    /// Number of values of each knob, in knob order: the sizes of a factored policy's heads.
    #[must_use]
    pub fn sizes(&self) -> [usize; KNOBS] {
        [self.prefill_khz.len(), self.decode_khz.len(), self.batch.len(), self.depth.len(), self.fan_pwm.len()]
    }

    /// Number of different actions: the size of a joint policy's single head.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sizes().iter().product()
    }

    /// The physical values of an action; `None` when an index is outside its list.
    #[must_use]
    pub fn setting(&self, action: Action) -> Option<Setting> {
        Some(Setting {
            prefill: KiloHertz(*self.prefill_khz.get(usize::from(action.prefill))?),
            decode: KiloHertz(*self.decode_khz.get(usize::from(action.decode))?),
            batch: *self.batch.get(usize::from(action.batch))?,
            depth: *self.depth.get(usize::from(action.depth))?,
            fan_pwm: *self.fan_pwm.get(usize::from(action.fan))?,
        })
    }

    /// The action with exactly these values, or the first knob that does not have its value.
    #[inline(never)]
    pub fn find(&self, setting: &Setting) -> Result<Action, Knob> {
        let mut action = Action::default();
        for knob in Knob::ALL {
            let wanted = setting.value(knob);
            let index = (0u8..).zip(self.values(knob)).find(|(_, value)| *value == wanted).ok_or(knob)?.0;
            action.set(knob, index);
        }
        Ok(action)
    }

    /// The action with every index pulled into its list.
    #[must_use]
    pub fn clamp(&self, action: Action) -> Action {
        let mut indices = action.indices();
        for (index, last) in indices.iter_mut().zip(self.lasts()) {
            *index = last.min(*index);
        }
        Action::from_indices(indices)
    }

    /// The highest index of a knob.
    #[must_use]
    pub fn last(&self, knob: Knob) -> u8 {
        last_of(self.len(knob))
    }

    /// The highest index of every knob, in knob order.
    #[must_use]
    pub fn lasts(&self) -> [u8; KNOBS] {
        self.sizes().map(last_of)
    }

    /// The safest action: lowest clocks, smallest batch, full depth, fan full. Full depth, because
    /// the clock, not the depth, sets the heat, and answers must not get worse without need.
    #[must_use]
    pub fn safest(&self) -> Action {
        Action { prefill: 0, decode: 0, batch: 0, depth: self.last(Knob::Depth), fan: self.last(Knob::Fan) }
    }

    /// The fastest action: highest clocks, largest batch, full depth; the fan as the board wants it.
    #[must_use]
    pub fn fastest(&self) -> Action {
        Action {
            prefill: self.last(Knob::Prefill),
            decode: self.last(Knob::Decode),
            batch: self.last(Knob::Batch),
            depth: self.last(Knob::Depth),
            fan: 0,
        }
    }

    /// Position of an action in the joint table; the first knob is the outermost digit.
    #[must_use]
    pub fn index(&self, action: Action) -> Option<usize> {
        let mut index = 0;
        for knob in Knob::ALL {
            let digit = usize::from(action.get(knob));
            if digit >= self.len(knob) {
                return None;
            }
            index = index * self.len(knob) + digit;
        }
        Some(index)
    }

    /// The action at a position of the joint table.
    #[must_use]
    pub fn action(&self, index: usize) -> Option<Action> {
        if index >= self.count() {
            return None;
        }
        let mut action = Action::default();
        let mut rest = index;
        for knob in Knob::ALL.into_iter().rev() {
            let size = self.len(knob);
            action.set(knob, u8::try_from(rest.checked_rem(size)?).ok()?);
            rest = rest.checked_div(size)?;
        }
        Some(action)
    }
}

/// The last index of a list. [`MAX_VALUES`] fits into a byte, so the length does.
fn last_of(length: usize) -> u8 {
    u8::try_from(length.saturating_sub(1)).unwrap_or(u8::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small_space() -> ActionSpace {
        ActionSpace {
            prefill_khz: Vec::from_slice(&[306_000, 714_000, 1_300_500]).unwrap(),
            decode_khz: Vec::from_slice(&[306_000, 510_000, 816_000, 1_300_500]).unwrap(),
            batch: Vec::from_slice(&[1, 8, 32]).unwrap(),
            depth: Vec::from_slice(&[9, 12, 16]).unwrap(),
            fan_pwm: Vec::from_slice(&[0, 255]).unwrap(),
        }
    }

    #[test]
    fn joint_index_round_trips_over_the_whole_table() {
        let space = small_space();
        assert_eq!(space.count(), 3 * 4 * 3 * 3 * 2);
        for index in 0..space.count() {
            let action = space.action(index).unwrap();
            assert_eq!(space.index(action), Some(index));
            assert_eq!(space.find(&space.setting(action).unwrap()), Ok(action));
        }
        assert_eq!(space.action(space.count()), None);
    }

    #[test]
    fn published_order_of_indices_is_kept() {
        // The published 3,872-action table: prefill outermost, batch innermost; (7,6,32) is 2687.
        let clocks: Vec<u32, MAX_VALUES> = (0..11u32).collect();
        let space = ActionSpace {
            prefill_khz: clocks.clone(),
            decode_khz: clocks,
            batch: (1..=32).collect(),
            depth: Vec::from_slice(&[16]).unwrap(),
            fan_pwm: Vec::from_slice(&[0]).unwrap(),
        };
        assert_eq!(space.count(), 3872);
        assert_eq!(space.index(Action { prefill: 7, decode: 6, batch: 31, depth: 0, fan: 0 }), Some(2687));
    }

    #[test]
    fn find_names_the_knob() {
        let space = small_space();
        let setting = space.setting(space.safest()).unwrap();
        assert_eq!(space.find(&Setting { batch: 7, ..setting }), Err(Knob::Batch));
        assert_eq!(space.find(&Setting { fan_pwm: 7, ..setting }), Err(Knob::Fan));
    }

    #[test]
    fn check_names_the_knob() {
        let mut space = small_space();
        space.batch[0] = 0;
        assert_eq!(space.check(), Err(ActionSpaceError::Zero(Knob::Batch)));
        space.depth.swap(0, 1);
        assert_eq!(space.check(), Err(ActionSpaceError::NotAscending(Knob::Depth)));
        space.fan_pwm.clear();
        space.depth.swap(0, 1);
        assert_eq!(space.check(), Err(ActionSpaceError::Empty(Knob::Fan)));
    }

    #[test]
    fn clamp_pulls_every_index_in() {
        let space = small_space();
        let wild = Action { prefill: 200, decode: 200, batch: 200, depth: 200, fan: 200 };
        assert_eq!(space.setting(wild), None);
        assert_eq!(space.clamp(wild), Action { fan: 1, ..space.fastest() });
    }
}
