//! The examples of `docs/wire-format.md` are the bytes that are sent.

use controller_core::action::ActionSpace;
use controller_core::control::{Controller, RewardRule};
use controller_core::governor::Fixed;
use controller_core::protocol::{
    Configuration, Event, EventKind, Identity, InCharge, LinkCounters, LoopCounters, REPLY_FRAME, REQUEST_FRAME,
    Refusal, Reply, Request, Safety, Status, Tag, Upload, UploadRefusal, encode,
};
use controller_core::reward::service::Service;
use controller_core::supervisor::{Limits, State};
use controller_core::telemetry::{Absence, Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{KiloHertz, MicroJoules, MilliCelsius, MilliRequestsPerSecond, MilliWatts};
use heapless::Vec as List;
use std::fmt::Write;

const PAGE: &str = include_str!("../../../docs/wire-format.md");

const NOW: Instant = Instant::from_micros(5_000_000);

const TELEMETRY: Telemetry = Telemetry {
    temperature: Reading::at(MilliCelsius(61_250), NOW),
    power: Reading::at(MilliWatts(23_160), NOW),
    gpu_clock: Reading::at(KiloHertz(918_000), NOW),
    fan_pwm: Reading::Absent(Absence::ReadFailed),
    queue: 3,
    offered_load: MilliRequestsPerSecond(4_000),
};

const MEASUREMENT: Measurement = Measurement {
    requests: 3,
    prompt_tokens: 51,
    generated_tokens: 63,
    prefill: Duration::from_micros(48_000),
    decode: Duration::from_micros(790_000),
    idle: Duration::from_micros(12_000),
    response: Duration::from_micros(1_310_000),
    energy: MicroJoules(19_400_000),
    active_energy: MicroJoules(19_200_000),
    peak_temperature: Some(MilliCelsius(61_500)),
    entropy: None,
};

fn configuration() -> Configuration {
    Configuration {
        actions: ActionSpace {
            prefill_khz: List::from_slice(&[306_000, 1_300_500]).unwrap(),
            decode_khz: List::from_slice(&[306_000, 1_300_500]).unwrap(),
            batch: List::from_slice(&[1, 8]).unwrap(),
            depth: List::from_slice(&[12, 16]).unwrap(),
            fan_pwm: List::from_slice(&[0, 255]).unwrap(),
        },
        limits: Limits::agx_orin(),
        reward: RewardRule::Service(Service {
            reference_uj_per_token: 200_000,
            response_limit: Duration::from_millis(1_800),
            soft_temperature: MilliCelsius::from_degrees(75),
            hard_temperature: MilliCelsius::from_degrees(92),
            quality: List::from_slice(&[(12, 990), (16, 1000)]).unwrap(),
            quality_floor: 980,
            response_weight: 500,
            temperature_weight: 500,
            quality_weight: 5_000,
        }),
        fallback: None,
    }
}

/// Adds an example: what is sent, and its frame in rows of 24 bytes.
fn example(page: &mut String, title: &str, frame: &[u8]) {
    writeln!(page, "{title}").unwrap();
    for row in frame.chunks(24) {
        let row: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(page, "  {}", row.join(" ")).unwrap();
    }
}

fn examples() -> String {
    let mut page = String::new();
    let upload = Upload::Begin { length: 6_304, checksum: 0x543b_543e, schema: 0x589e_e4a9 };
    for (number, title, request) in [
        (0, "Hello", Request::Hello),
        (1, "Heartbeat", Request::Heartbeat),
        (2, "Configure: two values of each knob, limits of the AGX Orin, service reward", {
            Request::Configure(configuration())
        }),
        (3, "Telemetry: at 5 s, 61.25 °C, 23.16 W, 918 MHz, fan not readable, 3 waiting, 4 requests/s", {
            Request::Telemetry { now: NOW, telemetry: TELEMETRY }
        }),
        (4, "Measurement: 3 requests, 51 and 63 tokens, 48 and 790 ms, idle 12 ms, ...", {
            Request::Measurement(MEASUREMENT)
        }),
        (5, "Upload, Begin: 6,304 bytes, checksum 543b543e, schema 589ee4a9", Request::Upload(upload)),
        (6, "Upload, Chunk: the first four bytes", Request::Upload(Upload::Chunk { offset: 0, bytes: b"ELPI" })),
        (7, "Upload, Progress", Request::Upload(Upload::Progress)),
        (8, "Upload, Commit", Request::Upload(Upload::Commit)),
        (9, "Upload, Abort", Request::Upload(Upload::Abort)),
        (258, "ReadEvents: from 0", Request::ReadEvents { from: 0 }),
    ] {
        let mut buffer = [0; REQUEST_FRAME];
        example(
            &mut page,
            &format!("request {number}, {title}"),
            encode(Tag { session: 7, number }, &request, &mut buffer).unwrap(),
        );
    }

    let Configuration { actions, limits, reward, .. } = configuration();
    let mut controller = Controller::new(Fixed::max(&actions), actions, limits, reward).unwrap();
    let decision = controller.step(NOW, &TELEMETRY);
    let record = controller.settle(MEASUREMENT).unwrap();
    let identity = Identity {
        firmware: "0.1.0".try_into().unwrap(),
        in_charge: InCharge::Policy,
        schema: 0x589e_e4a9,
        image: 0x543b_543e,
        configured: false,
    };
    let status = Status {
        uptime_ms: 12_000,
        safety: Safety::InSession,
        in_charge: InCharge::Policy,
        supervisor: Some(State::Running),
        replacements: 0,
        link: LinkCounters { accepted: 40, greetings: 1, corrupt: 2, segments: 43, lost: 1, ..LinkCounters::default() },
        timing: LoopCounters { passes: 12_000, overruns: 0, worst_jitter_us: 210 },
        next_event: 3,
    };
    let events = [
        Event { number: 0, uptime_ms: 0, kind: EventKind::Boot },
        Event { number: 1, uptime_ms: 4, kind: EventKind::PolicyAccepted { slot: 0 } },
        Event { number: 2, uptime_ms: 950, kind: EventKind::SessionOpened { session: 7 } },
    ];
    let refused = Refusal::Upload(UploadRefusal::OutOfOrder { received: 512 });
    for (number, title, reply) in [
        (0, "Hello: firmware 0.1.0, a policy is in charge, not configured", Reply::Hello(identity)),
        (1, "Status: after 12 s, in session, running", Reply::Status(status)),
        (2, "Acknowledged", Reply::Acknowledged),
        (3, "Decision: the highest clocks, as requested", Reply::Decision(decision)),
        (4, "Settled: the record of turn 0", Reply::Settled(record)),
        (6, "Received: 4 bytes", Reply::Received(4)),
        (7, "Refused: the next chunk must begin at byte 512", Reply::Refused(refused)),
        (258, "Events: three, the next one is 3", { Reply::Events { events: events.into_iter().collect(), next: 3 } }),
    ] {
        let mut buffer = [0; REPLY_FRAME];
        example(
            &mut page,
            &format!("reply {number}, {title}"),
            encode(Tag { session: 7, number }, &reply, &mut buffer).unwrap(),
        );
    }
    page
}

#[test]
fn the_page_shows_the_bytes_that_are_sent() {
    let (_, section) = PAGE.split_once("## Examples").expect("the page has examples");
    let (_, block) = section.split_once("```text\n").expect("in a block");
    let (shown, _) = block.split_once("```").expect("that ends");
    let sent = examples();
    assert!(
        shown == sent,
        "the bytes have changed: raise protocol::VERSION unless nobody has them yet, and put this on the page:\n{sent}"
    );
}
