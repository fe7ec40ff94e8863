//! What a turn of the firmware's loop costs: a whole pass of the application, from the bytes of a
//! request to the bytes of its reply; and the stack that everything a host can ask for takes.

use crate::cost::{SAMPLES, Spread};
use crate::counter::Counter;
use crate::{Failure, IMAGE, SEED, stack};
use controller_core::policy::{PolicyImage, schema_hash};
use controller_core::protocol::{CHUNK, Client, Configuration, Reply, Request, Upload, checksum};
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use controller_core::time::Instant;
use core::convert::Infallible;
use core::fmt;
use core::hint::black_box;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::{Memory, Storage, StorageError, install};
use firmware_sim::app::{App, PERIOD};
use firmware_sim::line::{End, Pipe};
use firmware_sim::synthetic::{Turn, fallback, reward};

/// Slots for the shipped policy.
const SLOT: usize = 8192;

/// Passes until a request must have been answered: the longest takes nine to come in.
const PASSES: u32 = 64;

type Firmware<'r> = App<Slots<'r>>;

/// What does not count as the application's: the flash, the line, and the host at its other end.
struct Room {
    flash: Memory<SLOT>,
    client: Client,
    down: Pipe,
    up: Pipe,
}

/// The flash, as the application has it.
struct Slots<'r>(&'r mut Memory<SLOT>);

impl Storage for Slots<'_> {
    fn slot(&self, slot: u8) -> &[u8] {
        self.0.slot(slot)
    }

    fn erase(&mut self, slot: u8) -> Result<(), StorageError> {
        self.0.erase(slot)
    }

    fn write(&mut self, slot: u8, offset: usize, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.write(slot, offset, bytes)
    }
}

/// Prints the instructions of a pass in every part of a turn, the bytes of the turn, and the stack.
#[expect(clippy::large_stack_arrays, reason = "the emulated board has megabytes, and no allocator")]
pub fn report(counter: &Counter, out: &mut impl fmt::Write) -> Result<(), Failure> {
    let room = cortex_m::singleton!(: Room = Room {
        flash: Memory::new(),
        client: Client::new(),
        down: Pipe::default(),
        up: Pipe::default(),
    });
    let room = room.ok_or(Failure::Timer)?;
    prepare(room)?;
    let mut bench = Bench::new(room);
    bench.begin()?;
    let (mut steps, mut settlements, mut idle) = ([0; SAMPLES], [0; SAMPLES], [0; SAMPLES]);
    let mut rng = Pcg32::new(SEED);
    let mut longest = [0; 4];
    for number in 0..SAMPLES {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut rng, u32::try_from(number).unwrap_or(0) + 1);
        let counts = [&mut steps, &mut settlements];
        let requests = [Request::Telemetry { now, telemetry }, Request::Measurement(measurement)];
        for (half, (counts, request)) in counts.into_iter().zip(&requests).enumerate() {
            bench.client.ask(request).map_err(|_| Failure::Firmware)?;
            bench.down.put(bench.client.frame());
            let count = counter.count(|| bench.pass());
            let (reply, bytes) = bench.reply();
            if !matches!((half, reply), (0, Some(Reply::Decision(_))) | (1, Some(Reply::Settled(_)))) {
                return Err(Failure::Firmware);
            }
            for (place, length) in longest.iter_mut().skip(2 * half).zip([bench.client.frame().len(), bytes]) {
                *place = (*place).max(length);
            }
            counts.iter_mut().skip(number).take(1).for_each(|place| *place = count);
        }
        let count = counter.count(|| bench.pass());
        idle.iter_mut().skip(number).take(1).for_each(|place| *place = count);
    }
    writeln!(out, "loop turn: telemetry in, decision out: {}", Spread::of(&mut steps))?;
    writeln!(out, "loop turn: measurement in, record out: {}", Spread::of(&mut settlements))?;
    writeln!(out, "loop turn: nothing in, nothing out: {}", Spread::of(&mut idle))?;
    let [telemetry, decision, measurement, record] = longest;
    writeln!(
        out,
        "longest frames of a turn: telemetry {telemetry}, decision {decision}, measurement {measurement}, record {record} bytes"
    )?;
    let mut outcome = Ok(());
    let bytes = stack::used_by(|| outcome = everything(room));
    outcome?;
    writeln!(out, "stack of the application, from boot through turns and an upload: {bytes} bytes, with itself")?;
    writeln!(out, "of which the application: {} bytes", size_of::<Firmware<'_>>())?;
    Ok(())
}

/// Everything that a host can ask for, with the deepest calls of each.
#[inline(never)]
fn everything(room: &mut Room) -> Result<(), Failure> {
    prepare(room)?;
    let mut bench = Bench::new(room);
    bench.begin()?;
    let mut rng = Pcg32::new(SEED);
    for number in 1..1000 {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut rng, number);
        bench.ask(|| Request::Telemetry { now, telemetry })?;
        if number == 500 {
            bench.upload()?;
        }
        bench.ask(|| Request::Measurement(measurement))?;
    }
    bench.ask(|| Request::Heartbeat)?;
    bench.ask(|| Request::ReadEvents { from: 0 })?;
    Ok(())
}

/// A new host, and the shipped policy in the flash.
#[inline(never)]
fn prepare(room: &mut Room) -> Result<(), Failure> {
    room.client = Client::new();
    install(&mut room.flash, 0, IMAGE).map_err(|_| Failure::Firmware)
}

/// The application in its room. What the host does there happens in functions of its own, which are
/// left before the application runs, so that none of it counts as the application's stack.
struct Bench<'r> {
    app: Firmware<'r>,
    client: &'r mut Client,
    down: &'r mut Pipe,
    up: &'r mut Pipe,
    now: Instant,
}

impl<'r> Bench<'r> {
    /// The application boots.
    fn new(room: &'r mut Room) -> Self {
        let Room { flash, client, down, up } = room;
        Self { app: App::boot(Slots(flash), Instant::ZERO), client, down, up, now: Instant::ZERO }
    }

    /// Greets and configures.
    fn begin(&mut self) -> Result<(), Failure> {
        self.client.greet(1).map_err(|_| Failure::Firmware)?;
        self.wait()?;
        self.prepare_configuration()?;
        self.wait()?;
        Ok(())
    }

    #[inline(never)]
    fn prepare_configuration(&mut self) -> Result<(), Failure> {
        let actions = PolicyImage::new_checked(IMAGE)?.header().actions.clone();
        let (reward, fallback) = (reward(&actions), fallback(&actions));
        let configuration = Configuration { actions, limits: Limits::agx_orin(), reward, fallback };
        self.client.ask(&Request::Configure(configuration)).map_err(|_| Failure::Firmware)
    }

    /// The shipped policy into the other slot.
    fn upload(&mut self) -> Result<(), Failure> {
        let schema = schema()?;
        let length = u32::try_from(IMAGE.len()).unwrap_or(0);
        self.ask(|| Request::Upload(Upload::Begin { length, checksum: checksum(IMAGE), schema }))?;
        for (bytes, number) in IMAGE.chunks(CHUNK).zip(0..) {
            let offset = number * u32::try_from(CHUNK).unwrap_or(0);
            self.ask(|| Request::Upload(Upload::Chunk { offset, bytes }))?;
        }
        self.ask(|| Request::Upload(Upload::Commit))?;
        Ok(())
    }

    fn ask<'q>(&mut self, request: impl FnOnce() -> Request<'q>) -> Result<(), Failure> {
        self.put(request)?;
        self.wait()
    }

    /// The request is as large as the largest, and gone before the application runs.
    #[inline(never)]
    fn put<'q>(&mut self, request: impl FnOnce() -> Request<'q>) -> Result<(), Failure> {
        self.client.ask(&request()).map_err(|_| Failure::Firmware)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        self.down.put(self.client.frame());
        for _ in 0..PASSES {
            self.pass();
            if self.has_answer()? {
                return Ok(());
            }
        }
        Err(Failure::Firmware)
    }

    #[inline(never)]
    fn has_answer(&mut self) -> Result<bool, Failure> {
        match self.reply() {
            (Some(Reply::Refused(_)), _) => Err(Failure::Firmware),
            (reply, _) => Ok(reply.is_some()),
        }
    }

    fn pass(&mut self) {
        self.now = self.now + PERIOD;
        let line = End { incoming: self.down, outgoing: self.up };
        let mut ports = Ports { line, fan_full: NoPin, power_cap: NoPin, watchdog: NoWatchdog };
        self.app.pass(black_box(self.now), &mut ports);
    }

    /// What has come, and how many bytes of it.
    fn reply(&mut self) -> (Option<Reply>, usize) {
        let (mut reply, mut bytes) = (None, 0);
        while let Some(byte) = self.up.take() {
            bytes += 1;
            reply = self.client.receive(byte).or(reply);
        }
        (reply, bytes)
    }
}

#[inline(never)]
fn schema() -> Result<u32, Failure> {
    Ok(schema_hash(PolicyImage::new_checked(IMAGE)?.header()))
}

/// A pin that leads nowhere.
struct NoPin;

impl ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        black_box(Ok(()))
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        black_box(Ok(()))
    }
}
