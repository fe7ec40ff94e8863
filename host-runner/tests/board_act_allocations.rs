//! A control step on a real board allocates nothing, as long as nothing is wrong: memory that runs out must not be the end
//! of a board that is under control.

#[path = "board_act/synthetic.rs"]
mod synthetic;

use controller_core::control::{Controller, RewardRule};
use controller_core::governor::Fixed;
use controller_core::units::MilliCelsius;
use host_runner::board::actuator::clock::{GpuClock, Pinned};
use host_runner::board::actuator::fan::{Driven, FanControl};
use host_runner::board::actuator::{Actuator, Outcome, Wish};
use host_runner::board::discover::Found;
use host_runner::board::fan_curve::FanCurve;
use host_runner::board::services::NoServices;
use host_runner::board::session::Session;
use host_runner::board::telemetry::{Clock, Meter, Plan, Sampler, TreeMeter};
use host_runner::board::tree::{FileTree, RealTree};
use host_runner::env::profile::BoardProfile;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Bench {
    tree: Arc<dyn FileTree>,
    session: Session,
    /// Goes last.
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        synthetic::unpack(folder.path());
        // No clock follows in a folder: a GPU without power is not compared.
        let current = folder.path().join(synthetic::GPU.trim_start_matches('/')).join("cur_freq");
        std::fs::write(current, "0\n").unwrap();
        let tree: Arc<dyn FileTree> = Arc::new(RealTree::new(folder.path()).unwrap());
        let found = Found::discover(tree.as_ref());
        let state = folder.path().join("run/energyllm");
        let session = Session::open(&tree, Arc::new(NoServices), &state, &found, true).unwrap().0;
        Self { tree, session, _folder: folder }
    }

    fn clock(&self) -> GpuClock {
        let gpu = Found::discover(self.tree.as_ref()).gpu.unwrap();
        let allowed = self.session.range().unwrap().allowed(&gpu.frequencies_hz);
        GpuClock::new(Arc::clone(self.session.gate()), &gpu.devfreq, &gpu.frequencies_hz, allowed, None).unwrap()
    }

    fn fan(&self) -> FanControl {
        let (gate, services) = (Arc::clone(self.session.gate()), Arc::clone(self.session.services()));
        let limit = MilliCelsius::from_degrees(94);
        FanControl::new(gate, services, &self.session.baseline(), FanCurve::of_board(self.tree.as_ref()), limit)
    }
}

fn allocations(act: impl FnOnce()) -> u64 {
    allocation_counter::measure(act).count_total
}

/// The counter counts; otherwise the tests below could not fail.
#[test]
fn an_allocation_is_counted() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn setting_clock_and_fan() {
    let bench = Bench::new();
    let (mut clock, mut fan) = (bench.clock(), bench.fan());
    let warm = |degrees| Some(MilliCelsius::from_degrees(degrees));
    fan.set_floor(200);
    fan.regulate(warm(45), Instant::now()).unwrap();
    let counted = allocations(|| {
        for hz in [918_000_000, 306_000_000, 306_000_000, 1_300_500_000] {
            assert!(matches!(clock.pin(hz, Instant::now()), Ok(Pinned::Written | Pinned::Already)));
        }
        for degrees in [95, 45, 60] {
            assert!(matches!(fan.regulate(warm(degrees), Instant::now()), Ok(Some(Driven::Ours(_)))));
        }
    });
    assert_eq!(counted, 0);
}

#[test]
fn a_whole_step_of_the_control_loop() {
    let bench = Bench::new();
    let thermometer = Box::new(|| Some(MilliCelsius::from_degrees(45)));
    let mut actuator = Actuator::start(Some(bench.clock()), bench.fan(), thermometer).unwrap();
    let tree = Arc::clone(&bench.tree);
    let build =
        move || -> Arc<dyn Meter> { Arc::new(TreeMeter::jetson(Arc::clone(&tree), &Found::discover(tree.as_ref()))) };
    let sampler = Sampler::start(Box::new(build), Clock::start(), Plan::default()).unwrap();
    while !sampler.wait_beyond(0, Duration::from_secs(1)) {}
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/boards/agx-orin-hf.toml");
    let BoardProfile { actions, limits, service, .. } = BoardProfile::read(&profile).unwrap();
    let governor = Fixed::max(&actions);
    let mut controller = Controller::new(governor, actions, limits, RewardRule::Service(service)).unwrap();
    let mut latest = sampler.latest();
    let mut step = |fan_floor| {
        sampler.refresh(&mut latest);
        let telemetry = latest.telemetry();
        assert!(telemetry.temperature.value().is_some() && telemetry.power.value().is_some());
        let decision = controller.step(sampler.clock().now(), &telemetry);
        let setting = controller.actions().setting(decision.applied).unwrap();
        let wish = Wish { clock_hz: Some(u64::from(setting.decode.0) * 1000), fan_floor, fan_off: false };
        let outcome = actuator.set(wish, Duration::from_mins(1)).unwrap();
        assert!(matches!(outcome, Outcome::Clock(_)), "{outcome:?}");
    };
    step(0);
    let counted = allocations(|| (0..20).for_each(|_| step(0)));
    assert_eq!(counted, 0);
}
