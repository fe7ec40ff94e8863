//! The firmware decides as the controller does inside a host.

use super::world::{IMAGE, SLOT, World, actions, configuration, draw_turn, in_process, slots};
use controller_core::action::{Knob, Reason};
use controller_core::protocol::{Configuration, EventKind, InCharge, Refusal, Reply, Request, UploadRefusal};
use controller_core::rng::Pcg32;
use controller_core::supervisor::State;
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::MilliCelsius;
use firmware_sim::app::App;
use firmware_sim::app::storage::{Memory, Storage};

/// Not the decision alone: observation, reward, state, every field of the record.
#[test]
fn every_record_is_that_of_the_controller_in_process() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    let mut controller = in_process(IMAGE);
    let mut rng = Pcg32::new(5);
    let mut reasons = std::collections::HashSet::new();
    for turn in 1..2_000 {
        let (now, telemetry, measurement) = draw_turn(&mut rng, turn);
        let decision = controller.step(now, &telemetry);
        reasons.insert(decision.reason);
        assert_eq!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(decision));
        let record = controller.settle(measurement).unwrap();
        assert_eq!(world.ask(&Request::Measurement(measurement)), Reply::Settled(record.clone()));
    }
    assert!(reasons.len() >= 3, "{reasons:?}");
    let status = world.status();
    assert_eq!((status.in_charge, status.supervisor), (InCharge::Policy, Some(controller.supervisor().state())));
    assert_eq!((status.timing.overruns, status.link.lost), (0, 0));
}

#[test]
fn without_a_usable_image_the_thermostat_decides_and_says_so() {
    let mut spoiled = slots::<SLOT>(IMAGE);
    spoiled.write(0, 3000, &[0; 4]).unwrap();
    let refused = EventKind::PolicyRefused { slot: 0, why: UploadRefusal::Checksum };
    for event in [None, Some(refused)] {
        let memory = if event.is_some() { spoiled.clone() } else { Memory::new() };
        let mut world = World::<SLOT>::new(memory);
        world.begin();
        assert_eq!(world.status().in_charge, InCharge::TwoRule);
        let kinds: Vec<EventKind> = world.app.log().read(0).iter().map(|event| event.kind).collect();
        assert!(kinds.contains(&EventKind::FellBackToTwoRule), "{kinds:?}");
        assert!(event.is_none_or(|event| kinds.contains(&event)), "{kinds:?}");
        let decide = |world: &mut World<SLOT>, degrees, second| {
            let now = Instant::ZERO + Duration::from_secs(second);
            let temperature = Reading::at(MilliCelsius::from_degrees(degrees), now);
            match world.ask(&Request::Telemetry { now, telemetry: Telemetry { temperature, ..Telemetry::UNKNOWN } }) {
                Reply::Decision(decision) => decision,
                other => panic!("{other:?}"),
            }
        };
        let cool = decide(&mut world, 60, 10);
        let middle = actions().last(Knob::Decode) / 2;
        assert_eq!((cool.applied.decode, cool.reason), (middle, Reason::AsRequested));
        assert_eq!(decide(&mut world, 81, 1_000).applied, actions().safest());
        assert_eq!(decide(&mut world, 78, 2_000).applied, actions().safest(), "within the dead band");
        // Clocks rise step by step, so what is asked for tells the rule.
        assert_eq!(decide(&mut world, 70, 3_000).requested, cool.requested);
    }
}

/// A policy for other knobs must not decide, however well it passes its own examples.
#[test]
fn a_policy_for_another_board_is_refused() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.greet();
    let Configuration { mut actions, limits, reward, fallback } = configuration();
    actions.batch.pop();
    let other = Configuration { actions, limits, reward, fallback };
    assert_eq!(world.ask(&Request::Configure(other)), Reply::Acknowledged);
    assert_eq!(world.status().in_charge, InCharge::TwoRule);
    // And with the right knobs it decides again.
    assert_eq!(world.ask(&Request::Configure(configuration())), Reply::Acknowledged);
    assert_eq!(world.status().in_charge, InCharge::Policy);
}

#[test]
fn requests_out_of_place_are_refused_by_name() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    let telemetry = |micros| Request::Telemetry { now: Instant::from_micros(micros), telemetry: Telemetry::UNKNOWN };
    let measurement = Request::Measurement(Measurement::default());
    assert_eq!(world.ask(&Request::Heartbeat), Reply::Refused(Refusal::NoSession));
    world.greet();
    assert_eq!(world.ask(&Request::Hello), Reply::Refused(Refusal::NotAGreeting));
    assert_eq!(world.ask(&telemetry(5)), Reply::Refused(Refusal::NotConfigured));
    assert_eq!(world.ask(&measurement), Reply::Refused(Refusal::NoTurn));
    let mut hopeless = configuration();
    hopeless.limits.hysteresis_mk = 0;
    assert_eq!(world.ask(&Request::Configure(hopeless)), Reply::Refused(Refusal::Configuration));
    assert_eq!(world.status().supervisor, None);
    assert_eq!(world.ask(&Request::Configure(configuration())), Reply::Acknowledged);
    assert_eq!(world.ask(&measurement), Reply::Refused(Refusal::NoTurn));
    assert!(matches!(world.ask(&telemetry(5)), Reply::Decision(_)));
    assert!(matches!(world.ask(&telemetry(5)), Reply::Decision(_)));
    assert_eq!(world.ask(&telemetry(4)), Reply::Refused(Refusal::TimeRunsBackwards));
    assert!(matches!(world.ask(&measurement), Reply::Settled(_)));
    assert_eq!(world.ask(&measurement), Reply::Refused(Refusal::NoTurn));
    assert_eq!(world.status().supervisor, Some(State::Boot), "no temperature has been seen");
}

#[test]
fn the_event_log_is_read_over_the_line() {
    let mut world = World::<SLOT>::new(slots(IMAGE));
    world.begin();
    let Reply::Events { events, next } = world.ask(&Request::ReadEvents { from: 0 }) else { panic!() };
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Boot,
        EventKind::PolicyAccepted { slot: 0 },
        EventKind::SessionOpened { session: world.session },
        EventKind::Configured,
    ];
    assert_eq!((kinds.as_slice(), next), (&expected[..], 4));
    assert_eq!(world.status().next_event, 4);
}

/// All the memory that firmware needs besides its stack: controller, log, both directions of the
/// link. The pointers of this machine are wider than a microcontroller's, which needs some hundred
/// bytes less; `./x firmware` bounds it there.
#[test]
fn the_application_is_small() {
    let bytes = size_of::<App<Memory<0>>>();
    println!("{bytes} bytes");
    assert!(bytes <= 4 * 1024 + 128, "{bytes} bytes");
}
