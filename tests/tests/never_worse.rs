//! Never worse than static: good policies are left alone, bad ones are replaced in time.

use controller_core::action::{Action, Knob, Reason};
use controller_core::policy::{Header, LayerValues, PolicyImage, encode};
use controller_core::rng::Pcg32;
use controller_core::supervisor::FallbackRule;
use host_runner::run::choice::Choice;
use integration_tests::closed_loop::{DEFAULT, SCENARIOS, Scenario, Served, profile, run, shipped_policy};

fn rule() -> FallbackRule {
    profile().fallback.expect("the shipped profile has a fallback")
}

/// The profile's static setting as a governor, at the depth that the quality floor makes of it.
fn best_static() -> Choice {
    let rule = rule();
    let action = profile().actions.find(&rule.setting).unwrap();
    let Action { prefill, decode, .. } = action;
    Choice::Fixed { prefill, decode, batch: rule.setting.batch, depth: 12, fan_pwm: rule.setting.fan_pwm }
}

/// A policy image like the shipped one, with these parameters.
fn image(mut weight: impl FnMut() -> i16, last_biases: &dyn Fn(usize) -> i32) -> Vec<u8> {
    let shipped = shipped_policy();
    let header: Header = PolicyImage::new_checked(&shipped).unwrap().header().clone();
    let header = Header { goldens: 0, ..header };
    let units = header.hidden.iter().map(|layer| usize::from(layer.units)).chain([header.logits()]);
    let mut inputs = header.observation.len();
    let last = header.hidden.len();
    let mut parameters: Vec<(Vec<i32>, Vec<i16>)> = Vec::new();
    for (layer, outputs) in units.enumerate() {
        let biases = (0..outputs).map(|unit| if layer == last { last_biases(unit) } else { 0 });
        parameters.push((biases.collect(), (0..inputs * outputs).map(|_| weight()).collect()));
        inputs = outputs;
    }
    let layers: Vec<LayerValues<'_>> =
        parameters.iter().map(|(biases, weights)| LayerValues { biases, weights }).collect();
    let mut buffer = vec![0; 1 << 16];
    let length = encode(&header, &layers, &[], &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// A policy that always wants the same action.
fn always(action: Action) -> Vec<u8> {
    let actions = profile().actions;
    let mut wanted = Vec::new();
    let mut start = 0;
    for knob in Knob::ALL {
        wanted.push(start + usize::from(action.get(knob)));
        start += actions.len(knob);
    }
    image(|| 0, &|unit| i32::from(wanted.contains(&unit)) * 1_000_000)
}

/// The first turn in which the governor has lost its say.
fn replaced_at(served: &Served) -> Option<usize> {
    served.turns.iter().position(|turn| turn.step.decision.reason == Reason::StaticFallback)
}

/// Long enough that the one trial in its second half weighs little.
fn long(scenario: Scenario) -> Scenario {
    Scenario { requests: 4 * scenario.requests, fan_fails: false, ..scenario }
}

#[test]
fn the_shipped_policy_is_not_replaced_and_the_comparison_costs_next_to_nothing() {
    let shipped = shipped_policy();
    for scenario in SCENARIOS.into_iter().flat_map(|s| [s, Scenario { fan_fails: false, ..s }]) {
        let alone = run(&Choice::Learned, &shipped, &scenario, false).summary;
        let compared = run(&Choice::Learned, &shipped, &scenario, true).summary;
        assert_eq!(compared.fallbacks, 0, "{scenario:?}");
        let (alone, compared) = (alone.mean_reward.unwrap(), compared.mean_reward.unwrap());
        assert!(compared > alone - 0.005, "{scenario:?}: {compared} beside the static setting, {alone} alone");
    }
}

#[test]
fn a_policy_that_always_wants_the_highest_clocks_and_batch_1_is_replaced_within_300_turns() {
    let actions = profile().actions;
    let bad = always(Action { batch: 0, ..actions.fastest() });
    for scenario in SCENARIOS {
        let scenario = long(scenario);
        let served = run(&Choice::Learned, &bad, &scenario, true);
        let at = replaced_at(&served).expect("it is replaced");
        assert!(at <= 300, "{scenario:?}: only after {at} turns");
        assert!(served.summary.fallbacks >= 1);
        // What is left of the run is the static setting's, but for the short trials.
        let (late, fixed) = (served.late_reward(), run(&best_static(), &[], &scenario, false).late_reward());
        assert!(late > fixed - 20_000.0, "{scenario:?}: {late} against {fixed}");
    }
}

#[test]
fn random_policies_end_up_no_worse_than_the_static_setting() {
    let scenario = long(DEFAULT);
    let fixed = run(&best_static(), &[], &scenario, false).late_reward();
    let mut replaced = 0;
    for seed in 0..12 {
        let mut rng = Pcg32::new(seed);
        let bytes = image(|| i16::try_from(rng.below(8001)).unwrap() - 4000, &|_| 0);
        let alone = run(&Choice::Learned, &bytes, &scenario, false);
        let guarded = run(&Choice::Learned, &bytes, &scenario, true);
        let deficit = fixed - alone.late_reward();
        if deficit > 100_000.0 {
            let at = replaced_at(&guarded).expect("it is replaced");
            assert!(at <= 600, "seed {seed}: only after {at} turns");
            replaced += 1;
        }
        assert!(guarded.late_reward() > fixed - 30_000.0, "seed {seed}: {} for {fixed}", guarded.late_reward());
    }
    assert!(replaced >= 3, "only {replaced} of these policies were bad enough to tell");
}
