//! Why the microcontroller does not do what it was asked for.

use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a request was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no session, or the host was silent for so long that it ended.
    NoSession,
    /// A greeting with a number other than 0, or anything else with it.
    NotAGreeting,
    /// The frame has another protocol version.
    Version {
        /// The version that is spoken here.
        spoken: u8,
    },
    /// The frame is unharmed but holds no request of this version.
    Malformed,
    /// No configuration has been sent.
    NotConfigured,
    /// The configuration contradicts itself.
    Configuration,
    /// The time lies before that of the previous turn.
    TimeRunsBackwards,
    /// No turn is open.
    NoTurn,
    /// The upload does not go on.
    Upload(UploadRefusal),
}

wire!(enum Refusal {
    0 => NoSession,
    1 => NotAGreeting,
    2 => Version { spoken },
    3 => Malformed,
    4 => NotConfigured,
    5 => Configuration,
    6 => TimeRunsBackwards,
    7 => NoTurn,
    8 => Upload(why),
});

/// Why an upload does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadRefusal {
    /// No image was announced.
    NotBegun,
    /// The image is empty or longer than the slot.
    Length {
        /// Bytes that the slot holds.
        room: u32,
    },
    /// The chunk leaves a gap or goes past the announced length.
    OutOfOrder {
        /// Where the next chunk must begin.
        received: u32,
    },
    /// Bytes are missing.
    Incomplete {
        /// How many are there.
        received: u32,
    },
    /// The slot holds other bytes than were announced.
    Checksum,
    /// The slot cannot be written.
    Storage,
    /// The bytes are no usable policy image.
    Image,
    /// The policy observes or chooses something else than was announced.
    Schema,
    /// This machine does not compute what the image's examples say.
    Examples,
    /// The policy was made for other values of the knobs than this board has.
    OtherActions,
}

wire!(enum UploadRefusal {
    0 => NotBegun,
    1 => Length { room },
    2 => OutOfOrder { received },
    3 => Incomplete { received },
    4 => Checksum,
    5 => Storage,
    6 => Image,
    7 => Schema,
    8 => Examples,
    9 => OtherActions,
});

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSession => write!(f, "the firmware has no session with this host; greet it"),
            Self::NotAGreeting => write!(f, "a greeting, and nothing else, must have number 0"),
            Self::Version { spoken } => {
                write!(f, "the firmware speaks protocol version {spoken}; update the older side")
            }
            Self::Malformed => write!(f, "the firmware does not know this request; update the older side"),
            Self::NotConfigured => write!(f, "the firmware does not know its board yet; configure it"),
            Self::Configuration => write!(f, "the firmware refuses its actions, limits or reward; check the profile"),
            Self::TimeRunsBackwards => {
                write!(f, "the telemetry is older than the previous turn; configure again after a change of clock")
            }
            Self::NoTurn => write!(f, "no turn is open; send telemetry first"),
            Self::Upload(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for UploadRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun => write!(f, "no image was announced; begin the upload again"),
            Self::Length { room } => write!(f, "the image must have 1 to {room} bytes to fit its slot"),
            Self::OutOfOrder { received } => write!(f, "the next chunk must begin at byte {received}"),
            Self::Incomplete { received } => {
                write!(f, "only {received} bytes of the image have come; send the rest first")
            }
            Self::Checksum => write!(f, "the slot holds other bytes than were announced; begin the upload again"),
            Self::Storage => write!(f, "the slot cannot be written; the old policy stays"),
            Self::Image => write!(f, "the bytes are no usable policy image; freeze the policy again"),
            Self::Schema => write!(f, "the policy has another schema than was announced; announce its own"),
            Self::Examples => write!(f, "the firmware computes other results than the image's examples; do not use it"),
            Self::OtherActions => {
                write!(f, "the policy was made for other values of the knobs; train one for this board")
            }
        }
    }
}

impl core::error::Error for Refusal {}
impl core::error::Error for UploadRefusal {}
