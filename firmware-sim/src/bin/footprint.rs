//! What a product links of the controller, and nothing of a board or an application: the shipped
//! policy, the controller that decides and settles turns, and the protocol in both directions.
//! `./x firmware` measures this image and searches it for what must not be there: a way to panic,
//! floating point, an allocator. It prints nothing, because formatting would bring the first of
//! them in; the exit code says whether the policy was accepted and a greeting answered.
#![cfg_attr(target_os = "none", no_std, no_main)]

use controller_core::control::Turns;
use controller_core::governor::{Learned, check_actions};
use controller_core::policy::{Network, PolicyImage};
use controller_core::protocol::{
    Configuration, Decoder, Identity, InCharge, LinkCounters, LoopCounters, Order, REPLY_FRAME, REQUEST_LEN, Received,
    Refusal, Reply, Request, Safety, Status, UploadRefusal, checksum, encode,
};
use controller_core::record::StepRecord;
use core::hint::black_box;
use heapless::{String, Vec};

const IMAGE: &[u8] = include_bytes!("../../../models/policies/service.elp");

/// The greeting of `docs/wire-format.md`.
const GREETING: &[u8] = &[0x00, 0x03, 0x01, 0x07, 0x01, 0x01, 0x01, 0x05, 0x16, 0xae, 0xbe, 0xc8, 0x00];

/// All that is kept from one byte of the line to the next lies behind it: the RAM of this firmware.
struct Device<'a> {
    decoder: &'a mut Decoder<REQUEST_LEN>,
    engine: &'a mut Engine,
    reply: &'a mut [u8; REPLY_FRAME],
}

/// Everything but the line.
struct Engine {
    governor: Option<Learned<'static>>,
    turns: Option<Turns>,
}

impl Device<'_> {
    /// Takes a byte from the line; the frame to answer with when the byte ends a request.
    fn take(&mut self, byte: u8) -> Option<&[u8]> {
        let Self { decoder, engine, reply } = self;
        let Some(Ok(Received { tag, order, message })) = decoder.push::<Request>(byte) else { return None };
        let mut answer = engine.answer(message).unwrap_or_else(Reply::Refused);
        if let Reply::Status(status) = &mut answer {
            status.link = *decoder.counters();
        }
        if order == Order::Greeting {
            decoder.restart(tag.session);
        }
        encode(tag, &answer, *reply).ok()
    }
}

impl Engine {
    const fn new() -> Self {
        Self { governor: None, turns: None }
    }

    fn answer(&mut self, request: Request<'_>) -> Result<Reply<&StepRecord>, Refusal> {
        Ok(match request {
            Request::Hello => Reply::Hello(Identity {
                firmware: String::new(),
                in_charge: InCharge::Policy,
                schema: self.governor.as_ref().map_or(0, |governor| governor.network().outline().schema()),
                image: checksum(IMAGE),
                configured: self.turns.is_some(),
            }),
            Request::Heartbeat => Reply::Status(Status {
                uptime_ms: 0,
                safety: Safety::InSession,
                in_charge: InCharge::Policy,
                supervisor: self.turns.as_ref().map(|turns| turns.supervisor().state()),
                replacements: self.turns.as_ref().map_or(0, |turns| turns.supervisor().replacements()),
                link: LinkCounters::default(), // the decoder knows
                timing: LoopCounters::default(),
                next_event: 0,
            }),
            Request::Configure(configuration) => {
                self.configure(configuration).ok_or(Refusal::Configuration)?;
                Reply::Acknowledged
            }
            Request::Telemetry { now, telemetry } => {
                let (Some(turns), Some(governor)) = (&mut self.turns, &mut self.governor) else {
                    return Err(Refusal::NotConfigured);
                };
                Reply::Decision(turns.step(governor, now, &telemetry))
            }
            Request::Measurement(measurement) => {
                let record = self.turns.as_mut().and_then(|turns| turns.settle(measurement));
                Reply::Settled(record.ok_or(Refusal::NoTurn)?)
            }
            Request::Upload(_) => return Err(Refusal::Upload(UploadRefusal::Storage)),
            Request::ReadEvents { .. } => Reply::Events { events: Vec::new(), next: 0 },
        })
    }

    #[inline(never)] // the image leaves the stack with it
    fn configure(&mut self, configuration: Configuration) -> Option<()> {
        let Configuration { actions, limits, reward, fallback } = configuration;
        let checked = PolicyImage::new_checked(black_box(IMAGE));
        let image = checked.as_ref().ok()?; // it is large: looked at where it is
        check_actions(image.header(), &actions).ok()?;
        self.governor = Some(Learned::trusted(Network::new(image).ok()?));
        let turns = self.turns.insert(Turns::new(actions, limits, reward).ok()?);
        match fallback {
            Some(rule) => turns.set_fallback(rule).ok(),
            None => Some(()),
        }
    }
}

/// Greets the device. Every byte passes through `black_box`: the compiler may assume nothing about
/// the line, so all that any host could ask for stays in the image.
fn greeted(mut device: Device<'_>) -> bool {
    let mut answered = false;
    for byte in black_box(GREETING) {
        answered |= black_box(device.take(*byte)).is_some();
    }
    answered && PolicyImage::new_checked(black_box(IMAGE)).is_ok()
}

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    let (mut decoder, mut engine, mut reply) = (Decoder::new(), Engine::new(), [0; REPLY_FRAME]);
    let device = Device { decoder: &mut decoder, engine: &mut engine, reply: &mut reply };
    if greeted(device) { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

#[cfg(target_os = "none")]
mod target {
    use super::{Decoder, Device, Engine, REPLY_FRAME, REQUEST_LEN, greeted};
    use core::fmt::Write;
    use core::panic::PanicInfo;
    use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
    use cortex_m_semihosting::hio::hstderr;

    #[cortex_m_rt::entry]
    fn main() -> ! {
        // What begins as zeros costs no code; an engine does not.
        static mut DECODER: Decoder<REQUEST_LEN> = Decoder::new();
        static mut REPLY: [u8; REPLY_FRAME] = [0; REPLY_FRAME];
        let engine = cortex_m::singleton!(: Engine = Engine::new());
        let greeted = engine.is_some_and(|engine| greeted(Device { decoder: DECODER, engine, reply: REPLY }));
        let status = if greeted { EXIT_SUCCESS } else { EXIT_FAILURE };
        loop {
            exit(status);
        }
    }

    /// Linked only if something can panic, which the search then finds.
    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        if let Ok(mut stderr) = hstderr() {
            let _ = writeln!(stderr, "footprint: {info}");
        }
        loop {
            exit(EXIT_FAILURE);
        }
    }
}
