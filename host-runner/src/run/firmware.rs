//! The firmware as the controller of a run: every request and every reply goes as bytes over a
//! line.
//!
//! It is taken for a new microcontroller: it gets its policy uploaded and is told about its board.
//! When it has closed the session, because this host was busy for too long, the host greets again
//! and asks again; the controller over there has forgotten nothing.

use super::control::Control;
use super::wire::Wire;
use controller_core::action::{ActionSpace, Decision};
use controller_core::protocol::{
    CHUNK, Client, Configuration, EncodeError, InCharge, Refusal, Reply, Request, Status, Upload, checksum,
};
use controller_core::record::StepRecord;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;

/// How often the line is looked at until a request is sent again.
const PATIENCE: usize = 100;

/// How often a request is sent before the firmware counts as dead.
const TRIES: usize = 3;

/// Why the firmware does not control a run.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// It said no.
    #[error("the firmware refuses: {0}")]
    Refused(#[from] Refusal),
    /// It said nothing.
    #[error("the firmware does not answer; is it running, and the line connected?")]
    Silent,
    /// The line is cut.
    #[error("the line to the firmware is cut: {0}")]
    Line(#[from] std::io::Error),
    /// It speaks another protocol.
    #[error("the firmware speaks protocol version {0}, not this build's; update the older of the two")]
    OtherVersion(u8),
    /// It answered something else than was asked.
    #[error("the firmware answered out of place: {0}")]
    OutOfPlace(String),
    /// The request does not fit into a frame.
    #[error("the request cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// It would not decide by the policy.
    #[error("the firmware decides by its thermostat instead of the policy; its event log says why")]
    NoPolicy,
}

/// Firmware at the other end of a line.
pub struct Firmware {
    wire: Box<dyn Wire>,
    client: Client,
    session: u16,
    actions: ActionSpace,
    sent: u64,
    received: u64,
}

impl Firmware {
    /// Greets the firmware, tells it about its board, and uploads the policy image, whose schema
    /// hash is `schema`.
    pub fn start(
        wire: Box<dyn Wire>,
        image: &[u8],
        schema: u32,
        configuration: Configuration,
    ) -> Result<Self, FirmwareError> {
        let actions = configuration.actions.clone();
        let mut firmware = Self { wire, client: Client::new(), session: 0, actions, sent: 0, received: 0 };
        firmware.greet()?;
        match firmware.ask(&Request::Configure(configuration))? {
            Reply::Acknowledged => {}
            other => return Err(out_of_place(&other)),
        }
        firmware.upload(image, schema)?;
        Ok(firmware)
    }

    fn greet(&mut self) -> Result<(), FirmwareError> {
        self.session = self.session.wrapping_add(1);
        self.client.greet(self.session)?;
        match self.wait()? {
            Reply::Hello(_) => Ok(()),
            other => Err(out_of_place(&other)),
        }
    }

    fn upload(&mut self, image: &[u8], schema: u32) -> Result<(), FirmwareError> {
        let length = u32::try_from(image.len()).unwrap_or(u32::MAX);
        let mut received = self.upload_step(Upload::Begin { length, checksum: checksum(image), schema })?;
        while let Some(rest) = image.get(received as usize..).filter(|rest| !rest.is_empty()) {
            let bytes = &rest[..rest.len().min(CHUNK)];
            received = self.upload_step(Upload::Chunk { offset: received, bytes })?;
        }
        self.upload_step(Upload::Commit).map(|_| ())
    }

    fn upload_step(&mut self, step: Upload<'_>) -> Result<u32, FirmwareError> {
        match self.ask(&Request::Upload(step))? {
            Reply::Received(received) => Ok(received),
            other => Err(out_of_place(&other)),
        }
    }

    /// How the firmware is.
    pub fn status(&mut self) -> Result<Status, FirmwareError> {
        match self.ask(&Request::Heartbeat)? {
            Reply::Status(status) => Ok(status),
            other => Err(out_of_place(&other)),
        }
    }

    /// Bytes to the firmware and back so far.
    #[must_use]
    pub const fn traffic(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Reply, FirmwareError> {
        self.client.ask(request)?;
        match self.wait() {
            Err(FirmwareError::Refused(Refusal::NoSession)) => {
                self.greet()?;
                self.client.ask(request)?;
                self.wait()
            }
            answer => answer,
        }
    }

    /// Sends the present request until it is answered.
    fn wait(&mut self) -> Result<Reply, FirmwareError> {
        let mut bytes = Vec::new();
        for _ in 0..TRIES {
            self.wire.send(self.client.frame())?;
            self.sent += self.client.frame().len() as u64;
            for _ in 0..PATIENCE {
                self.wire.receive(&mut bytes)?;
                self.received += bytes.len() as u64;
                // The host asks on only when it was answered, so nothing comes behind an answer.
                match bytes.drain(..).filter_map(|byte| self.client.receive(byte)).last() {
                    Some(Reply::Refused(refusal)) => return Err(refusal.into()),
                    Some(reply) => return Ok(reply),
                    None => {}
                }
            }
        }
        Err(self.client.other_version().map_or(FirmwareError::Silent, FirmwareError::OtherVersion))
    }
}

impl Control for Firmware {
    fn step(&mut self, now: Instant, telemetry: &Telemetry) -> anyhow::Result<Decision> {
        match self.ask(&Request::Telemetry { now, telemetry: *telemetry })? {
            Reply::Decision(decision) => Ok(decision),
            other => Err(out_of_place(&other).into()),
        }
    }

    fn settle(&mut self, measurement: Measurement) -> anyhow::Result<StepRecord> {
        let record = match self.ask(&Request::Measurement(measurement))? {
            Reply::Settled(record) => record,
            other => return Err(out_of_place(&other).into()),
        };
        if record.sequence == 0 && self.status()?.in_charge != InCharge::Policy {
            return Err(FirmwareError::NoPolicy.into());
        }
        Ok(record)
    }

    fn actions(&self) -> &ActionSpace {
        &self.actions
    }

    fn replacements(&mut self) -> anyhow::Result<u32> {
        Ok(self.status()?.replacements)
    }
}

fn out_of_place(reply: &Reply) -> FirmwareError {
    FirmwareError::OutOfPlace(format!("{reply:?}"))
}
