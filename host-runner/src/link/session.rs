//! One request at a time over a wire, sent again until it is answered.

use super::LinkError;
use super::wire::Wire;
use controller_core::protocol::{Client, Configuration, Event, Identity, Refusal, Reply, Request, Status, Upload};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Time until a request is sent again: the longest one and its reply take 130 ms at 115,200 baud, and
/// three in a row may be lost before the firmware misses its host.
const RESEND: Duration = Duration::from_millis(300);

/// Time until the firmware counts as dead.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same where it may have to erase flash or check an image first.
const LONG_PATIENCE: Duration = Duration::from_secs(15);

/// Session numbers that are tried: one may be among those that the firmware remembers.
const GREETINGS: usize = 3;

/// Bytes both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// To the firmware.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

/// What the line carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Everything.
    pub all: Bytes,
    /// Telemetry, measurements and their answers.
    pub turns: Bytes,
    /// Answers to telemetry and measurements.
    pub round_trips: u64,
}

impl Traffic {
    /// Adds another connection's.
    pub const fn add(&mut self, other: Self) {
        self.all.sent += other.all.sent;
        self.all.received += other.all.received;
        self.turns.sent += other.turns.sent;
        self.turns.received += other.turns.received;
        self.round_trips += other.round_trips;
    }
}

/// A session with a microcontroller.
pub struct Session {
    wire: Box<dyn Wire>,
    client: Client,
    identity: Identity,
    traffic: Traffic,
}

impl Session {
    /// Greets whoever is at the other end.
    pub fn open(wire: Box<dyn Wire>) -> Result<Self, LinkError> {
        let mut session = Self { wire, client: Client::new(), identity: nobody(), traffic: Traffic::default() };
        session.greet()?;
        Ok(session)
    }

    /// Opens a session under a random number: whatever was delayed on the line belongs to another.
    pub fn greet(&mut self) -> Result<&Identity, LinkError> {
        let mut outcome = Err(LinkError::Silent);
        for _ in 0..GREETINGS {
            self.client.greet(random_number())?;
            match self.wait(PATIENCE) {
                Ok(Reply::Hello(identity)) => {
                    self.identity = identity;
                    return Ok(&self.identity);
                }
                Ok(other) => return Err(LinkError::out_of_place(&other)),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => outcome = Err(error),
            }
            if matches!(outcome, Err(LinkError::Line(_))) {
                break;
            }
        }
        outcome
    }

    /// Who answered the last greeting.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the line carried since this session's wire was opened.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Whether time goes on over there while nobody looks.
    #[must_use]
    pub fn needs_heartbeats(&self) -> bool {
        self.wire.runs_alone()
    }

    /// Asks, and again until it is answered.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Reply, LinkError> {
        self.client.ask(request)?;
        let before = self.traffic.all;
        let patience = match request {
            Request::Upload(Upload::Begin { .. } | Upload::Commit) | Request::Configure(_) => LONG_PATIENCE,
            _ => PATIENCE,
        };
        let answer = self.wait(patience);
        if matches!(request, Request::Telemetry { .. } | Request::Measurement(_)) {
            self.traffic.turns.sent += self.traffic.all.sent - before.sent;
            self.traffic.turns.received += self.traffic.all.received - before.received;
            self.traffic.round_trips += u64::from(answer.is_ok());
        }
        answer
    }

    /// Tells the firmware about its board; its controller forgets the past.
    pub fn configure(&mut self, configuration: &Configuration) -> Result<(), LinkError> {
        match self.ask(&Request::Configure(configuration.clone()))? {
            Reply::Acknowledged => Ok(()),
            other => Err(LinkError::out_of_place(&other)),
        }
    }

    /// How the firmware is. Also a sign of life.
    pub fn status(&mut self) -> Result<Status, LinkError> {
        match self.ask(&Request::Heartbeat)? {
            Reply::Status(status) => Ok(status),
            other => Err(LinkError::out_of_place(&other)),
        }
    }

    /// The event log from a number on.
    pub fn events(&mut self, mut from: u32) -> Result<Vec<Event>, LinkError> {
        let mut all = Vec::new();
        loop {
            match self.ask(&Request::ReadEvents { from })? {
                Reply::Events { events, next } => {
                    let Some(last) = events.last() else { return Ok(all) };
                    from = last.number.wrapping_add(1);
                    all.extend(events);
                    if from == next {
                        return Ok(all);
                    }
                }
                other => return Err(LinkError::out_of_place(&other)),
            }
        }
    }

    /// Sends the present request until it is answered.
    fn wait(&mut self, patience: Duration) -> Result<Reply, LinkError> {
        let mut bytes = Vec::new();
        let (mut waited, mut resend_at) = (Duration::ZERO, Duration::ZERO);
        while waited < patience {
            if waited >= resend_at {
                self.wire.send(self.client.frame())?;
                self.traffic.all.sent += self.client.frame().len() as u64;
                resend_at = waited + RESEND;
            }
            waited += self.wire.receive(&mut bytes)?;
            self.traffic.all.received += bytes.len() as u64;
            // The host asks on only when it was answered, so nothing comes behind an answer.
            match bytes.drain(..).filter_map(|byte| self.client.receive(byte)).last() {
                Some(Reply::Refused(Refusal::Version { spoken })) => return Err(LinkError::OtherVersion(spoken)),
                Some(Reply::Refused(refusal)) => return Err(refusal.into()),
                Some(reply) => return Ok(reply),
                None => {}
            }
            if let Some(version) = self.client.other_version() {
                return Err(LinkError::OtherVersion(version));
            }
        }
        Err(LinkError::Silent)
    }
}

fn nobody() -> Identity {
    Identity {
        firmware: heapless::String::new(),
        in_charge: controller_core::protocol::InCharge::TwoRule,
        schema: 0,
        image: 0,
        configured: false,
    }
}

/// A number that no other session is likely to have. It is no part of what a seed repeats: two runs
/// must differ in it.
fn random_number() -> u16 {
    let [low, high, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    u16::from_le_bytes([low, high])
}
