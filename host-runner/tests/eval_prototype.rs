//! The published training log under its own reward; skipped where the log is not at hand.

use firmware_sim::plant::Profile;
use host_runner::eval::prototype::learner::{Plan, train};
use host_runner::eval::prototype::log::TrainingLog;
use host_runner::eval::prototype::scores;
use host_runner::eval::prototype::table::Table;
use host_runner::verify::plant;
use std::path::{Path, PathBuf};

#[test]
fn the_published_comparison_is_reproduced_and_ours_beats_it() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let shared: PathBuf = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or_else(beside, Into::into);
    let path = shared.join("seed/online_training.csv");
    if !path.exists() {
        eprintln!("SKIPPED: no published logs; set ENERGYLLM_SHARED_DATA to their folder");
        return;
    }
    let profile = Profile::agx_orin_hf();
    let log = TrainingLog::read(&path).unwrap();
    let session = plant::verify_file(&path, &profile, &plant::Options::default()).unwrap();
    let ours = train(&Table::new(&profile, 1.0, log.rule()), &Plan::default(), || ());
    let scores = scores(&log, &Table::new(&profile, session.floor_scale, log.rule()), &ours);
    let of = |name: &str| scores.iter().find(|score| score.policy == name).unwrap().mean_reward;
    // The published analysis of the same log.
    for (policy, expected) in
        [("prototype", 0.844), ("fixed", 0.906), ("two-rule", 0.919), ("oracle", 0.932), ("random", 0.464)]
    {
        assert!((of(policy) - expected).abs() <= 0.01, "{policy}: {}", of(policy));
    }
    assert!(of("ours") >= 0.925 && of("ours") <= of("oracle"), "ours: {}", of("ours"));
}
