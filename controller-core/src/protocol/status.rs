//! How the microcontroller is, and what has happened to it.

use super::decode::LinkCounters;
use super::refusal::UploadRefusal;
use crate::supervisor::State;
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// Whether the host is trusted to look after the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Safety {
    /// Nobody has greeted since the reset: the safety output is active.
    Boot,
    /// A host is in session: the safety output is quiet.
    InSession,
    /// The host fell silent: the safety output is active until one greets.
    HostSilent,
}

wire!(enum Safety { 0 => Boot, 1 => InSession, 2 => HostSilent });

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InCharge {
    /// The policy of an image.
    Policy,
    /// The thermostat of two actions, because no usable image is there.
    TwoRule,
}

wire!(enum InCharge { 0 => Policy, 1 => TwoRule });

/// How well the periodic loop keeps its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopCounters {
    /// Passes of the loop.
    pub passes: u32,
    /// Passes that began later than one period after they should have.
    pub overruns: u32,
    /// Largest lateness of a pass, µs.
    pub worst_jitter_us: u32,
}

wire!(struct LoopCounters { passes, overruns, worst_jitter_us });

/// How the microcontroller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Time since the reset, ms.
    pub uptime_ms: u32,
    /// Whether the host is trusted.
    pub safety: Safety,
    /// Who decides.
    pub in_charge: InCharge,
    /// State of the supervisor; `None` before a configuration.
    pub supervisor: Option<State>,
    /// How often the policy was measured to be worse than the static setting and replaced by it.
    pub replacements: u32,
    /// What came over the link.
    pub link: LinkCounters,
    /// How well the loop keeps its time.
    pub timing: LoopCounters,
    /// Number of the next event: anything between the last one read and this is news.
    pub next_event: u32,
}

wire!(struct Status {
    uptime_ms,
    safety,
    in_charge,
    supervisor,
    replacements,
    link,
    timing,
    next_event,
});

/// An entry of the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the event since the reset, from 0.
    pub number: u32,
    /// When it happened, ms since the reset.
    pub uptime_ms: u32,
    /// What happened.
    pub kind: EventKind,
}

wire!(struct Event { number, uptime_ms, kind });

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The microcontroller started.
    Boot,
    /// The policy of a slot passed its examples and may decide.
    PolicyAccepted {
        /// Number of the slot.
        slot: u8,
    },
    /// The policy of a slot must not decide.
    PolicyRefused {
        /// Number of the slot.
        slot: u8,
        /// Why.
        why: UploadRefusal,
    },
    /// There is no usable policy: the thermostat decides.
    FellBackToTwoRule,
    /// A host opened a session.
    SessionOpened {
        /// Its number.
        session: u16,
    },
    /// The host was silent for too long: the safety output went active.
    HostSilent,
    /// A configuration took effect.
    Configured,
    /// A pass of the loop began more than a period late.
    Overrun {
        /// By how much, µs.
        late_us: u32,
    },
    /// An upload was announced.
    UploadBegun {
        /// Bytes of the image.
        length: u32,
    },
    /// An uploaded policy took over at a step.
    PolicySwapped {
        /// Number of the slot.
        slot: u8,
    },
    /// An uploaded policy failed its self-test when it was to take over; the old one stays.
    RolledBack {
        /// Why.
        why: UploadRefusal,
    },
}

wire!(enum EventKind {
    0 => Boot,
    1 => PolicyAccepted { slot },
    2 => PolicyRefused { slot, why },
    3 => FellBackToTwoRule,
    4 => SessionOpened { session },
    5 => HostSilent,
    6 => Configured,
    7 => Overrun { late_us },
    8 => UploadBegun { length },
    9 => PolicySwapped { slot },
    10 => RolledBack { why },
});
