//! The supervisor over the simulated board: whatever the governor wants, whenever the fan fails and
//! whichever samples are lost, the die never passes the limit.

use controller_core::action::{Action, ActionSpace};
use controller_core::control::{Controller, RewardRule};
use controller_core::governor::{Governor, Situation};
use controller_core::reward::service::Service;
use controller_core::rng::Pcg32;
use controller_core::supervisor::{FallbackRule, Limits};
use controller_core::telemetry::{Absence, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{MilliCelsius, MilliRequestsPerSecond};
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::{Conditions, Profile};
use heapless::Vec;
use proptest::prelude::*;

const CLOCKS: [u32; 11] =
    [306_000, 408_000, 510_000, 612_000, 714_000, 816_000, 918_000, 1_020_000, 1_122_000, 1_224_000, 1_300_500];

fn actions() -> ActionSpace {
    ActionSpace {
        prefill_khz: Vec::from_slice(&CLOCKS).unwrap(),
        decode_khz: Vec::from_slice(&CLOCKS).unwrap(),
        batch: Vec::from_slice(&[1, 8, 32]).unwrap(),
        depth: Vec::from_slice(&[9, 12, 16]).unwrap(),
        fan_pwm: Vec::from_slice(&[0, 128, 255]).unwrap(),
    }
}

/// The hottest action for a while, then any: the worst that a governor can do to a board.
#[derive(Debug)]
struct Reckless(Pcg32);

impl Governor for Reckless {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        let actions = situation.actions;
        if self.0.below(3) > 0 {
            return actions.fastest();
        }
        let any = self.0.below(u32::try_from(actions.count()).unwrap());
        actions.action(usize::try_from(any).unwrap()).unwrap()
    }
}

fn controller(seed: u64) -> Controller<Reckless> {
    let reward = RewardRule::Service(Service {
        reference_uj_per_token: 200_000,
        response_limit: Duration::from_millis(1_500),
        soft_temperature: MilliCelsius::from_degrees(75),
        hard_temperature: MilliCelsius::from_degrees(92),
        quality: Vec::from_slice(&[(9, 900), (12, 990), (16, 1000)]).unwrap(),
        quality_floor: 980,
        response_weight: 500,
        temperature_weight: 1500,
        quality_weight: 5000,
    });
    let rule = FallbackRule {
        // The hottest there is: it must be limited like everybody.
        setting: actions().setting(actions().fastest()).unwrap(),
        block_turns: 3,
        warm_up_turns: 1,
        margin: 0,
        scale: 100_000,
        false_alarm_pairs: 20,
        longest_gap_turns: 10,
        probation_pairs: 2,
        first_pause_turns: 20,
        longest_pause_turns: 40,
    };
    let controller = Controller::new(Reckless(Pcg32::new(seed)), actions(), Limits::agx_orin(), reward).unwrap();
    if seed.is_multiple_of(2) { controller } else { controller.with_fallback(rule).unwrap() }
}

/// Loses a sample in so many, makes others late, for at most two turns on end.
fn disturb(telemetry: Telemetry, faults: u32, lost: &mut u32, rng: &mut Pcg32) -> Telemetry {
    let (failed, late_us) =
        (rng.below(100) < faults, u64::from(rng.below(100) < faults) * u64::from(rng.below(2_500_000)));
    *lost = if failed && *lost < 2 { *lost + 1 } else { 0 };
    let before = |at: Instant| Instant::from_micros(at.micros().saturating_sub(late_us));
    let temperature = match telemetry.temperature {
        Reading::Present { value, taken_at } if *lost == 0 => Reading::at(value, before(taken_at)),
        _ => Reading::Absent(Absence::ReadFailed),
    };
    Telemetry { temperature, ..telemetry }
}

prop_compose! {
    /// Any room in which the board can at least idle, and a board that is not too hot already.
    fn conditions()(
        ambient_c in -20.0f64..47.0,
        above_c in 0.0f64..45.0,
        seed in any::<u32>(),
        fan_working in any::<bool>(),
        vendor_fan in any::<bool>(),
        floor_scale in 0.96f64..1.05,
    ) -> Conditions {
        let start_c = (ambient_c + above_c).min(88.0);
        let seed = u64::from(seed);
        Conditions { ambient_c, start_c, seed, fan_working, vendor_fan, floor_scale, ..Conditions::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn the_die_never_passes_the_limit(
        conditions in conditions(),
        fan_fails_at in 0u32..600,
        faults in prop_oneof![Just(0u32), 1u32..20],
        idle_share in 0u32..60,
    ) {
        let mut board = SimulatedBoard::new(&Profile::agx_orin_hf(), conditions);
        let mut controller = controller(conditions.seed);
        let mut rng = Pcg32::new(conditions.seed);
        let (mut lost, mut batches) = (0, 0);
        for turn in 0..700 {
            if turn == fan_fails_at {
                board.set_fan_working(false);
            }
            let telemetry = board.telemetry(40, MilliRequestsPerSecond(10_000));
            let telemetry = disturb(telemetry, faults, &mut lost, &mut rng);
            let decision = controller.step(board.now(), &telemetry);
            let setting = controller.actions().setting(decision.applied).unwrap();
            if decision.hold {
                board.set_fan(setting.fan_pwm);
                board.idle(5.0);
            } else {
                batches += 1;
                let steps = 10 + usize::try_from(rng.below(150)).unwrap();
                board.prefill(&setting, setting.batch, u32::from(setting.batch) * (8 + rng.below(40)));
                board.decode(&setting, &vec![setting.batch; steps]);
                if rng.below(100) < idle_share {
                    board.idle(f64::from(rng.below(60)) / 10.0);
                }
            }
            let requests = if decision.hold { 0 } else { setting.batch };
            let generated_tokens = u32::from(requests) * 30;
            let measurement = board.measure();
            let bill = controller_core::telemetry::Measurement { requests, generated_tokens, ..measurement };
            prop_assert!(controller.settle(bill).is_some());
            prop_assert!(!board.is_off() && board.peak_c() < 95.0, "turn {turn}: {} °C", board.peak_c());
        }
        prop_assert!(batches > 20, "safe, but it does no work: {batches} batches");
    }
}
