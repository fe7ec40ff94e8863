//! A microcontroller, a line and a host, on one clock.

use controller_core::action::ActionSpace;
use controller_core::control::{Controller, Turns};
use controller_core::governor::Learned;
use controller_core::policy::{Header, LayerShape, LayerValues, Policy, PolicyImage, encode, schema_hash};
use controller_core::protocol::{CHUNK, Client, Configuration, Refusal, Reply, Request, Status, Upload, checksum};
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::{Duration, Instant};
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::{Memory, install};
use firmware_sim::app::{App, PERIOD};
use firmware_sim::fault::LineFaults;
use firmware_sim::line::{End, Pipe};
use firmware_sim::synthetic::{Turn, reward};
use std::convert::Infallible;

/// The shipped policy.
pub const IMAGE: &[u8] = include_bytes!("../../../models/policies/service.elp");

/// Slots for the shipped policy.
pub const SLOT: usize = 8192;

/// Passes until the host sends a request again.
const PATIENCE: u32 = 20;

pub struct Pin<'p>(&'p mut bool);

impl ErrorType for Pin<'_> {
    type Error = Infallible;
}

impl OutputPin for Pin<'_> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        *self.0 = false;
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        *self.0 = true;
        Ok(())
    }
}

pub struct World<const N: usize> {
    pub app: App<Memory<N>>,
    pub now: Instant,
    pub to_app: Pipe,
    pub to_host: Pipe,
    pub fan_full: bool,
    pub power_cap: bool,
    pub client: Client,
    pub session: u16,
    pub down: LineFaults,
    pub up: LineFaults,
}

impl<const N: usize> World<N> {
    /// A microcontroller that has just been reset, and a host that has not spoken yet.
    pub fn new(storage: Memory<N>) -> Self {
        Self {
            app: App::boot(storage, Instant::ZERO),
            now: Instant::ZERO,
            to_app: Pipe::default(),
            to_host: Pipe::default(),
            fan_full: false,
            power_cap: false,
            client: Client::new(),
            session: 0,
            down: LineFaults::new(0, 0),
            up: LineFaults::new(0, 0),
        }
    }

    /// One period of the microcontroller.
    pub fn pass(&mut self) {
        self.now = self.now + PERIOD;
        let mut outgoing = Pipe::default();
        let mut ports = Ports {
            line: End { incoming: &mut self.to_app, outgoing: &mut outgoing },
            fan_full: Pin(&mut self.fan_full),
            power_cap: Pin(&mut self.power_cap),
            watchdog: NoWatchdog,
        };
        self.app.pass(self.now, &mut ports);
        let frame: Vec<u8> = std::iter::from_fn(|| outgoing.take()).collect();
        if !frame.is_empty() {
            self.up.carry(&frame, &mut self.to_host);
        }
    }

    /// Lets time pass without a host.
    pub fn idle(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.pass();
        }
    }

    /// The answer to what the client asks, or `None` when the firmware stays silent.
    fn wait(&mut self, tries: u32) -> Option<Reply> {
        for _ in 0..tries {
            self.down.carry(self.client.frame(), &mut self.to_app);
            for _ in 0..PATIENCE {
                self.pass();
                while let Some(byte) = self.to_host.take() {
                    if let Some(reply) = self.client.receive(byte) {
                        return Some(reply);
                    }
                }
            }
        }
        None
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Reply {
        self.client.ask(request).unwrap();
        self.wait(200).expect("the firmware answers")
    }

    pub fn greet(&mut self) -> Reply {
        self.session = self.session.wrapping_add(1);
        self.client.greet(self.session).unwrap();
        self.wait(200).expect("the firmware answers a greeting")
    }

    /// Greets and configures.
    pub fn begin(&mut self) {
        assert!(matches!(self.greet(), Reply::Hello(_)));
        assert_eq!(self.ask(&Request::Configure(configuration())), Reply::Acknowledged);
    }

    pub fn status(&mut self) -> Status {
        match self.ask(&Request::Heartbeat) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Uploads an image from its beginning; the first refusal ends it.
    pub fn upload(&mut self, image: &[u8]) -> Result<(), Refusal> {
        let mut step = |upload| match self.ask(&Request::Upload(upload)) {
            Reply::Received(received) => Ok(received as usize),
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        };
        let mut received = step(announcement(image))?;
        while received < image.len() {
            let bytes = &image[received..image.len().min(received + CHUNK)];
            received = step(Upload::Chunk { offset: u32::try_from(received).unwrap(), bytes })?;
        }
        step(Upload::Commit).map(|_| ())
    }

    /// CRC-32 of the image in charge; 0 for none.
    pub fn image(&mut self) -> u32 {
        match self.greet() {
            Reply::Hello(identity) => identity.image,
            other => panic!("{other:?}"),
        }
    }
}

pub fn announcement(image: &[u8]) -> Upload<'static> {
    let schema = PolicyImage::new_checked(image).map_or(0, |image| schema_hash(image.header()));
    Upload::Begin { length: u32::try_from(image.len()).unwrap(), checksum: checksum(image), schema }
}

/// Slots with an image in the first.
pub fn slots<const N: usize>(image: &[u8]) -> Memory<N> {
    let mut memory = Memory::new();
    install(&mut memory, 0, image).unwrap();
    memory
}

pub fn actions() -> ActionSpace {
    PolicyImage::new_checked(IMAGE).unwrap().header().actions.clone()
}

pub fn configuration() -> Configuration {
    Configuration { actions: actions(), limits: Limits::agx_orin(), reward: reward(&actions()), fallback: None }
}

/// The policy of an image as a governor of the board.
pub fn learned(image: &[u8]) -> Learned<'_> {
    let policy = Policy::new(PolicyImage::new_checked(image).unwrap()).unwrap();
    Learned::new(policy, &configuration().actions).unwrap()
}

/// The turns of a controller without its governor.
pub fn turns() -> Turns {
    let Configuration { actions, limits, reward, .. } = configuration();
    Turns::new(actions, limits, reward).unwrap()
}

/// The controller as it runs inside a host, with the same policy.
pub fn in_process(image: &[u8]) -> Controller<Learned<'_>> {
    let Configuration { actions, limits, reward, .. } = configuration();
    Controller::new(learned(image), actions, limits, reward).unwrap()
}

/// Any board and any batch.
pub fn draw_turn(rng: &mut Pcg32, turn: u32) -> (Instant, Telemetry, Measurement) {
    let Turn { now, telemetry, measurement } = Turn::draw(rng, turn);
    (now, telemetry, measurement)
}

/// A small policy for the same board, another one for every seed.
pub fn small_image(seed: u64) -> Vec<u8> {
    let mut rng = Pcg32::new(seed);
    let shipped = PolicyImage::new_checked(IMAGE).unwrap();
    let hidden = [LayerShape { units: 1, shift: 4 }].into_iter().collect();
    let header = Header { hidden, goldens: 2, name: "small".try_into().unwrap(), ..shipped.header().clone() };
    let inputs = header.observation.len();
    let mut weights = |count: usize| (0..count).map(|_| i16::try_from(rng.below(2001)).unwrap() - 1000).collect();
    let (first, last): (Vec<i16>, Vec<i16>) = (weights(inputs), weights(header.logits()));
    let examples: [Vec<i16>; 2] = [weights(inputs), weights(inputs)];
    let layers = [
        LayerValues { biases: &[100], weights: &first },
        LayerValues { biases: &vec![0; header.logits()], weights: &last },
    ];
    let mut buffer = [0; 4096];
    let length = encode(&header, &layers, &[&examples[0], &examples[1]], &mut buffer).unwrap();
    buffer[..length].to_vec()
}
