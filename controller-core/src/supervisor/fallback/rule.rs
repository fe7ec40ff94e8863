//! The numbers of the comparison.

use crate::action::{Knob, Setting};
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The static setting to fall back to, and how the governor is compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackRule {
    /// The best static setting that is known for the board. The quality floor raises its depth.
    pub setting: Setting,
    /// Turns of a block that count, 1 to 100.
    pub block_turns: u8,
    /// Turns at the start of a block that do not, at most 100.
    pub warm_up_turns: u8,
    /// How much worse than the static setting the governor may be, millionths of reward.
    pub margin: u32,
    /// Difference of reward in one pair that counts fully, millionths; larger ones count as much.
    pub scale: u32,
    /// A governor that is not worse is replaced at most once in so many pairs on average,
    /// 10 to 1,000,000.
    pub false_alarm_pairs: u32,
    /// Longest gap between two pairs, turns.
    pub longest_gap_turns: u32,
    /// Pairs of a trial after which a replaced governor is taken back, 1 to 100.
    pub probation_pairs: u8,
    /// Turns under the static setting before a replaced governor is first tried again.
    pub first_pause_turns: u32,
    /// The same after many failures.
    pub longest_pause_turns: u32,
}

wire!(struct FallbackRule {
    setting,
    block_turns,
    warm_up_turns,
    margin,
    scale,
    false_alarm_pairs,
    longest_gap_turns,
    probation_pairs,
    first_pause_turns,
    longest_pause_turns,
});

/// Why a fallback cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackError {
    /// The board does not have this value of the static setting.
    NotOnBoard(Knob),
    /// A number outside its range.
    Range(&'static str),
}

impl fmt::Display for FallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnBoard(knob) => {
                write!(f, "the {knob} of the static setting is none of this board's; choose one of its values")
            }
            Self::Range(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for FallbackError {}

impl FallbackRule {
    /// The comparison with a static setting as the shipped board profile has it, measured on the simulated board: 0.01 of
    /// reward worse is still as good, 0.1 counts fully, one false alarm in 1,000 pairs.
    #[must_use]
    pub const fn with_setting(setting: Setting) -> Self {
        Self {
            setting,
            block_turns: 6,
            warm_up_turns: 2,
            margin: 10_000,
            scale: 100_000,
            false_alarm_pairs: 1_000,
            longest_gap_turns: 500,
            probation_pairs: 8,
            first_pause_turns: 500,
            longest_pause_turns: 20_000,
        }
    }

    /// Checks that every number lies in its range.
    pub fn check(&self) -> Result<(), FallbackError> {
        let demand = |holds: bool, what| if holds { Ok(()) } else { Err(FallbackError::Range(what)) };
        demand((1..=100).contains(&self.block_turns), "block_turns must lie between 1 and 100")?;
        demand(self.warm_up_turns <= 100, "warm_up_turns must be at most 100")?;
        demand(self.scale > 0, "scale must be above 0; it is the difference of reward that counts fully")?;
        let alarms = 10..=1_000_000;
        demand(alarms.contains(&self.false_alarm_pairs), "false_alarm_pairs must lie between 10 and 1000000")?;
        demand((1..=100).contains(&self.probation_pairs), "probation_pairs must lie between 1 and 100")?;
        demand(self.first_pause_turns > 0, "first_pause_turns must be at least 1")?;
        let pauses = self.longest_pause_turns >= self.first_pause_turns;
        demand(pauses, "longest_pause_turns must not be below first_pause_turns")
    }
}
