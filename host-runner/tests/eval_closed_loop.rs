//! The closed-loop suite: its yardsticks are what they claim to be.

use controller_core::action::{Action, Knob};
use controller_core::governor::Fixed;
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use host_runner::env::account::Account;
use host_runner::env::profile::BoardProfile;
use host_runner::env::quality::Quality;
use host_runner::eval::closed_loop::bench::{Bench, Setup};
use host_runner::eval::closed_loop::scenario::Scenario;
use host_runner::eval::closed_loop::suite::{Plan, Played, Player, play};
use host_runner::eval::closed_loop::{best_static, oracle};
use host_runner::run::choice::Choice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn setup(scenario: Scenario) -> Setup {
    let profile = BoardProfile::read(&workspace("models/boards/agx-orin-hf.toml")).unwrap();
    let quality = Quality::read(&workspace("models/tiny-llama/depths.json")).unwrap();
    let reward = Service { quality: quality.table(&profile.actions.depth, 16), ..profile.service.clone() };
    let limits = Limits { min_depth: quality.floor(16, reward.quality_floor), ..profile.limits };
    Setup::new(&profile, &reward, limits, scenario)
}

fn hold(setup: &Setup, action: Action, seed: u64) -> Account {
    Bench::new(setup, Fixed(action), seed).unwrap().run(setup.terms())
}

/// No neighbour of the best static setting is better on the seeds that it was chosen on.
#[test]
fn the_best_static_setting_has_no_better_neighbour() {
    let setup = setup(Scenario::Load400);
    let best = best_static::search(&setup, 1).unwrap();
    let worth = |action| (1..4).map(|seed| hold(&setup, action, seed).reward(setup.terms())).sum::<f64>();
    let highest = worth(best);
    for knob in Knob::ALL {
        let now = best.get(knob);
        for value in [now.saturating_sub(1), (now + 1).min(setup.actions().last(knob))] {
            let mut neighbour = best;
            neighbour.set(knob, value);
            assert!(worth(neighbour) <= highest + 1e-12, "{knob}: {value} beats {now}");
        }
    }
}

#[test]
fn foresight_is_not_worse_than_the_best_static_setting() {
    for scenario in [Scenario::Load400, Scenario::Load800] {
        let setup = setup(scenario);
        let best = best_static::search(&setup, 1).unwrap();
        let (ahead, fixed) = (oracle::play(&setup, best, 1).unwrap(), hold(&setup, best, 1));
        let (ahead, fixed) = (ahead.reward(setup.terms()), fixed.reward(setup.terms()));
        assert!(ahead > fixed - 1e-3, "{}: {ahead} against {fixed}", scenario.name());
    }
}

#[test]
fn a_dead_fan_heats_and_a_fixed_load_is_offered() {
    let hottest = |scenario| {
        let setup = setup(scenario);
        hold(&setup, setup.actions().fastest(), 1).max_temperature_c
    };
    assert!(hottest(Scenario::FanOff) > hottest(Scenario::FanOn) + 20.0);
    let setup = setup(Scenario::Load200);
    let tokens_per_s = hold(&setup, setup.actions().fastest(), 1).tokens_per_s();
    assert!((190.0..210.0).contains(&tokens_per_s), "{tokens_per_s}");
}

fn suite(threads: usize) -> Played {
    let policy = workspace("models/policies/service.elp");
    let image = std::fs::read(&policy).unwrap();
    let players =
        [Player::Governor(Choice::Learned), Player::Governor(Choice::Max), Player::BestStatic, Player::Oracle];
    let plan = Plan { seed: 1, seeds: 3, oracle_seeds: 2, threads, policy: (policy, image), prototype: None };
    let episodes = AtomicU64::new(0);
    let each = || {
        episodes.fetch_add(1, Ordering::Relaxed);
    };
    let played = play(Scenario::Load200, setup(Scenario::Load200), &players, &plan, &each).unwrap();
    assert_eq!(episodes.into_inner(), 3 * 3 + 2);
    played
}

#[test]
fn threads_do_not_matter() {
    let (one, three) = (suite(1), suite(3));
    assert_eq!(one.best_static, three.best_static);
    for (one, three) in one.entries.iter().zip(&three.entries) {
        assert_eq!(one.accounts, three.accounts, "{}", one.player);
        assert_eq!(one.accounts.len(), if one.player == Player::Oracle { 2 } else { 3 });
        assert!(one.accounts.iter().all(|account| account.samples_above_limit == 0));
    }
}
