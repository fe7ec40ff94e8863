//! The firmware as the controller of a run: its application in this process, every request and
//! every reply as bytes over a line.
//!
//! It starts as a new microcontroller does, with empty slots, and gets its policy uploaded. Its
//! clock runs while it is spoken with, one period for every pass of its loop.

use super::control::Control;
use controller_core::action::{ActionSpace, Decision};
use controller_core::protocol::{
    CHUNK, Client, Configuration, EncodeError, Identity, InCharge, Refusal, Reply, Request, Status, Upload, checksum,
};
use controller_core::record::StepRecord;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::Memory;
use firmware_sim::app::{App, PERIOD};
use firmware_sim::line::{End, Pipe};
use std::convert::Infallible;

/// Bytes of a slot: ten times the shipped policy.
const SLOT: usize = 64 * 1024;

/// Passes of the loop until a request is sent again.
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

/// Firmware in this process.
pub struct Firmware {
    app: Box<App<Memory<SLOT>>>,
    client: Client,
    down: Pipe,
    up: Pipe,
    now: Instant,
    actions: ActionSpace,
    sent: u64,
    received: u64,
}

impl Firmware {
    /// Boots the firmware, uploads the policy image, whose schema hash is `schema`, and tells it
    /// about its board.
    pub fn start(image: &[u8], schema: u32, configuration: Configuration) -> Result<Self, FirmwareError> {
        let mut firmware = Self {
            app: Box::new(App::boot(Memory::new(), Instant::ZERO)),
            client: Client::new(),
            down: Pipe::default(),
            up: Pipe::default(),
            now: Instant::ZERO,
            actions: configuration.actions.clone(),
            sent: 0,
            received: 0,
        };
        firmware.greet(1)?;
        match firmware.ask(&Request::Configure(configuration))? {
            Reply::Acknowledged => {}
            other => return Err(out_of_place(&other)),
        }
        firmware.upload(image, schema)?;
        Ok(firmware)
    }

    fn greet(&mut self, session: u16) -> Result<Identity, FirmwareError> {
        self.client.greet(session)?;
        match self.wait()? {
            Reply::Hello(identity) => Ok(identity),
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
        self.wait()
    }

    /// Sends the present request until it is answered.
    fn wait(&mut self) -> Result<Reply, FirmwareError> {
        for _ in 0..TRIES {
            self.down.put(self.client.frame());
            self.sent += self.client.frame().len() as u64;
            for _ in 0..PATIENCE {
                self.pass();
                while let Some(byte) = self.up.take() {
                    self.received += 1;
                    match self.client.receive(byte) {
                        Some(Reply::Refused(refusal)) => return Err(refusal.into()),
                        Some(reply) => return Ok(reply),
                        None => {}
                    }
                }
            }
        }
        Err(self.client.other_version().map_or(FirmwareError::Silent, FirmwareError::OtherVersion))
    }

    fn pass(&mut self) {
        self.now = self.now + PERIOD;
        let line = End { incoming: &mut self.down, outgoing: &mut self.up };
        let mut ports = Ports { line, fan_full: NoPin, power_cap: NoPin, watchdog: NoWatchdog };
        self.app.pass(self.now, &mut ports);
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

/// The simulated board has no safety inputs.
struct NoPin;

impl ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
