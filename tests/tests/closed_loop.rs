//! The shipped policy against static settings, closed loop on the simulated board: the default
//! scenario of `energyllm run`, with answers of drawn length instead of a model.

use controller_core::control::{Controller, RewardRule};
use controller_core::reward::service::Service as ServiceReward;
use controller_core::supervisor::Limits;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;
use host_runner::env::answers::DrawnLengths;
use host_runner::env::profile::BoardProfile;
use host_runner::env::quality::Quality;
use host_runner::env::queue::Queue;
use host_runner::env::service::Service;
use host_runner::run::choice::{Choice, PUBLISHED_BEST};
use host_runner::run::prompts::Prompt;
use host_runner::run::summary::{Collector, Summary};
use host_runner::run::{Course, Ending, serve};
use integration_tests::workspace;
use std::sync::atomic::AtomicBool;

struct Scenario {
    seed: u64,
    ambient_c: f64,
    rate_per_s: f64,
    requests: usize,
}

const DEFAULT: Scenario = Scenario { seed: 1, ambient_c: 42.0, rate_per_s: 4.0, requests: 4800 };

fn run(choice: &Choice, scenario: &Scenario) -> Summary {
    let profile = BoardProfile::read(&workspace("models/boards/agx-orin-hf.toml")).unwrap();
    let quality = Quality::read(&workspace("models/tiny-llama/depths.json")).unwrap();
    let policy = workspace("models/policies/service.elp");
    let image = std::fs::read(&policy).unwrap();
    let governor = choice.build(&profile.actions, &policy, &image).unwrap();
    let table = quality.table(&profile.actions.depth, 16);
    let limits = Limits { min_depth: quality.floor(16, profile.service.quality_floor), ..profile.limits };
    let reward = RewardRule::Service(ServiceReward { quality: table, ..profile.service.clone() });
    let mut controller = Controller::new(governor, profile.actions.clone(), limits, reward).unwrap();
    let conditions = Conditions {
        ambient_c: scenario.ambient_c,
        start_c: scenario.ambient_c + 20.0,
        seed: scenario.seed,
        limit_c: 95.0,
        ..Conditions::default()
    };
    let mut service = Service::new(
        SimulatedBoard::new(&profile.plant, conditions),
        Queue::new(scenario.rate_per_s, scenario.requests, scenario.seed),
        DrawnLengths::new((12, 28), (12, 28), scenario.seed),
    );
    let (stop, prompts) = (AtomicBool::new(false), [Prompt { text: "?".into(), answer: None }]);
    let course = Course { prompts: &prompts, fan_off_at: Some(scenario.requests / 2), stop: &stop };
    let mut collector = Collector::default();
    let finished = serve(&mut service, &mut controller, &course, |turn| {
        let sampled = turn.step.telemetry.temperature.value().expect("the simulated sensor always answers");
        assert!(sampled.0 <= 95_000, "{choice}: sampled {sampled}");
        collector.add(turn);
        Ok(())
    })
    .unwrap();
    collector.finish(&finished)
}

#[test]
fn the_shipped_policy_needs_less_energy_than_static_settings_and_stays_cool() {
    for scenario in [
        DEFAULT,
        Scenario { seed: 2, ..DEFAULT },
        Scenario { seed: 3, ambient_c: 25.0, ..DEFAULT },
        Scenario { seed: 4, rate_per_s: 1.0, requests: 1200, ..DEFAULT },
        Scenario { seed: 5, rate_per_s: 8.0, requests: 9600, ..DEFAULT },
    ] {
        let learned = run(&Choice::Learned, &scenario);
        assert_eq!(learned.ending, Ending::Complete);
        assert!(learned.above_limit_s == 0.0 && learned.max_temperature_c < 95.0, "{learned:?}");
        for other in [PUBLISHED_BEST, Choice::Max] {
            let theirs = run(&other, &scenario);
            assert!(
                learned.energy_per_token_j < theirs.energy_per_token_j,
                "seed {}: learned {:?}, {other} {:?}",
                scenario.seed,
                learned.energy_per_token_j,
                theirs.energy_per_token_j
            );
        }
    }
}

#[test]
fn no_governor_passes_the_limit_in_a_heat_wave_without_a_fan() {
    let heat = Scenario { ambient_c: 48.0, rate_per_s: 10.0, requests: 6000, ..DEFAULT };
    for choice in [Choice::Learned, Choice::Max, PUBLISHED_BEST, Choice::TwoRule, Choice::Min] {
        let summary = run(&choice, &heat);
        assert!(summary.max_temperature_c < 95.0, "{choice}: {summary:?}");
        assert_ne!(summary.ending, Ending::BoardOff, "{choice}");
    }
}

#[test]
fn a_run_repeats_bit_for_bit() {
    let short = Scenario { requests: 300, ..DEFAULT };
    assert_eq!(run(&Choice::Learned, &short), run(&Choice::Learned, &short));
    assert_ne!(run(&Choice::Learned, &short), run(&Choice::Learned, &Scenario { seed: 9, ..short }));
}
