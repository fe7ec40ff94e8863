//! The action space, described by data: which value each knob may take on a board.

mod decision;
mod mask;
mod space;

pub use decision::{Decision, Reason};
pub use mask::ActionMask;
#[cfg(test)]
pub(crate) use space::tests;
pub use space::{ActionSpace, ActionSpaceError};

use crate::units::KiloHertz;
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Number of knobs of an action.
pub const KNOBS: usize = 5;

/// Most values one knob may have.
pub const MAX_VALUES: usize = 32;

/// One knob of the action, in the order of [`Action`]'s indices and of the policy's heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Knob {
    /// GPU clock for prefill.
    Prefill,
    /// GPU clock for decode.
    Decode,
    /// Batch size.
    Batch,
    /// Exit layer.
    Depth,
    /// Fan.
    Fan,
}

impl Knob {
    /// All knobs in order.
    pub const ALL: [Self; KNOBS] = [Self::Prefill, Self::Decode, Self::Batch, Self::Depth, Self::Fan];
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefill => "prefill clock",
            Self::Decode => "decode clock",
            Self::Batch => "batch",
            Self::Depth => "depth",
            Self::Fan => "fan",
        })
    }
}

/// A choice: one index into each list of the [`ActionSpace`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Action {
    /// Index of the prefill clock.
    pub prefill: u8,
    /// Index of the decode clock.
    pub decode: u8,
    /// Index of the batch size.
    pub batch: u8,
    /// Index of the exit layer.
    pub depth: u8,
    /// Index of the fan drive.
    pub fan: u8,
}

wire!(struct Action { prefill, decode, batch, depth, fan });

impl Action {
    /// The index of one knob.
    #[must_use]
    pub const fn get(&self, knob: Knob) -> u8 {
        match knob {
            Knob::Prefill => self.prefill,
            Knob::Decode => self.decode,
            Knob::Batch => self.batch,
            Knob::Depth => self.depth,
            Knob::Fan => self.fan,
        }
    }

    /// The indices in knob order.
    #[must_use]
    pub const fn indices(self) -> [u8; KNOBS] {
        [self.prefill, self.decode, self.batch, self.depth, self.fan]
    }

    /// The action with these indices, in knob order.
    #[must_use]
    pub const fn from_indices([prefill, decode, batch, depth, fan]: [u8; KNOBS]) -> Self {
        Self { prefill, decode, batch, depth, fan }
    }

    /// Sets the index of one knob.
    pub const fn set(&mut self, knob: Knob, index: u8) {
        match knob {
            Knob::Prefill => self.prefill = index,
            Knob::Decode => self.decode = index,
            Knob::Batch => self.batch = index,
            Knob::Depth => self.depth = index,
            Knob::Fan => self.fan = index,
        }
    }
}

/// An action as physical values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// GPU clock for prefill.
    #[serde(rename = "prefill_khz")]
    pub prefill: KiloHertz,
    /// GPU clock for decode.
    #[serde(rename = "decode_khz")]
    pub decode: KiloHertz,
    /// Most requests answered together.
    pub batch: u16,
    /// Decoder layers that run.
    pub depth: u16,
    /// Lowest fan drive, 0 to 255.
    pub fan_pwm: u8,
}

wire!(struct Setting { prefill, decode, batch, depth, fan_pwm });

impl Setting {
    /// The value of a knob, in the unit of its list in [`ActionSpace`].
    #[must_use]
    pub fn value(&self, knob: Knob) -> u32 {
        match knob {
            Knob::Prefill => self.prefill.0,
            Knob::Decode => self.decode.0,
            Knob::Batch => self.batch.into(),
            Knob::Depth => self.depth.into(),
            Knob::Fan => self.fan_pwm.into(),
        }
    }
}
