//! What host and microcontroller say to each other.

use super::refusal::Refusal;
use super::status::{Event, InCharge, Status};
use crate::action::{ActionSpace, Decision};
use crate::control::RewardRule;
use crate::record::StepRecord;
use crate::supervisor::{FallbackRule, Limits};
use crate::telemetry::{Measurement, Telemetry};
use crate::time::Instant;
use crate::wire::wire;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Most events in one [`Reply::Events`].
pub const EVENTS_PER_REPLY: usize = 8;

/// From the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator to box the configuration with")]
pub enum Request<'a> {
    /// Opens the session of the frame, which has number 0. Answer: [`Reply::Hello`].
    Hello,
    /// The host is alive. Answer: [`Reply::Status`].
    Heartbeat,
    /// What the controller needs to know of its board; a controller that runs already is replaced
    /// and forgets the past. Answer: [`Reply::Acknowledged`].
    Configure(Configuration),
    /// Begins a turn. Answer: [`Reply::Decision`].
    Telemetry {
        /// The host's clock, that of the readings as well.
        now: Instant,
        /// What is known before the turn.
        telemetry: Telemetry,
    },
    /// Ends the turn. Answer: [`Reply::Settled`].
    Measurement(Measurement),
    /// A step of an upload of a policy image. Answer: [`Reply::Received`].
    #[serde(borrow)]
    Upload(Upload<'a>),
    /// Reads the event log from this number on. Answer: [`Reply::Events`].
    ReadEvents {
        /// Number of the first event wanted.
        from: u32,
    },
}

wire!(enum Request<'a> {
    0 => Hello,
    1 => Heartbeat,
    2 => Configure(configuration),
    3 => Telemetry { now, telemetry },
    4 => Measurement(measurement),
    5 => Upload(step),
    6 => ReadEvents { from },
});

/// What a controller needs to know of its board, in one piece: half a configuration is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The values of every knob.
    pub actions: ActionSpace,
    /// The limits of the supervisor.
    pub limits: Limits,
    /// What turns are settled with.
    pub reward: RewardRule,
    /// What the policy must never be worse than; none when it is on its own.
    pub fallback: Option<FallbackRule>,
}

wire!(struct Configuration { actions, limits, reward, fallback });

/// A step of an upload of a policy image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upload<'a> {
    /// Announces an image. The same announcement again goes on where the last one stopped.
    Begin {
        /// Bytes of the image.
        length: u32,
        /// CRC-32 of all of them ([`super::checksum`]).
        checksum: u32,
        /// Schema hash of the policy.
        schema: u32,
    },
    /// Some bytes, at most [`super::CHUNK`].
    Chunk {
        /// Where they belong: how many came before.
        offset: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Asks how far the upload has come.
    Progress,
    /// All bytes are there: check the image and put it in charge at the next step.
    Commit,
    /// Forgets the upload.
    Abort,
}

wire!(enum Upload<'a> {
    0 => Begin { length, checksum, schema },
    1 => Chunk { offset, bytes },
    2 => Progress,
    3 => Commit,
    4 => Abort,
});

/// From the microcontroller, under the tag of the request that it answers. `R` is the record of a
/// turn: the one who sends it may borrow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<R = StepRecord> {
    /// The session is open.
    Hello(Identity),
    /// How the microcontroller is.
    Status(Status),
    /// Done, and there is nothing more to say.
    Acknowledged,
    /// What the board does in this turn.
    Decision(Decision),
    /// The whole turn as the controller saw it.
    Settled(R),
    /// How many bytes of the image are there, from its beginning without a gap.
    Received(u32),
    /// A part of the event log.
    Events {
        /// In the order of their numbers. Older events than these are gone.
        events: Vec<Event, EVENTS_PER_REPLY>,
        /// Number of the next event that will happen: the log ends before it.
        next: u32,
    },
    /// The request was understood and not done.
    Refused(Refusal),
}

wire!(enum Reply<R> [R] {
    0 => Hello(identity),
    1 => Status(status),
    2 => Acknowledged,
    3 => Decision(decision),
    4 => Settled(record),
    5 => Received(bytes),
    6 => Events { events, next },
    7 => Refused(refusal),
});

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the firmware, for instance `0.1.0`.
    pub firmware: String<16>,
    /// Who decides.
    pub in_charge: InCharge,
    /// Schema hash of the policy that is in charge, or would be once configured; 0 without one.
    pub schema: u32,
    /// CRC-32 of the bytes of that policy's image; 0 without one.
    pub image: u32,
    /// A configuration is there: the turns may go on.
    pub configured: bool,
}

wire!(struct Identity { firmware, in_charge, schema, image, configured });
