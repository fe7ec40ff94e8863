//! The settings of a sweep, each once.

use controller_core::action::Setting;
use controller_core::units::KiloHertz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The values of each knob. Clocks are indices into the board's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Prefill clocks, indices.
    pub prefill: Vec<usize>,
    /// Decode clocks, indices.
    pub decode: Vec<usize>,
    /// Sequences answered together.
    pub batch: Vec<u16>,
    /// Decoder layers.
    pub depth: Vec<u16>,
    /// Fan duties, 0 to 255, held during the row.
    pub fan_pwm: Vec<u8>,
}

/// One setting of a grid; no two rows of a file share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Index of the prefill clock.
    pub prefill: usize,
    /// Index of the decode clock.
    pub decode: usize,
    /// Sequences.
    pub batch: u16,
    /// Layers.
    pub depth: u16,
    /// Fan duty.
    pub fan_pwm: u8,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefill, decode, batch, depth, fan_pwm } = self;
        write!(f, "prefill {prefill}, decode {decode}, batch {batch}, depth {depth}, fan {fan_pwm}")
    }
}

/// What is wrong with a list of values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// Nothing to run.
    #[error("{0} is empty; give at least one value")]
    Empty(&'static str),
    /// A value twice: its rows would have the same key.
    #[error("{knob} lists {value} twice; every setting is measured once")]
    Twice {
        /// The knob.
        knob: &'static str,
        /// The value.
        value: String,
    },
    /// A value that the board does not have.
    #[error("{knob} {value} is not one of this board; {known}")]
    Unknown {
        /// The knob.
        knob: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        known: String,
    },
}

impl Grid {
    /// Every value once, and one that the board has.
    ///
    /// # Errors
    /// The first list that does not hold.
    pub fn check(&self, clocks: usize, layers: u32) -> Result<(), GridError> {
        once("--prefill", &self.prefill)?;
        once("--decode", &self.decode)?;
        once("--batch", &self.batch)?;
        once("--depth", &self.depth)?;
        once("--fan", &self.fan_pwm)?;
        for (knob, list) in [("--prefill", &self.prefill), ("--decode", &self.decode)] {
            if let Some(value) = list.iter().find(|&&index| index >= clocks) {
                let known = format!("it has the clocks 0 to {}", clocks - 1);
                return Err(GridError::Unknown { knob, value: value.to_string(), known });
            }
        }
        let outside =
            |list: &[u16], top: u32| list.iter().find(|&&value| value == 0 || u32::from(value) > top).copied();
        if let Some(value) = outside(&self.depth, layers) {
            let known = format!("its model has the layers 1 to {layers}");
            return Err(GridError::Unknown { knob: "--depth", value: value.to_string(), known });
        }
        if let Some(value) = outside(&self.batch, 1024) {
            let known = "a batch has 1 to 1024 sequences".to_owned();
            return Err(GridError::Unknown { knob: "--batch", value: value.to_string(), known });
        }
        Ok(())
    }

    /// All settings in the order of the file: fan slowest, since it takes longest to act, prefill clock fastest.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.fan_pwm.iter().flat_map(move |&fan_pwm| {
            self.depth.iter().flat_map(move |&depth| {
                self.batch.iter().flat_map(move |&batch| {
                    self.decode.iter().flat_map(move |&decode| {
                        self.prefill.iter().map(move |&prefill| Key { prefill, decode, batch, depth, fan_pwm })
                    })
                })
            })
        })
    }

    /// How many settings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefill.len() * self.decode.len() * self.batch.len() * self.depth.len() * self.fan_pwm.len()
    }

    /// No settings at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Key {
    /// The setting on a board with these clocks.
    #[must_use]
    pub fn setting(&self, clocks_khz: &[u32]) -> Setting {
        let clock = |index: usize| KiloHertz(clocks_khz.get(index).copied().unwrap_or(0));
        Setting {
            prefill: clock(self.prefill),
            decode: clock(self.decode),
            batch: self.batch,
            depth: self.depth,
            fan_pwm: self.fan_pwm,
        }
    }
}

fn once<T: Ord + ToString>(knob: &'static str, values: &[T]) -> Result<(), GridError> {
    if values.is_empty() {
        return Err(GridError::Empty(knob));
    }
    let mut seen = BTreeSet::new();
    match values.iter().find(|value| !seen.insert(*value)) {
        Some(value) => Err(GridError::Twice { knob, value: value.to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid { prefill: vec![0, 5], decode: vec![1, 2, 3], batch: vec![1, 32], depth: vec![16], fan_pwm: vec![0, 255] }
    }

    #[test]
    fn every_setting_comes_once() {
        let keys: BTreeSet<Key> = grid().keys().collect();
        assert_eq!((keys.len(), grid().len()), (24, 24));
    }

    #[test]
    fn what_a_board_lacks_is_refused() {
        assert_eq!(grid().check(11, 16), Ok(()));
        assert!(matches!(grid().check(3, 16), Err(GridError::Unknown { knob: "--prefill", .. })));
        assert!(matches!(grid().check(11, 8), Err(GridError::Unknown { knob: "--depth", .. })));
        let twice = Grid { batch: vec![4, 4], ..grid() };
        assert!(matches!(twice.check(11, 16), Err(GridError::Twice { knob: "--batch", .. })));
        let empty = Grid { fan_pwm: vec![], ..grid() };
        assert_eq!(empty.check(11, 16), Err(GridError::Empty("--fan")));
    }
}
