//! What firmware of the controller links, and nothing of a board or an application: the shipped
//! policy, the controller that decides and settles turns, and the protocol in both directions.
//! `./x firmware` measures this image and searches it for what must not be there: a way to panic,
//! floating point, an allocator. It prints nothing, because formatting would bring the first of
//! them in; the exit code says whether a turn went as it should.
#![cfg_attr(target_os = "none", no_std, no_main)]

use controller_core::action::Setting;
use controller_core::control::Controller;
use controller_core::governor::Learned;
use controller_core::policy::{Policy, PolicyImage};
use controller_core::protocol::{
    Configuration, Decoder, EncodeError, InCharge, Identity, LinkCounters, LoopCounters, Order, REPLY_FRAME, REQUEST_FRAME,
    REQUEST_LEN, Refusal, Reply, Request, Safety, Status, Tag, encode,
};
use controller_core::supervisor::{FallbackRule, Limits};
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::Instant;
use controller_core::units::{KiloHertz, MilliCelsius};
use core::hint::black_box;
use firmware_sim::synthetic::{comparison, reward};

const IMAGE: &[u8] = include_bytes!("../../../models/policies/service.elp");

/// A microcontroller that answers its host.
struct Device {
    decoder: Decoder<REQUEST_LEN>,
    controller: Option<Controller<Learned<'static>>>,
    reply: [u8; REPLY_FRAME],
}

impl Device {
    const fn new() -> Self {
        Self { decoder: Decoder::new(), controller: None, reply: [0; REPLY_FRAME] }
    }

    /// Takes a byte from the line; the frame to answer with when the byte ends a request.
    fn take(&mut self, byte: u8) -> Option<&[u8]> {
        let Self { decoder, controller, reply } = self;
        let received = decoder.push::<Request>(byte)?.ok()?;
        let (tag, order) = (received.tag, received.order);
        let answer = answer(controller, &received.message).unwrap_or_else(Reply::Refused);
        if order == Order::Greeting {
            decoder.restart(tag.session);
        }
        encode(tag, &answer, reply).ok()
    }
}

fn answer(controller: &mut Option<Controller<Learned<'static>>>, request: &Request<'_>) -> Result<Reply, Refusal> {
    Ok(match request {
        Request::Hello => Reply::Hello(Identity {
            firmware: heapless::String::new(),
            in_charge: InCharge::Policy,
            schema: 0,
            image: 0,
            configured: controller.is_some(),
        }),
        Request::Heartbeat => Reply::Status(Status {
            uptime_ms: 0,
            safety: Safety::InSession,
            in_charge: InCharge::Policy,
            supervisor: controller.as_ref().map(|controller| controller.supervisor().state()),
            replacements: 0,
            link: LinkCounters::default(),
            timing: LoopCounters::default(),
            next_event: 0,
        }),
        Request::Configure(configuration) => {
            *controller = Some(configured(configuration).ok_or(Refusal::Configuration)?);
            Reply::Acknowledged
        }
        Request::Telemetry { now, telemetry } => {
            Reply::Decision(controller.as_mut().ok_or(Refusal::NotConfigured)?.step(*now, telemetry))
        }
        Request::Measurement(measurement) => {
            let controller = controller.as_mut().ok_or(Refusal::NotConfigured)?;
            Reply::Settled(controller.settle(*measurement).ok_or(Refusal::NoTurn)?)
        }
        Request::Upload(_) | Request::ReadEvents { .. } => Reply::Received(0),
    })
}

fn configured(configuration: &Configuration) -> Option<Controller<Learned<'static>>> {
    let Configuration { actions, limits, reward, fallback } = configuration;
    let policy = Policy::new(PolicyImage::new_checked(black_box(IMAGE)).ok()?).ok()?;
    let governor = Learned::new(policy, actions).ok()?;
    let controller = Controller::new(governor, actions.clone(), *limits, reward.clone()).ok()?;
    match fallback {
        Some(rule) => controller.with_fallback(*rule).ok(),
        None => Some(controller),
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod target {
    use super::*;
    use core::panic::PanicInfo;
    use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};

    #[cortex_m_rt::entry]
    fn main() -> ! {
        let device = cortex_m::singleton!(: Device = Device::new());
        let mut ok = false;
        if let Some(device) = device {
            let p = 0xE000_0000 as *const u8;
            for n in 0..1000 {
            let byte = black_box(n as u8);
            if let Some(frame) = device.take(byte) {
                black_box(frame);
                ok = true;
            }
            }
        }
        loop {
            exit(if ok { EXIT_SUCCESS } else { EXIT_FAILURE });
        }
    }

    #[panic_handler]
    fn panic(_: &PanicInfo<'_>) -> ! {
        loop {
            exit(EXIT_FAILURE);
        }
    }
}
