//! The line to a microcontroller that decides for this host (`docs/wire-format.md`).
//!
//! | module | role |
//! |---|---|
//! | [`address`] | links by name: a serial port or a TCP port |
//! | [`wire`] | how bytes get there |
//! | [`session`] | one request at a time, asked until it is answered |
//! | [`upload`] | a policy image into the slot that does not decide |
//! | [`journal`] | the turns of a run, so that a controller that missed some can be told |
//! | [`events`] | what a run tells of its link |
//! | [`keeper`] | heartbeats, the loss of the link, and the way back |

pub mod address;
pub mod events;
pub mod journal;
pub mod keeper;
pub mod session;
pub mod upload;
pub mod wire;

use controller_core::protocol::{EncodeError, Refusal, Reply, VERSION};

/// Why the microcontroller does not do what this host wants.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It said no.
    #[error("the firmware refuses: {0}")]
    Refused(#[from] Refusal),
    /// It said nothing.
    #[error("the firmware does not answer; is it running, and the line connected at the right speed?")]
    Silent,
    /// The line is cut.
    #[error("the line to the firmware is cut: {0}")]
    Line(#[from] std::io::Error),
    /// It speaks another protocol.
    #[error("the firmware speaks protocol version {0}, this build version {VERSION}; update the older of the two")]
    OtherVersion(u8),
    /// It answered something else than was asked.
    #[error("the firmware answered out of place: {0}")]
    OutOfPlace(String),
    /// The request does not fit into a frame.
    #[error("the request cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// It was reset and has forgotten its board.
    #[error("the firmware was reset")]
    Reset,
    /// It would not decide by the policy.
    #[error("the firmware decides by its thermostat instead of the policy; `energyllm firmware log` says why")]
    NoPolicy,
    /// Its controller decides otherwise than the same one in this process.
    #[error(
        "the firmware decides otherwise than this host in turn {turn}; one of the two is broken or of another version"
    )]
    Disagrees {
        /// Sequence number of the turn.
        turn: usize,
    },
}

impl LinkError {
    /// Whether the same would happen again on a new connection.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Refused(Refusal::NoSession) | Self::Silent | Self::Line(_) | Self::Reset)
    }

    pub(crate) fn out_of_place(reply: &Reply) -> Self {
        Self::OutOfPlace(format!("{reply:?}"))
    }
}
