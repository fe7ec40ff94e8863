//! The dead man's switch and the loop's own clock.

use super::world::{IMAGE, SLOT, World, configuration, draw_turn, slots};
use controller_core::protocol::{EventKind, Refusal, Reply, Request, Safety, Tag};
use controller_core::rng::Pcg32;
use controller_core::time::{Duration, Instant};
use firmware_sim::app::{App, HOST_TIMEOUT, PERIOD};

#[test]
fn the_outputs_are_active_until_a_host_greets() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.pass();
    assert!(world.fan_full && world.power_cap);
    world.idle(Duration::from_secs(10));
    assert!(world.fan_full && world.power_cap);
    assert_eq!(world.ask(&Request::Heartbeat), Reply::Refused(Refusal::NoSession));
    assert!(world.fan_full && world.power_cap, "anybody can send a heartbeat");
    world.greet();
    assert!(!world.fan_full && !world.power_cap);
    assert_eq!(world.status().safety, Safety::InSession);
}

/// The host dies at any byte of any frame it sends, a hundred times over, on one microcontroller.
#[test]
fn a_dead_host_is_noticed_in_time_and_a_new_one_goes_on() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    let mut rng = Pcg32::new(11);
    let mut turn = 0;
    for death in 0..100 {
        world.begin();
        assert!(!world.fan_full && !world.power_cap);
        for _ in 0..rng.below(5) {
            turn += 1;
            let (now, telemetry, measurement) = draw_turn(&mut rng, turn);
            assert!(matches!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(_)));
            assert!(matches!(world.ask(&Request::Measurement(measurement)), Reply::Settled(_)));
        }
        let last_sign = world.now;
        world.client.ask(&Request::Configure(configuration())).unwrap();
        let frame = world.client.frame();
        // All but the last byte at most: the request is never complete.
        world.to_app.put(&frame[..rng.below(u32::try_from(frame.len()).unwrap()) as usize]);
        while world.now < last_sign + HOST_TIMEOUT {
            assert!(!world.fan_full, "death {death}: too early");
            world.pass();
        }
        world.pass();
        assert!(world.fan_full && world.power_cap, "death {death}: not within the timeout and a period");
        let waiting = Duration::from_millis(rng.below(3_000));
        world.idle(waiting);
        assert!(world.fan_full && world.power_cap);
        assert_eq!(world.ask(&Request::Heartbeat), Reply::Refused(Refusal::NoSession));
        assert!(world.fan_full, "only a greeting ends it");
    }
    // 100 boots of the host, one of the microcontroller.
    assert!(matches!(world.greet(), Reply::Hello(identity) if identity.configured));
    let kinds: Vec<EventKind> = world.app.log().read(0).iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::HostSilent), "{kinds:?}");
}

#[test]
fn heartbeats_keep_the_session_and_an_old_greeting_does_not_open_one() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    for _ in 0..20 {
        world.idle(Duration::from_millis(900));
        assert_eq!(world.status().safety, Safety::InSession);
    }
    world.idle(HOST_TIMEOUT);
    world.pass();
    assert!(world.fan_full);
    // The greeting of the session that has just ended, delayed on the line.
    let session = world.session;
    world.client.greet(session).unwrap();
    world.to_app.put(world.client.frame());
    world.pass();
    world.pass();
    assert!(world.fan_full, "it proves no life");
    assert_eq!(Tag::greeting(session).number, 0);
    world.greet();
    assert!(!world.fan_full);
}

/// After a reset of the microcontroller the host is refused, greets, configures, and goes on.
#[test]
fn a_reset_ends_the_session_and_protects_the_board() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    let now = Instant::from_micros(1);
    let (_, telemetry, _) = draw_turn(&mut Pcg32::new(1), 1);
    assert!(matches!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(_)));
    let storage = world.app.clone().power_off();
    world.app = App::boot(storage, world.now);
    world.pass();
    assert!(world.fan_full && world.power_cap);
    assert_eq!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Refused(Refusal::NoSession));
    assert!(matches!(world.greet(), Reply::Hello(identity) if !identity.configured));
    assert_eq!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Refused(Refusal::NotConfigured));
    world.begin();
    assert!(matches!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(_)));
}

#[test]
fn late_passes_are_counted() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    world.now = world.now + Duration::from_micros(400);
    world.pass();
    let timing = world.status().timing;
    assert_eq!((timing.overruns, timing.worst_jitter_us), (0, 400));
    world.now = world.now + Duration::from_millis(7);
    world.pass();
    let timing = world.status().timing;
    assert_eq!(timing.overruns, 1);
    assert!((7_000..=7_400).contains(&timing.worst_jitter_us), "{timing:?}");
    assert!(u64::from(timing.passes) <= world.now.micros() / PERIOD.micros());
    let kinds: Vec<EventKind> = world.app.log().read(0).iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::Overrun { late_us: timing.worst_jitter_us }), "{kinds:?}");
}
