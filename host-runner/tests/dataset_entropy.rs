//! Synthetic entropy on the published grids: counts and means within what the published files have.

use host_runner::dataset::entropy::file::synthesize;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A published grid, or a word on stderr that there is none.
fn grid(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or(beside, PathBuf::from);
    let path = [folder.join("seed").join(name), folder.join(name)].into_iter().find(|path| path.exists());
    if path.is_none() {
        // Past the test harness, which would swallow a println of a passing test.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no {name} below {}; set ENERGYLLM_SHARED_DATA to the folder of the logs",
            folder.display()
        );
    }
    path
}

/// Published rows and mean entropy by depth; means of at least fifty rows may differ by 0.12 nats, counts by four standard
/// deviations.
fn compare(name: &str, published: &[(u32, f64, f64)]) {
    let Some(path) = grid(name) else { return };
    let all: f64 = published.iter().map(|(_, rows, _)| rows).sum();
    for seed in [1, 42] {
        let drawn = synthesize(&path, seed, false).unwrap();
        for (layer, rows, mean) in published {
            let (ours, sum, _) = drawn.by_layer.get(layer).copied().unwrap_or_default();
            let spread = 4.0 * (2.0 * rows * (1.0 - rows / all)).sqrt() + 4.0;
            assert!((ours as f64 - rows).abs() < spread, "{name}, {layer} layers: {ours} rows, published {rows}");
            if *rows >= 50.0 {
                let own = sum / ours as f64;
                assert!((own - mean).abs() < 0.12, "{name}, {layer} layers: {own} nats, published {mean}");
            }
        }
    }
}

#[test]
fn counts_and_means_are_those_of_the_published_files() {
    let on = [
        (4, 1.0, 3.1),
        (6, 1.0, 2.51),
        (8, 8.0, 2.33),
        (10, 86.0, 1.96),
        (12, 344.0, 1.54),
        (14, 318.0, 1.13),
        (16, 3114.0, 0.75),
    ];
    let off = [
        (4, 199.0, 8.76),
        (6, 90.0, 7.97),
        (8, 102.0, 6.82),
        (10, 68.0, 5.70),
        (12, 71.0, 4.67),
        (14, 62.0, 3.59),
        (16, 2.0, 3.05),
    ];
    compare("grid_fan_on.csv", &on);
    compare("grid_fan_off.csv", &off);
}
