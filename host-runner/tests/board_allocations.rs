//! No sample allocates: a program of its own, because counting replaces the allocator.

use host_runner::board::discover::Found;
use host_runner::board::telemetry::{Clock, Meter, Plan, Sample, Sampler, TreeMeter};
use host_runner::board::tree::{CapturedTree, FileTree, RealTree};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The meter of a synthetic board in a real folder.
fn meter(folder: &Path, name: &str) -> Arc<dyn Meter> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/board/synthetic");
    CapturedTree::load(&fixtures.join(name)).unwrap().unpack(folder).unwrap();
    let tree: Arc<dyn FileTree> = Arc::new(RealTree::new(folder).unwrap());
    let found = Found::discover(&*tree);
    Arc::new(TreeMeter::jetson(tree, &found))
}

#[test]
fn a_sample_is_read_and_handed_over_without_an_allocation() {
    for name in ["agx_xavier_r35.json", "nano_r32.json", "igx_orin_r36.json"] {
        let folder = tempfile::tempdir().unwrap();
        let meter = meter(folder.path(), name);
        let clock = Clock::start();
        let mut sample = Sample::default();
        sample.read(&*meter, &clock);
        assert!(sample.readings.iter().filter(|reading| reading.value().is_some()).count() > 10, "{name}");
        let reading = allocation_counter::measure(|| {
            for _ in 0..10 {
                sample.read(&*meter, &clock);
                std::hint::black_box(sample.telemetry(meter.channels()));
            }
        });
        assert_eq!(reading.count_total, 0, "{name}");
    }
}

#[test]
fn the_control_loop_takes_a_sample_without_an_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let meter = meter(folder.path(), "agx_xavier_r35.json");
    let plan = Plan { interval: Duration::from_millis(1), ..Plan::default() };
    let sampler = Sampler::start(Box::new(move || Arc::clone(&meter)), Clock::start(), plan).unwrap();
    assert!(sampler.wait_beyond(1, Duration::from_mins(1)));
    let mut latest = sampler.latest();
    let taking = allocation_counter::measure(|| {
        for _ in 0..100 {
            sampler.refresh(&mut latest);
            std::hint::black_box(latest.telemetry());
            std::hint::black_box(sampler.energy(sampler.clock().now(), sampler.clock().now()));
        }
    });
    assert_eq!(taking.count_total, 0);
    // The counter counts: a copy of the sample is one.
    assert!(allocation_counter::measure(|| drop(std::hint::black_box(latest.sample.clone()))).count_total > 0);
}
