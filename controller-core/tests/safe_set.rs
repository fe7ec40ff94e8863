//! No sequence leaves the safe set: whatever the sensors say, the governor wants, the fallback does
//! and the limits are. The safe set is defined here, on histories and by brute force, and knows
//! nothing of the supervisor's states.

use controller_core::action::{Action, ActionSpace, Decision, Knob, Reason};
use controller_core::supervisor::{Fallback, FallbackRule, Limits, Pace, Paces, Supervisor};
use controller_core::telemetry::{Absence, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{MilliCelsius, MilliWatts};
use heapless::Vec as Bounded;
use proptest::prelude::*;

fn actions() -> ActionSpace {
    ActionSpace {
        prefill_khz: Bounded::from_slice(&[306_000, 714_000, 1_300_500]).unwrap(),
        decode_khz: Bounded::from_slice(&[306_000, 510_000, 816_000, 1_020_000, 1_300_500]).unwrap(),
        batch: Bounded::from_slice(&[1, 8, 32]).unwrap(),
        depth: Bounded::from_slice(&[9, 12, 14, 16]).unwrap(),
        fan_pwm: Bounded::from_slice(&[0, 128, 255]).unwrap(),
    }
}

/// One turn as the world serves it. Ages below zero lie ahead.
#[derive(Clone, Debug)]
struct Turn {
    step_us: u64,
    temperature_mc: Option<i32>,
    temperature_age_us: i64,
    power_mw: Result<u32, Absence>,
    power_age_us: i64,
    slope_mk_per_s: i32,
    requested: [u8; 5],
    earned: Option<i32>,
    requests: u16,
}

/// A turn with its decision.
struct Done {
    now: Instant,
    telemetry: Telemetry,
    slope_mk_per_s: i32,
    decision: Decision,
}

fn age() -> impl Strategy<Value = i64> {
    let wild = any::<i32>().prop_map(i64::from);
    prop_oneof![6 => Just(0i64), 2 => 0i64..4_000_000, 1 => -10_000_000i64..10_000_000, 1 => wild]
}

fn temperature() -> impl Strategy<Value = Option<i32>> {
    // The narrow range makes values that stay the same for a while.
    let (usual, narrow) = (30_000i32..110_000, (40i32..43).prop_map(|degrees| degrees * 1000));
    prop_oneof![1 => Just(None), 6 => usual.prop_map(Some), 3 => narrow.prop_map(Some), 1 => any::<i32>().prop_map(Some)]
}

fn power() -> impl Strategy<Value = Result<u32, Absence>> {
    prop_oneof![
        6 => (0u32..80_000).prop_map(Ok),
        1 => any::<u32>().prop_map(Ok),
        1 => Just(Err(Absence::ReadFailed)),
        1 => Just(Err(Absence::NoSensor)),
    ]
}

prop_compose! {
    fn turn()(
        step_us in prop_oneof![5 => 0u64..8_000_000, 1 => 0u64..1_000_000_000],
        temperature_mc in temperature(),
        temperature_age_us in age(),
        power_mw in power(),
        power_age_us in age(),
        slope_mk_per_s in prop_oneof![4 => -300i32..300, 1 => any::<i32>()],
        requested in prop_oneof![
            3 => proptest::array::uniform5(0u8..6),
            1 => any::<[u8; 5]>(),
            2 => Just([9, 9, 9, 0, 0]),
        ],
        earned in proptest::option::of(any::<i32>()),
        requests in 0u16..40,
    ) -> Turn {
        Turn {
            step_us, temperature_mc, temperature_age_us, power_mw, power_age_us, slope_mk_per_s, requested, earned,
            requests,
        }
    }
}

prop_compose! {
    fn pace()(secs in 0u32..40, slew in prop_oneof![1u8..5, Just(255u8)], hysteresis in 1u8..4) -> Pace {
        Pace { dwell: Duration::from_secs(secs), slew, hysteresis }
    }
}

prop_compose! {
    fn paces()(prefill in pace(), decode in pace(), batch in pace(), depth in pace(), fan in pace()) -> Paces {
        Paces { prefill, decode, batch, depth, fan }
    }
}

prop_compose! {
    fn any_limits()(
        degrees in 40i16..=105,
        soft_margin_mk in 2u16..20_000,
        hold_margin_mk in 1u16..10_000,
        hysteresis_mk in 1u16..5_000,
        horizon_s in 0u32..60,
        max_age_s in 1u32..30,
        rates in (1u16..3_000, 1u16..5_000, 1u32..30_000),
        stuck_after_s in prop_oneof![Just(0u32), 10u32..100],
        power in (2u32..100_000, 1u32..50_000),
        pace in paces(),
        min_depth in 0u16..20,
    ) -> Limits {
        Limits {
            temperature: MilliCelsius::from_degrees(degrees),
            power: MilliWatts(power.0),
            power_hysteresis: MilliWatts(power.1),
            max_power_slew_mw_per_s: rates.2,
            soft_margin_mk,
            hold_margin_mk,
            hysteresis_mk,
            horizon: Duration::from_secs(horizon_s),
            max_age: Duration::from_secs(max_age_s),
            max_slew_mk_per_s: rates.0,
            max_fall_mk_per_s: rates.1,
            stuck_after: Duration::from_secs(stuck_after_s),
            pace,
            min_depth,
        }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    any_limits().prop_filter("limits that are refused", |limits| limits.check().is_ok())
}

prop_compose! {
    fn fallback()(
        index in 0usize..actions().count(),
        block_turns in 1u8..4,
        warm_up_turns in 0u8..3,
        margin in 0u32..1000,
        scale in 1u32..1_000_000,
        false_alarm_pairs in 10u32..1000,
        longest_gap_turns in 0u32..20,
        probation_pairs in 1u8..4,
        pause in (1u32..20, 0u32..50),
    ) -> Fallback {
        let setting = actions().setting(actions().action(index).unwrap()).unwrap();
        let (first_pause_turns, longest_pause_turns) = (pause.0, pause.0 + pause.1);
        let rule = FallbackRule {
            setting, block_turns, warm_up_turns, margin, scale, false_alarm_pairs, longest_gap_turns, probation_pairs,
            first_pause_turns, longest_pause_turns,
        };
        Fallback::new(rule, &actions()).unwrap()
    }
}

fn is_fresh<T>(reading: &Reading<T>, now: Instant, limits: &Limits) -> bool {
    match reading {
        Reading::Present { taken_at, .. } => now.micros().abs_diff(taken_at.micros()) <= limits.max_age.micros(),
        Reading::Absent(_) => false,
    }
}

/// How far a knob is from its safe end.
fn exposure(knob: Knob, action: Action) -> u8 {
    let index = action.get(knob);
    if matches!(knob, Knob::Depth | Knob::Fan) { actions().last(knob) - index } else { index }
}

/// The safe set. `history` ends with the turn to judge.
fn check_safe(history: &[Done], limits: &Limits) -> Result<(), TestCaseError> {
    let (Done { now, telemetry, slope_mk_per_s, decision }, past) = history.split_last().unwrap();
    let (actions, applied) = (actions(), decision.applied);
    let Some(setting) = actions.setting(applied) else {
        return Err(TestCaseError::fail("outside the action space"));
    };
    let untouched = applied == decision.requested && !decision.hold;
    prop_assert_eq!(decision.reason == Reason::AsRequested, untouched, "a change has a reason, and nothing else has");
    prop_assert!(setting.depth >= limits.min_depth.min(16), "below the quality floor");

    let celsius = telemetry.temperature.value();
    let blind = !is_fresh(&telemetry.temperature, *now, limits) || celsius < Some(MilliCelsius(-40_000));
    let stuck = decision.reason == Reason::StuckSensor;
    if stuck && !blind {
        let same = |turn: &&Done| {
            is_fresh(&turn.telemetry.temperature, turn.now, limits) && turn.telemetry.temperature.value() == celsius
        };
        let row: Vec<&Done> = history.iter().rev().take_while(same).collect();
        let since = row.last().map_or(*now, |turn| turn.now);
        prop_assert!(row.len() >= 20 && limits.stuck_after.micros() > 0, "a healthy sensor");
        prop_assert!(now.since(since) >= limits.stuck_after, "a healthy sensor");
    }
    if blind || stuck {
        prop_assert_eq!(applied, actions.safest(), "blind, but not at the safest action");
        return Ok(());
    }

    // The least that must be expected: the sample itself and the slope over the horizon.
    let micros = i128::from(limits.horizon.micros());
    let ahead = i128::from(*slope_mk_per_s).clamp(0, 1_000_000) * micros / 1_000_000;
    let expected = celsius.map_or(0, |celsius| i128::from(celsius.0.min(150_000))) + ahead;
    let below = |margin_mk: u16| i128::from(limits.temperature.0) - i128::from(margin_mk);
    if expected >= below(limits.hold_margin_mk) {
        prop_assert!(decision.hold, "{expected} m°C ahead, and a batch starts");
    }
    let hungry = is_fresh(&telemetry.power, *now, limits) && telemetry.power.value() >= Some(limits.power);
    if expected >= below(limits.soft_margin_mk) || hungry {
        prop_assert_eq!(applied.fan, actions.last(Knob::Fan), "in danger, and the fan is not full");
        let ran = past.last().map_or(actions.last(Knob::Decode), |turn| turn.decision.applied.decode);
        let cap = ran.saturating_sub(1);
        prop_assert!(applied.decode <= cap && applied.prefill <= cap, "in danger, and the clocks do not fall");
    }

    let Some(last) = past.last() else { return Ok(()) };
    for knob in Knob::ALL {
        let (was, is) = (exposure(knob, last.decision.applied), exposure(knob, applied));
        let pace = limits.pace.get(knob);
        if is > was {
            prop_assert!(is - was <= pace.slew, "{knob} leaps from {was} to {is}");
            for pair in past.windows(2) {
                let fell = exposure(knob, pair[1].decision.applied) < exposure(knob, pair[0].decision.applied);
                let rested = pair[1].now + pace.dwell <= *now;
                prop_assert!(!fell || rested, "{knob} turns back before its dwell is over");
            }
        }
    }
    Ok(())
}

struct World {
    supervisor: Supervisor,
    now: Instant,
    history: Vec<Done>,
}

impl World {
    fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, now: Instant::from_micros(1_000_000_000_000), history: Vec::new() }
    }

    fn run(&mut self, turn: &Turn) {
        self.now = self.now + Duration::from_micros(turn.step_us);
        let now = self.now;
        let taken = |age_us: i64| Instant::from_micros(now.micros().saturating_add_signed(-age_us));
        let telemetry = Telemetry {
            temperature: turn.temperature_mc.map_or(Reading::Absent(Absence::ReadFailed), |mc| {
                Reading::at(MilliCelsius(mc), taken(turn.temperature_age_us))
            }),
            power: match turn.power_mw {
                Ok(mw) => Reading::at(MilliWatts(mw), taken(turn.power_age_us)),
                Err(absence) => Reading::Absent(absence),
            },
            ..Telemetry::UNKNOWN
        };
        let [prefill, decode, batch, depth, fan] = turn.requested;
        let requested = Action { prefill, decode, batch, depth, fan };
        let slope_mk_per_s = turn.slope_mk_per_s;
        let decision = self.supervisor.supervise(now, &telemetry, slope_mk_per_s, requested, &actions());
        assert_eq!(decision.requested, requested);
        self.supervisor.settle(turn.requests, turn.earned.filter(|_| !decision.hold));
        self.history.push(Done { now, telemetry, slope_mk_per_s, decision });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_sequence_leaves_the_safe_set(
        limits in limits(),
        fallback in proptest::option::of(fallback()),
        turns in proptest::collection::vec(turn(), 1..80),
    ) {
        let mut supervisor = Supervisor::new(limits).unwrap();
        if let Some(fallback) = fallback {
            supervisor.set_fallback(fallback);
        }
        let mut world = World::new(supervisor);
        for turn in &turns {
            world.run(turn);
            check_safe(&world.history, &limits)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Safe, but not dead: on a board that has become healthy again the governor gets its way.
    #[test]
    fn a_healthy_board_is_given_back(
        limits in limits(),
        turns in proptest::collection::vec(turn(), 0..40),
        requested in (0u8..3, 0u8..5, 0u8..3, 0u8..4, 0u8..3),
    ) {
        let power = MilliWatts(90_000);
        let limits = Limits { pace: Paces::FREE, min_depth: 1, power, power_hysteresis: MilliWatts(1_000), ..limits };
        let mut world = World::new(Supervisor::new(limits).unwrap());
        for turn in &turns {
            world.run(turn);
        }
        let (prefill, decode, batch, depth, fan) = requested;
        let calm = |number: i32| Turn {
            step_us: 600_000_000,
            temperature_mc: Some(limits.temperature.0 - 30_000 + number),
            temperature_age_us: 0,
            power_mw: Ok(20_000),
            power_age_us: 0,
            slope_mk_per_s: 0,
            requested: [prefill, decode, batch, depth, fan],
            earned: None,
            requests: 0,
        };
        // A board that cools by 1 mK/s takes 600 mK a turn; then the cap climbs.
        for number in 0..400 {
            world.run(&calm(number % 2));
        }
        let decision = world.history.last().unwrap().decision;
        prop_assert_eq!(decision.reason, Reason::AsRequested, "{:?}", world.supervisor.state());
    }
}
