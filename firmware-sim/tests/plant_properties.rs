//! What must hold of the plant whatever is done to it.

use firmware_sim::plant::thermal::Nodes;
use firmware_sim::plant::{Conditions, Interval, Plant, Profile, TICK_S, fan, latency};
use proptest::prelude::*;

/// Anything that can be done to a plant.
#[derive(Clone, Copy, Debug)]
enum Act {
    Clock(usize),
    Floor(u8),
    Fan(bool),
    Ambient(f64),
    Prefill(u32, u32, u32),
    Decode(u32, u32, u32),
    Idle(f64),
    Sense,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0_usize..13).prop_map(Act::Clock),
        any::<u8>().prop_map(Act::Floor),
        any::<bool>().prop_map(Act::Fan),
        (10.0..40.0).prop_map(Act::Ambient),
        (1_u32..=32, 9_u32..=24, 1_u32..=16).prop_map(|(b, length, depth)| Act::Prefill(b, b * length, depth)),
        (0_u32..=32, 0_u32..=200, 1_u32..=16).prop_map(|(b, steps, depth)| Act::Decode(b, steps, depth)),
        (-1.0..120.0).prop_map(Act::Idle),
        Just(Act::Sense),
    ]
}

fn apply(plant: &mut Plant, act: Act) -> Interval {
    match act {
        Act::Clock(index) => plant.set_gpu_clock(index),
        Act::Floor(pwm) => plant.set_fan_pwm_floor(pwm),
        Act::Fan(working) => plant.set_fan_working(working),
        Act::Ambient(c) => plant.set_ambient(c),
        Act::Prefill(batch, tokens, depth) => return plant.prefill(batch, tokens, depth),
        Act::Decode(batch, steps, depth) => return plant.decode(batch, steps, depth),
        Act::Idle(seconds) => return plant.idle(seconds),
        Act::Sense => {
            plant.sense();
        }
    }
    Interval::empty(plant.temperature_c())
}

fn quiet() -> Conditions {
    Conditions { noise: false, ..Conditions::default() }
}

proptest! {
    #[test]
    fn energy_and_temperature_stay_physical(acts in prop::collection::vec(act(), 1..60), seed: u64) {
        let mut plant = Plant::new(&Profile::agx_orin_hf(), Conditions { seed, ..Conditions::default() });
        for act in acts {
            let interval = apply(&mut plant, act);
            prop_assert!(interval.duration_s >= 0.0 && interval.energy_j >= 0.0 && interval.fan_energy_j >= 0.0);
            prop_assert!(interval.throttled_s <= interval.duration_s + 1e-9);
            prop_assert!(interval.above_limit_s <= interval.duration_s + 1e-9);
            prop_assert!((0.0..60.0).contains(&interval.mean_power_w()));
            // Coolest room 10 C; shutdown is looked at once a tick, within which the die rises by less than 0.5 K.
            prop_assert!((10.0..101.0).contains(&interval.max_temperature_c), "{interval:?}");
        }
    }

    #[test]
    fn same_seed_and_calls_same_bits(acts in prop::collection::vec(act(), 1..40), seed: u64) {
        let mut first = Plant::new(&Profile::agx_orin_hf(), Conditions { seed, ..Conditions::default() });
        let mut second = first.clone();
        for act in acts {
            prop_assert_eq!(apply(&mut first, act), apply(&mut second, act));
        }
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_clone_is_a_snapshot(before in prop::collection::vec(act(), 0..20), after in prop::collection::vec(act(), 1..20)) {
        let mut plant = Plant::new(&Profile::agx_orin_hf(), Conditions::default());
        for act in before {
            apply(&mut plant, act);
        }
        let snapshot = plant.clone();
        let future: Vec<_> = after.iter().map(|&act| apply(&mut plant, act)).collect();
        let mut restored = snapshot;
        let again: Vec<_> = after.iter().map(|&act| apply(&mut restored, act)).collect();
        prop_assert_eq!(future, again);
    }

    #[test]
    fn idle_in_parts_is_idle_in_whole(parts in prop::collection::vec(0.001..9.0, 1..12), start_c in 20.0..98.0) {
        let mut whole = Plant::new(&Profile::agx_orin_hf(), Conditions { start_c, ..quiet() });
        let mut pieces = whole.clone();
        whole.idle(parts.iter().sum());
        for part in parts {
            pieces.idle(part);
        }
        prop_assert!((whole.temperature_c() - pieces.temperature_c()).abs() < 1e-9);
        prop_assert!((whole.nodes().sink_c - pieces.nodes().sink_c).abs() < 1e-9);
        prop_assert!((whole.elapsed_s() - pieces.elapsed_s()).abs() < 1e-9);
    }

    #[test]
    fn decode_in_parts_is_decode_in_whole(split in 1_u32..100, batch in 1_u32..=32, clock in 0_usize..11) {
        // Leakage is taken at the start of a step, and a split adds a step: equal to 1e-4, not to the last bit.
        let mut whole = Plant::new(&Profile::agx_orin_hf(), Conditions::default());
        whole.set_gpu_clock(clock);
        let mut pieces = whole.clone();
        let one = whole.decode(batch, 100, 16);
        let two = pieces.decode(batch, split, 16).then(pieces.decode(batch, 100 - split, 16));
        prop_assert!((one.duration_s - two.duration_s).abs() < 1e-9);
        prop_assert!((one.energy_j / two.energy_j - 1.0).abs() < 1e-4);
        prop_assert!((one.end_temperature_c - two.end_temperature_c).abs() < 1e-3);
    }

    #[test]
    fn a_higher_clock_never_takes_longer(clock in 0_usize..10, batch in 1_u32..=32, length in 9_u32..=24, depth in 1_u32..=16) {
        let profile = Profile::agx_orin_hf();
        let (low, high) = (profile.gpu_clock_khz[clock], profile.gpu_clock_khz[clock + 1]);
        let decode = |khz| latency::decode_step_seconds(&profile, khz, batch, depth, 1.0);
        let prefill = |khz| latency::prefill_seconds(&profile, khz, batch, batch * length, depth);
        prop_assert!(decode(high) <= decode(low));
        prop_assert!(prefill(high) <= prefill(low));
    }

    #[test]
    fn fewer_layers_never_take_longer(khz in 306_000_u32..1_300_500, batch in 1_u32..=32, depth in 1_u32..16) {
        let profile = Profile::agx_orin_hf();
        let at_depth = |depth| latency::decode_step_seconds(&profile, khz, batch, depth, 1.0);
        prop_assert!(at_depth(depth) < at_depth(depth + 1));
    }

    #[test]
    fn rest_is_resistance_times_power_above_the_room(power_w in 5.0..60.0, pwm: u8, ambient_c in 10.0..40.0) {
        let profile = Profile::agx_orin_hf();
        let sink_w_per_k = fan::sink_w_per_k(&profile.fan, pwm);
        let start = Nodes { die_c: 40.0, sink_c: 40.0 };
        let late = start.after(&profile.thermal, power_w, sink_w_per_k, ambient_c, 1e6);
        let whole_k_per_w = 1.0 / sink_w_per_k + profile.thermal.die_to_sink_k_per_w;
        prop_assert!((late.die_c - (ambient_c + whole_k_per_w * power_w)).abs() < 1e-6);
    }

    #[test]
    fn heat_that_comes_in_is_stored_or_leaves(power_w in 0.0..60.0, pwm: u8, dt_s in 0.001..0.01) {
        // Energy balance of the exact step against its own mean temperatures, over a step short enough for the mean.
        let profile = Profile::agx_orin_hf();
        let (thermal, sink_w_per_k) = (&profile.thermal, fan::sink_w_per_k(&profile.fan, pwm));
        let before = Nodes { die_c: 71.0, sink_c: 64.0 };
        let after = before.after(thermal, power_w, sink_w_per_k, 25.0, dt_s);
        let stored_j = thermal.die_j_per_k * (after.die_c - before.die_c) + thermal.sink_j_per_k * (after.sink_c - before.sink_c);
        let left_j = sink_w_per_k * (f64::midpoint(before.sink_c, after.sink_c) - 25.0) * dt_s;
        prop_assert!((power_w * dt_s - stored_j - left_j).abs() < 1e-6);
    }

    #[test]
    fn heat_remembers_no_fan_but_the_present(pwms in proptest::collection::vec((any::<u8>(), 1_u32..30), 1..20)) {
        // The plant keeps what a tick does at the last duty; here every step works it out anew.
        let profile = Profile::agx_orin_hf();
        let mut plant = Plant::new(&profile, Conditions { vendor_fan: false, start_c: 70.0, ..quiet() });
        for (pwm, tenths) in pwms {
            plant.set_fan_pwm_floor(pwm);
            let (mut nodes, mut left_s) = (plant.nodes(), f64::from(tenths) / 10.0);
            let mut into_tick_s = plant.elapsed_s() % TICK_S;
            plant.idle(left_s);
            while left_s > 0.0 {
                let dt_s = left_s.min(TICK_S - into_tick_s);
                nodes = nodes.after(&profile.thermal, profile.power.idle_w, fan::sink_w_per_k(&profile.fan, pwm), 25.0, dt_s);
                (left_s, into_tick_s) = (left_s - dt_s, 0.0);
            }
            prop_assert!((plant.nodes().die_c - nodes.die_c).abs() < 1e-9);
            prop_assert!((plant.nodes().sink_c - nodes.sink_c).abs() < 1e-9);
        }
    }

    #[test]
    fn the_fan_never_runs_below_floor_or_vendor(floor: u8, start_c in 20.0..98.0) {
        let mut plant = Plant::new(&Profile::agx_orin_hf(), Conditions { start_c, ..quiet() });
        plant.set_fan_pwm_floor(floor);
        prop_assert!(plant.fan_pwm() >= floor.max(fan::vendor_pwm(&plant.profile().fan, start_c)));
        plant.set_fan_working(false);
        prop_assert_eq!(plant.fan_pwm(), 0);
    }
}

#[test]
fn the_vendor_curve_is_the_vendors_table() {
    let fan = Profile::agx_orin_hf().fan;
    for (die_c, pwm) in [(20.0, 66), (45.0, 66), (60.0, 141), (75.0, 215), (94.0, 215), (95.0, 255), (99.0, 255)] {
        assert_eq!(fan::vendor_pwm(&fan, die_c), pwm, "at {die_c} C");
    }
}

#[test]
fn a_clock_takes_its_time() {
    let mut plant = Plant::new(&Profile::agx_orin_hf(), quiet());
    plant.set_gpu_clock(2);
    plant.idle(0.09);
    assert_eq!((plant.requested_clock(), plant.effective_clock()), (2, 10));
    plant.idle(0.02);
    assert_eq!(plant.effective_clock(), 2);
}

#[test]
fn a_reading_lags_the_die_and_comes_in_steps() {
    let mut plant = Plant::new(&Profile::agx_orin_hf(), quiet());
    plant.decode(32, 100, 16);
    let reading_c = plant.sense();
    assert!(reading_c < plant.temperature_c());
    assert!((reading_c * 32.0).fract().abs() < 1e-12);
}
