//! The supervisor as a whole: telemetry in, decisions out.

use super::*;
use crate::action::tests::small_space;
use crate::telemetry::{Absence, Reading};
use crate::time::Duration;
use crate::units::{MilliCelsius, MilliWatts};

fn at(temperature: i32, now: Instant) -> Telemetry {
    Telemetry { temperature: Reading::at(MilliCelsius(temperature), now), ..Telemetry::UNKNOWN }
}

/// Supervises one turn per entry, five seconds apart, with a governor that wants everything.
fn run(temperatures: &[Option<i32>]) -> std::vec::Vec<(State, Decision)> {
    let actions = small_space();
    let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
    let turn = |(number, temperature): (usize, &Option<i32>)| {
        let now = Instant::from_micros(number as u64 * 5_000_000);
        let telemetry = temperature.map_or(Telemetry::UNKNOWN, |t| at(t, now));
        let decision = supervisor.supervise(now, &telemetry, 0, actions.fastest(), &actions);
        (supervisor.state(), decision)
    };
    temperatures.iter().enumerate().map(turn).collect()
}

#[test]
fn heating_up_and_cooling_down_walks_the_diagram() {
    use State::{Boot, Critical, Running, Throttled};
    let trace = run(&[
        None,
        Some(60_000),
        Some(91_500),
        Some(91_500),
        Some(93_100),
        Some(92_000),
        Some(91_000),
        Some(90_000),
        Some(89_000),
        Some(89_000),
        Some(89_000),
    ]);
    let states: std::vec::Vec<State> = trace.iter().map(|(state, _)| *state).collect();
    assert_eq!(
        states,
        [Boot, Running, Throttled, Throttled, Critical, Critical, Throttled, Throttled, Throttled, Throttled, Running]
    );
    let decode: std::vec::Vec<u8> = trace.iter().map(|(_, decision)| decision.applied.decode).collect();
    assert_eq!(decode, [0, 3, 2, 1, 0, 0, 0, 0, 1, 2, 3]);
    assert_eq!(trace[2].1.reason, Reason::ThermalCap);
    assert!(trace[4].1.hold && trace[4].1.reason == Reason::ThermalHold);
    assert_eq!(trace[10].1.reason, Reason::AsRequested);
}

#[test]
fn losing_the_sensor_fails_safe_and_comes_back_slowly() {
    let trace = run(&[Some(50_000), None, Some(50_000), Some(50_000), Some(50_000), Some(50_000)]);
    assert_eq!(trace[1].0, State::Failsafe);
    assert_eq!(trace[1].1.applied, small_space().safest());
    assert_eq!(trace[2].1.reason, Reason::StaleTelemetry);
    let decode: std::vec::Vec<u8> = trace.iter().map(|(_, decision)| decision.applied.decode).collect();
    assert_eq!(decode, [3, 0, 0, 1, 2, 3]);
}

#[test]
fn a_hot_board_that_goes_blind_goes_on_holding() {
    let trace = run(&[Some(60_000), Some(93_100), None, None, Some(92_000), Some(80_000)]);
    assert!(trace[1..5].iter().all(|(state, decision)| *state == State::Critical && decision.hold));
    assert_eq!(trace[5].0, State::Throttled);
}

#[test]
fn a_steep_rise_is_seen_before_the_limit() {
    let actions = small_space();
    let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
    let decision = supervisor.supervise(Instant::ZERO, &at(88_000, Instant::ZERO), 500, actions.fastest(), &actions);
    assert!(decision.hold, "88 °C and 0.5 K/s is 93 °C in ten seconds");
}

#[test]
fn an_old_sample_counts_as_hotter() {
    let actions = small_space();
    let limits = Limits { max_age: Duration::from_secs(60), ..Limits::agx_orin() };
    let mut supervisor = Supervisor::new(limits).unwrap();
    let now = Instant::from_micros(10_000_000);
    let decision = supervisor.supervise(now, &at(87_100, Instant::ZERO), 0, actions.fastest(), &actions);
    assert!(decision.hold, "ten seconds at 0.6 K/s may have made 93.1 °C of it");
}

#[test]
fn shallow_answers_are_deepened() {
    let actions = small_space();
    let mut supervisor = Supervisor::new(Limits { min_depth: 10, ..Limits::agx_orin() }).unwrap();
    for (asked, applied, reason) in [
        (0, 1, Reason::QualityFloor),
        (1, 1, Reason::AsRequested),
        (2, 2, Reason::AsRequested),
        (9, 2, Reason::OutOfRange),
    ] {
        let requested = Action { depth: asked, ..actions.fastest() };
        let decision = supervisor.supervise(Instant::ZERO, &at(50_000, Instant::ZERO), 0, requested, &actions);
        assert_eq!((decision.applied.depth, decision.reason), (applied, reason), "asked for {asked}");
    }
}

#[test]
fn power_is_capped() {
    let actions = small_space();
    let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
    let hungry = Telemetry { power: Reading::at(MilliWatts(60_001), Instant::ZERO), ..at(50_000, Instant::ZERO) };
    let decision = supervisor.supervise(Instant::ZERO, &hungry, 0, actions.fastest(), &actions);
    assert_eq!((decision.applied.decode, decision.reason), (2, Reason::PowerCap));
}

#[test]
fn impossible_limits_are_refused() {
    let good = Limits::agx_orin();
    for (limits, error) in [
        (Limits { soft_margin_mk: 1_000, ..good }, LimitsError::Margins),
        (Limits { hysteresis_mk: 0, ..good }, LimitsError::Hysteresis),
        (Limits { max_age: Duration::ZERO, ..good }, LimitsError::Age),
        (Limits { max_slew_mk_per_s: 0, ..good }, LimitsError::Slew),
        (Limits { horizon: Duration::from_secs(601), ..good }, LimitsError::Horizon),
        (Limits { power: MilliWatts(0), ..good }, LimitsError::Power),
        (Limits { temperature: MilliCelsius(300_000), ..good }, LimitsError::Temperature),
    ] {
        assert_eq!(Supervisor::new(limits).unwrap_err(), error);
    }
}

#[test]
fn a_lost_power_sensor_caps_the_clocks_and_one_that_never_was_does_not() {
    let actions = small_space();
    let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
    let mut turn = |number: u32, power| {
        let now = Instant::ZERO + Duration::from_secs(5 * number);
        let telemetry = Telemetry { power, ..at(50_000 + i32::try_from(number).unwrap(), now) };
        let decision = supervisor.supervise(now, &telemetry, 0, actions.fastest(), &actions);
        (decision.applied.decode, decision.reason)
    };
    let failed = Reading::Absent(Absence::ReadFailed);
    assert_eq!(turn(0, failed), (3, Reason::AsRequested));
    assert_eq!(turn(1, Reading::at(MilliWatts(20_000), Instant::from_micros(5_000_000))), (3, Reason::AsRequested));
    assert_eq!([turn(2, failed), turn(3, failed)], [(2, Reason::StaleTelemetry), (1, Reason::StaleTelemetry)]);
    assert_eq!(turn(4, Reading::Absent(Absence::NoSensor)).1, Reason::StaleTelemetry, "it comes back slowly");
}

#[test]
fn a_stuck_sensor_is_none() {
    let actions = small_space();
    let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
    let mut stuck = None;
    for second in 0..200 {
        let now = Instant::ZERO + Duration::from_secs(second);
        let power = Reading::at(MilliWatts(if second < 20 { 20_000 } else { 30_000 }), now);
        let telemetry = Telemetry { power, ..at(50_000, now) };
        let decision = supervisor.supervise(now, &telemetry, 0, actions.fastest(), &actions);
        if decision.reason == Reason::StuckSensor {
            assert_eq!((supervisor.state(), decision.applied), (State::Failsafe, actions.safest()));
            stuck = stuck.or(Some(second));
        }
    }
    assert_eq!(stuck, Some(80), "a minute after power has moved");
}

#[test]
fn the_static_setting_is_named_as_the_reason_and_made_safe_like_any_other() {
    let actions = small_space();
    let setting = actions.setting(Action { depth: 0, ..actions.fastest() }).unwrap();
    let rule = FallbackRule {
        setting,
        block_turns: 1,
        warm_up_turns: 0,
        margin: 0,
        scale: 1,
        false_alarm_pairs: 10,
        longest_gap_turns: 0,
        probation_pairs: 1,
        first_pause_turns: 100,
        longest_pause_turns: 100,
    };
    let limits = Limits { min_depth: 10, pace: Paces::FREE, ..Limits::agx_orin() };
    let fallback = Fallback::new(rule, &actions).unwrap();
    let mut supervisor = Supervisor::new(limits).unwrap();
    supervisor.set_fallback(fallback);
    let mut reasons = std::vec::Vec::new();
    for turn in 0..40u32 {
        let now = Instant::ZERO + Duration::from_secs(turn);
        let degrees = if turn < 30 { 50_000 } else { 92_000 };
        let decision =
            supervisor.supervise(now, &at(degrees + i32::try_from(turn).unwrap(), now), 0, actions.safest(), &actions);
        reasons.push(decision.reason);
        match decision.reason {
            Reason::StaticProbe | Reason::StaticFallback => {
                assert_eq!(decision.applied, Action { depth: 1, ..actions.fastest() }, "raised to the floor");
                supervisor.settle(1, Some(2));
            }
            _ => supervisor.settle(1, Some(1)),
        }
    }
    // Governor and static, then the other way round.
    let pairs = [Reason::AsRequested, Reason::StaticProbe, Reason::StaticProbe, Reason::AsRequested];
    assert_eq!(reasons[..4], pairs);
    assert!(reasons[20..30].iter().all(|reason| *reason == Reason::StaticFallback), "{reasons:?}");
    assert!(reasons[30..].iter().all(|reason| *reason == Reason::ThermalCap), "{reasons:?}");
}
