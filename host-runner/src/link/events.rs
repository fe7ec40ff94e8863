//! What a run tells of its link: what happened to it, and what it came to.

use super::session::Traffic;
use serde::Serialize;

/// What happened to the link in the course of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LinkEvent {
    /// The link was lost: from here on the host's own supervisor decides.
    Lost {
        /// Why.
        why: String,
    },
    /// The firmware is back in charge.
    Returned {
        /// Turns that it was told, the last of which may be open.
        turns_told: usize,
    },
    /// The firmware had closed the session, because this host was silent for too long. Its safety
    /// outputs were active until now.
    SessionReopened,
    /// The main loop was silent for longer than a batch may take, and heartbeats were stopped.
    HeartbeatsStopped,
    /// The firmware is not asked any more in this run.
    Excluded {
        /// Why.
        why: String,
    },
}

impl std::fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost { why } => write!(f, "link lost, this host's own supervisor decides: {why}"),
            Self::Returned { turns_told } => write!(f, "the firmware decides again; it was told {turns_told} turns"),
            Self::SessionReopened => {
                write!(f, "this host was silent for too long; the safety outputs were active until now")
            }
            Self::HeartbeatsStopped => {
                write!(f, "no turn for longer than a batch may take (--longest-batch); heartbeats were stopped")
            }
            Self::Excluded { why } => {
                write!(f, "the firmware is not asked any more, this host's own supervisor decides: {why}")
            }
        }
    }
}

/// What a run owes the firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkReport {
    /// Decisions of the firmware.
    pub by_firmware: u64,
    /// Decisions of this host alone.
    pub by_host: u64,
    /// How often the link was lost.
    pub lost: u64,
    /// The firmware was excluded.
    pub excluded: bool,
    /// What the line carried.
    pub traffic: Traffic,
}
