//! Searches of a replayed grid: a made-up one anywhere, the published one where it is at hand.

use firmware_sim::plant::Profile;
use host_runner::env::replay::{Arm, Outcome, Replay, ReplayError, Selection};
use host_runner::search::experiment::{Algorithm, Plan, Searches, run};
use host_runner::verify::plant::Log;
use std::path::{Path, PathBuf};

fn plan() -> Plan {
    Plan { seeds: 100, pulls: 300, seed: 1, profile: Profile::agx_orin_hf(), threads: 2 }
}

fn keeps_the_limits(ours: &Searches) {
    let (early, late) = (ours.mean_regret(49).unwrap(), ours.mean_regret(300).unwrap());
    assert!(early <= 3.0 && late <= 5.0, "regret {early} {late}");
    assert!(ours.last_off(50) <= 12 && ours.last_off(95) <= 40, "last off {} {}", ours.last_off(50), ours.last_off(95));
}

/// A board unlike the shipped profile: hardly host-bound, and most of its power moves with the clock.
fn other_board() -> Vec<(Arm, Outcome)> {
    let outcome = |arm: Arm| {
        let decode_s = f64::max(1.2, (2.6 + 0.11 * arm.batch) / arm.clock_ghz);
        let power_w = 9.0 + 14.0 * arm.clock_ghz.powf(2.4) + 0.03 * arm.batch / decode_s * 10.0;
        Outcome { energy_j: power_w * decode_s, latency_s: decode_s }
    };
    let row =
        |clock: u32| (1..=7).map(move |b| Arm { clock_ghz: 0.306 + 0.102 * f64::from(clock), batch: f64::from(4 * b) });
    (0..7).flat_map(row).map(|arm| (arm, outcome(arm))).collect()
}

#[test]
fn an_unknown_board_is_searched_in_few_pulls() {
    let replay = Replay::of_outcomes(&other_board(), 1.0, 0.05).unwrap();
    let plan = Plan { seeds: 40, ..plan() };
    let ours = run(&replay, Algorithm::ModelGeneric, &plan);
    keeps_the_limits(&ours);
    for other in [Algorithm::GaussianTs, Algorithm::Grid, Algorithm::Random] {
        let theirs = run(&replay, other, &plan);
        assert!(theirs.mean_regret(49) > ours.mean_regret(49).map(|regret| 5.0 * regret), "{other}");
    }
}

#[test]
fn threads_do_not_matter_and_seeds_do() {
    let replay = Replay::of_outcomes(&other_board(), 4.0, 0.05).unwrap();
    let small = Plan { seeds: 7, pulls: 20, ..plan() };
    for algorithm in Algorithm::ALL {
        let one = run(&replay, algorithm, &Plan { threads: 1, ..small.clone() });
        assert_eq!(one, run(&replay, algorithm, &Plan { threads: 3, ..small.clone() }), "{algorithm}");
    }
    let other = run(&replay, Algorithm::Random, &Plan { seed: 2, ..small.clone() });
    assert_ne!(other, run(&replay, Algorithm::Random, &small));
}

fn published(name: &str) -> Option<Log> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let shared: PathBuf = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or_else(beside, Into::into);
    let file = std::fs::File::open(shared.join("seed").join(name)).ok()?;
    Some(Log::read(file, &Profile::agx_orin_hf()).unwrap())
}

/// The published anchors: mean regret after 49 and 300 pulls at noise 0.05.
const ANCHORS: [(f64, Algorithm, f64, f64); 6] = [
    (1.0, Algorithm::GaussianTs, 23.975, 28.166),
    (1.0, Algorithm::LinUcb, 3.347, 6.999),
    (1.0, Algorithm::Grid, 24.523, 25.881),
    (4.0, Algorithm::GaussianTs, 28.585, 32.312),
    (4.0, Algorithm::LinUcb, 3.286, 6.021),
    (4.0, Algorithm::EpsilonGreedy, 29.223, 45.597),
];

#[test]
fn the_anchors_are_reproduced_and_ours_keeps_its_limits() {
    let Some(log) = published("grid_fan_on.csv") else {
        eprintln!("SKIPPED: no published logs; set ENERGYLLM_SHARED_DATA to their folder");
        return;
    };
    let clocks = Profile::agx_orin_hf().gpu_clock_khz;
    let replay = |load, noise| Replay::new(&log, &clocks, Selection::Camel, load, noise).unwrap();
    for (load, algorithm, early, late) in ANCHORS {
        let searches = run(&replay(load, 0.05), algorithm, &plan());
        for (pulls, anchor) in [(49, early), (300, late)] {
            let regret = searches.mean_regret(pulls).unwrap();
            assert!((regret / anchor - 1.0).abs() <= 0.1, "{algorithm} at {load}: {regret}, anchor {anchor}");
        }
    }
    for (load, noise) in [(1.0, 0.05), (1.0, 0.01), (4.0, 0.05), (4.0, 0.01)] {
        keeps_the_limits(&run(&replay(load, noise), Algorithm::ModelGeneric, &plan()));
    }
}

#[test]
fn logs_without_the_arms_are_refused() {
    let (Some(training), Some(fan_off)) = (published("online_training.csv"), published("grid_fan_off.csv")) else {
        eprintln!("SKIPPED: no published logs; set ENERGYLLM_SHARED_DATA to their folder");
        return;
    };
    let clocks = Profile::agx_orin_hf().gpu_clock_khz;
    let refused = |log: &Log, selection| Replay::new(log, &clocks, selection, 1.0, 0.05).unwrap_err();
    assert!(matches!(refused(&training, Selection::All), ReplayError::NotAGrid(_)));
    assert!(matches!(refused(&fan_off, Selection::Camel), ReplayError::Incomplete { .. }));
}
