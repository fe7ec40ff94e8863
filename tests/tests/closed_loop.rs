//! The shipped policy against static settings, closed loop on the simulated board.

use host_runner::run::Ending;
use host_runner::run::choice::{self, Choice, PUBLISHED_BEST};
use host_runner::run::summary::Summary;
use integration_tests::closed_loop::{self, DEFAULT, SCENARIOS, Scenario, shipped_policy};

/// As `energyllm run` does it: the policy beside the static setting, the others alone.
fn run(choice: &Choice, scenario: &Scenario) -> Summary {
    closed_loop::run(choice, &shipped_policy(), scenario, *choice == Choice::Learned).summary
}

#[test]
fn the_shipped_policy_needs_less_energy_than_static_settings_and_stays_cool() {
    for scenario in SCENARIOS {
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
    for choice in choice::all() {
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

#[test]
fn a_governor_by_load_is_max_under_load_and_slower_without() {
    let busy = run(&Choice::Ondemand, &Scenario { requests: 600, ..DEFAULT });
    let max = run(&Choice::Max, &Scenario { requests: 600, ..DEFAULT });
    let (busy_j, max_j) = (busy.energy_per_token_j.unwrap(), max.energy_per_token_j.unwrap());
    assert!((busy_j / max_j - 1.0).abs() < 0.03, "{busy_j} {max_j}");
    let slack = Scenario { rate_per_s: 0.3, requests: 300, ..DEFAULT };
    let (ondemand, max) = (run(&Choice::Ondemand, &slack), run(&Choice::Max, &slack));
    assert!(ondemand.active_energy_per_token_j < max.active_energy_per_token_j, "{ondemand:?}\n{max:?}");
}
