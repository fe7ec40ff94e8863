//! Bad lines and bad sensors.

use super::world::{IMAGE, SLOT, World, draw_turn, in_process, slots, small_image};
use controller_core::action::Reason;
use controller_core::protocol::{
    Decoder, LinkCounters, Order, REPLY_FRAME, REPLY_LEN, Received, Reply, Request, Tag, checksum, encode,
};
use controller_core::rng::Pcg32;
use controller_core::telemetry::Reading;
use firmware_sim::app::{HOST_TIMEOUT, PERIOD};
use firmware_sim::fault::{LineFaults, SensorFault, SensorFaults};
use firmware_sim::line::Pipe;

/// Frames to send in each of the two long tests, 10 % of them harmed.
const FRAMES: u32 = 1_000_000;

/// Messages that arrived unharmed, in whatever order.
fn unharmed(link: &LinkCounters) -> u32 {
    link.accepted + link.greetings + link.repeated + link.late + link.foreign
}

/// One direction: every unharmed frame arrives, so the line is in step again with the first frame
/// after any harm; nothing else arrives, and the counts of both ends agree.
#[test]
fn every_unharmed_frame_arrives() {
    let mut faults = LineFaults::new(3, 100);
    let mut decoder = Decoder::<REPLY_LEN>::new();
    let (mut pipe, mut buffer, mut tag) = (Pipe::default(), [0; REPLY_FRAME], Tag::greeting(1));
    let mut newest = 0;
    for number in 0..FRAMES {
        if number % 60_000 == 0 {
            tag = Tag::greeting(tag.session + 1);
            decoder.restart(tag.session);
            newest = 0;
        }
        tag = tag.following();
        // The content tells the tag again, so that a frame with a wrong one would be seen.
        let content = u32::from(tag.session) << 16 | u32::from(tag.number);
        faults.carry(encode(tag, &<Reply>::Received(content), &mut buffer).unwrap(), &mut pipe);
        while let Some(byte) = pipe.take() {
            let Some(Ok(Received { tag, order, message })) = decoder.push::<Reply>(byte) else { continue };
            assert_eq!(message, Reply::Received(u32::from(tag.session) << 16 | u32::from(tag.number)));
            if order == Order::Next {
                assert!(tag.number > newest);
                newest = tag.number;
            }
        }
    }
    faults.settle(&mut pipe);
    while let Some(byte) = pipe.take() {
        let _ = decoder.push::<Reply>(byte);
    }
    let (counts, link) = (faults.counts(), decoder.counters());
    assert_eq!(counts.sent, FRAMES);
    assert_eq!(counts.delivered, counts.sent - counts.dropped - counts.changed + counts.doubled);
    assert_eq!(unharmed(link), counts.delivered);
    assert_eq!(link.sorted(), link.segments);
    let harmed = link.segments - unharmed(link);
    assert!(harmed >= counts.changed && counts.changed > FRAMES / 100, "{counts:?} {link:?}");
}

/// Both directions, the whole application: every record is that of the controller in process,
/// however often the requests and the replies are harmed.
#[test]
fn no_wrong_decision_is_accepted_over_a_bad_line() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    let before = world.status().link;
    world.down = LineFaults::new(1, 100);
    world.up = LineFaults::new(2, 100);
    let mut controller = in_process(IMAGE);
    let mut rng = Pcg32::new(5);
    let mut turn = 0;
    while world.down.counts().sent + world.up.counts().sent < FRAMES {
        turn += 1;
        // The board's clock may not pass its end, and the host greets again now and then.
        if turn % 10_000 == 0 {
            assert!(matches!(world.greet(), Reply::Hello(_)));
        }
        let (now, telemetry, measurement) = draw_turn(&mut rng, turn);
        let decision = controller.step(now, &telemetry);
        assert_eq!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(decision), "turn {turn}");
        let record = controller.settle(measurement).unwrap();
        assert_eq!(world.ask(&Request::Measurement(measurement)), Reply::Settled(record.clone()), "turn {turn}");
        assert!(!world.fan_full, "retries keep the session");
    }
    let (down, up) = (world.down.counts(), world.up.counts());
    world.down.settle(&mut world.to_app);
    world.down = LineFaults::new(0, 0);
    world.up = LineFaults::new(0, 0);
    let link = world.status().link;
    assert_eq!(link.sorted(), link.segments);
    // The heartbeat at the end is one more; what was cut or held came out when the line settled.
    let delivered = down.sent - down.dropped - down.changed + down.doubled;
    assert_eq!(unharmed(&link) - unharmed(&before), delivered + 1, "{down:?} {link:?}");
    let host = world.client.counters();
    assert_eq!(host.sorted(), host.segments);
    assert!(host.accepted >= 2 * turn && up.changed > 0, "{host:?} {up:?}");
    let per_turn = f64::from(down.sent + up.sent) / f64::from(turn);
    println!("{} frames in {turn} turns, {per_turn:.2} a turn, {down:?}, {up:?}", down.sent + up.sent);
}

#[test]
fn an_upload_over_a_bad_line_is_whole() {
    for seed in 0..20 {
        let new = small_image(100 + seed);
        let mut world = World::<SLOT>::new(slots(IMAGE));
        world.begin();
        world.down = LineFaults::new(seed, 300);
        world.up = LineFaults::new(seed + 1, 300);
        world.upload(&new).unwrap();
        let (now, telemetry, _) = draw_turn(&mut Pcg32::new(seed), 1);
        assert!(matches!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(_)));
        assert_eq!(world.image(), checksum(&new), "seed {seed}");
    }
}

/// A line that brings nothing but rubbish does not keep the session alive.
#[test]
fn rubbish_is_no_sign_of_life() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    let mut rng = Pcg32::new(8);
    for _ in 0..=HOST_TIMEOUT.micros() / PERIOD.micros() {
        let rubbish: Vec<u8> = (0..64).map(|_| rng.next_u32().to_le_bytes()[0]).collect();
        world.to_app.put(&rubbish);
        world.pass();
    }
    assert!(world.fan_full && world.power_cap);
}

/// Blind means safest, whatever the sensor says otherwise; and what it says decides as it does in
/// process.
#[test]
fn sensor_faults_end_in_the_safest_action() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    let mut sensors = SensorFaults::new(9, 100);
    let mut controller = in_process(IMAGE);
    let mut rng = Pcg32::new(6);
    let mut seen = [0; 3];
    for turn in 1..3_000 {
        let (now, truth, _) = draw_turn(&mut rng, turn);
        let (telemetry, fault) = sensors.see(&truth);
        let expected = controller.step(now, &telemetry);
        let Reply::Decision(decision) = world.ask(&Request::Telemetry { now, telemetry }) else { panic!() };
        assert_eq!(decision, expected);
        match fault {
            Some(SensorFault::Dropout) => {
                assert!(matches!(telemetry.temperature, Reading::Absent(_)));
                assert_eq!(decision.applied, controller.actions().safest());
                // A board that was too hot when it went blind goes on holding.
                let blind = matches!(decision.reason, Reason::StaleTelemetry | Reason::Boot | Reason::ThermalHold);
                assert!(blind, "{decision:?}");
                seen[0] += 1;
            }
            // The last value is five seconds old or more, which is too old.
            Some(SensorFault::Stuck) => {
                assert_eq!(decision.applied, controller.actions().safest());
                seen[1] += 1;
            }
            Some(SensorFault::Spike) => seen[2] += 1,
            None => {}
        }
    }
    assert!(seen.iter().all(|&turns| turns > 50), "{seen:?}");
}
