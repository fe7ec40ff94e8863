//! A whole board under the controller: what is sampled, decided and set goes round.

use crate::scripted::Kernel;
use crate::synthetic::{TABLE_HZ, TJ};
use crate::world::World;
use controller_core::action::{Reason, Setting};
use controller_core::control::{Controller, RewardRule};
use controller_core::governor::Fixed;
use controller_core::supervisor::Limits;
use controller_core::time::Duration as Micros;
use controller_core::units::{KiloHertz, MilliCelsius, MilliRequestsPerSecond};
use host_runner::board::actuator::Actuator;
use host_runner::board::discover::Found;
use host_runner::board::jetson::{Jetson, Parts, Relief, Watch};
use host_runner::board::session::Session;
use host_runner::board::telemetry::{Clock, Meter, Plan, Sampler, TreeMeter};
use host_runner::env::board::Board;
use host_runner::env::profile::BoardProfile;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const FAST: Plan = Plan {
    interval: Duration::from_millis(10),
    deadline: Duration::from_millis(20),
    rebuild: Duration::from_millis(50),
    max_gap: Duration::from_millis(1500),
};

const SETTING: Setting =
    Setting { prefill: KiloHertz(1_020_000), decode: KiloHertz(612_000), batch: 8, depth: 16, fan_pwm: 0 };

const LOAD: MilliRequestsPerSecond = MilliRequestsPerSecond(0);

fn board<'a>(world: &World, session: &Session, stop: &'a AtomicBool) -> Jetson<'a> {
    let tree = world.tree();
    let build =
        move || -> Arc<dyn Meter> { Arc::new(TreeMeter::jetson(Arc::clone(&tree), &Found::discover(tree.as_ref()))) };
    let sampler = Arc::new(Sampler::start(Box::new(build), Clock::start(), FAST).unwrap());
    while !sampler.wait_beyond(0, Duration::from_secs(1)) {}
    let watch = Arc::new(Watch::new(MilliCelsius::from_degrees(95)));
    let actuator =
        Actuator::start(Some(world.clock(session)), world.fan(session), watch.thermometer(&sampler)).unwrap();
    let relief = Relief::new(TABLE_HZ.to_vec());
    Jetson::new(Parts { sampler, actuator, watch, relief, lowest_hz: 306_000_000, strobe: None, relay: None }, stop)
}

/// Prefill and decode of one batch run at clocks of their own, and the bill covers the whole turn.
#[test]
fn a_turn_has_two_clocks_and_is_billed_completely() {
    let world = World::new(Kernel::Rejects);
    let (session, stop) = (world.session(), AtomicBool::new(false));
    let mut board = board(&world, &session, &stop);
    let start = board.now();
    board.idle(0.05).unwrap();
    board.begin_prefill(&SETTING).unwrap();
    assert_eq!(world.request(), (1_020_000_000, 1_020_000_000));
    board.idle(0.05).unwrap();
    board.begin_decode(&SETTING, 8, 100).unwrap();
    assert_eq!(world.request(), (612_000_000, 612_000_000));
    board.idle(0.1).unwrap();
    board.end_decode(&SETTING, &[8; 10]).unwrap();
    let end = board.now();
    let bill = board.measure();
    let span = bill.idle.micros() + bill.prefill.micros() + bill.decode.micros();
    // From the making of the board, a moment before `start`, to the end of the decode, a moment before `end`.
    assert!(span <= end.micros() && span + 200_000 >= end.since(start).micros(), "{span}");
    // 9.6 W + 2.4 W + 4 W, all the time: 16 µJ a microsecond.
    assert_eq!(bill.energy.0, span * 16);
    let active = bill.prefill.micros() + bill.decode.micros();
    assert!(bill.active_energy.0.abs_diff(active * 16) <= 16, "{} {active}", bill.active_energy.0);
    assert_eq!(bill.prompt_tokens, 100);
    assert_eq!(bill.peak_temperature, Some(MilliCelsius(45_000)));
    assert_eq!(board.poorly_covered(), 0);
    // A hold takes the clock down.
    board.set_fan(255).unwrap();
    assert_eq!(world.request(), (306_000_000, 306_000_000));
    drop(board);
    drop(session);
    assert_eq!(world.request(), (306_000_000, 1_300_500_000));
}

/// A turn without a sample of power is not free: it counts at the power of the one before, and is told.
#[test]
fn a_turn_that_nobody_measured_is_told_and_not_free() {
    let world = World::new(Kernel::Clips);
    let (session, stop) = (world.session(), AtomicBool::new(false));
    let mut board = board(&world, &session, &stop);
    board.idle(0.1).unwrap();
    assert_eq!((board.measure().energy.0 > 0, board.energy_is_known()), (true, true));
    world.board.state().stuck = Some(Path::new("/sys/class/hwmon/hwmon4/curr1_input").into());
    world.board.wait_until_stuck();
    board.idle(0.1).unwrap();
    let _ = board.measure();
    board.idle(0.1).unwrap();
    let bill = board.measure();
    assert!(!board.energy_is_known());
    // 16 W, as before: 16 µJ a microsecond.
    assert!(bill.energy.0.abs_diff(bill.idle.micros() * 16) <= bill.idle.micros() / 1000 + 1, "{bill:?}");
    world.board.release();
}

/// A temperature that hangs in its driver grows old, and the supervisor goes to the safest setting. The loop waits for
/// nothing: while it goes round here, the read does not return.
#[test]
fn a_temperature_that_hangs_ends_in_the_safest_setting() {
    let world = World::new(Kernel::Clips);
    let (session, stop) = (world.session(), AtomicBool::new(false));
    let mut board = board(&world, &session, &stop);
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/boards/agx-orin-hf.toml");
    let profile = BoardProfile::read(&profile).unwrap();
    let limits = Limits { max_age: Micros::from_millis(300), ..profile.limits };
    let governor = Fixed::max(&profile.actions);
    let reward = RewardRule::Service(profile.service);
    let mut controller = Controller::new(governor, profile.actions, limits, reward).unwrap();
    let safest = controller.actions().safest();
    let telemetry = board.telemetry(1, LOAD);
    assert_ne!(controller.step(board.now(), &telemetry).applied, safest);
    world.board.state().stuck = Some(TJ.into());
    loop {
        board.idle(0.01).unwrap();
        let telemetry = board.telemetry(1, LOAD);
        let decision = controller.step(board.now(), &telemetry);
        if decision.reason == Reason::StaleTelemetry {
            assert_eq!(decision.applied, safest);
            break;
        }
    }
    let setting = controller.actions().setting(safest).unwrap();
    board.begin_prefill(&setting).unwrap();
    assert_eq!(world.request(), (306_000_000, 306_000_000));
    assert_eq!(setting.fan_pwm, 255);
    world.board.release();
}

/// Over-current events that count (OC1, OC2) take clocks away from the top; peaks (OC3) and what was counted before do not.
#[test]
fn a_supply_at_its_end_takes_clocks_away() {
    let world = World::new(Kernel::Clips);
    let counter = |number: u8| format!("/sys/class/hwmon/hwmon7/oc{number}_event_cnt").into();
    let count = |number: u8, events: &str| world.board.state().files.insert(counter(number), events.to_owned());
    world.board.state().files.insert("/sys/class/hwmon/hwmon7/name".into(), "soctherm_oc".into());
    for number in 1..=3 {
        count(number, "5");
    }
    let (session, stop) = (world.session(), AtomicBool::new(false));
    let mut board = board(&world, &session, &stop);
    let ran_at = |board: &mut Jetson<'_>| {
        board.idle(0.1).unwrap();
        let _ = board.telemetry(1, LOAD);
        board.begin_prefill(&SETTING).unwrap();
        world.request().1
    };
    assert_eq!(ran_at(&mut board), 1_020_000_000);
    count(3, "5000");
    assert_eq!(ran_at(&mut board), 1_020_000_000);
    count(2, "6");
    assert_eq!(ran_at(&mut board), 918_000_000);
    assert_eq!((ran_at(&mut board), board.incidents().strained), (918_000_000, 1));
}

/// What the signal handler has given back stays given back, and the batch in between ends without an error.
#[test]
fn after_a_signal_nothing_is_set_any_more() {
    let world = World::new(Kernel::Clips);
    let (session, stop) = (world.session(), AtomicBool::new(false));
    let mut board = board(&world, &session, &stop);
    board.begin_prefill(&SETTING).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    session.release();
    board.begin_decode(&SETTING, 8, 100).unwrap();
    board.end_decode(&SETTING, &[8; 10]).unwrap();
    assert_eq!(world.request(), (306_000_000, 1_300_500_000));
}

/// The test of the published study on a real board: the fan stands still, until the board is hot.
#[test]
fn a_fan_can_be_failed_and_comes_back_by_itself() {
    let world = World::new(Kernel::Clips);
    let (session, stop) = (world.session(), AtomicBool::new(false));
    let mut board = board(&world, &session, &stop);
    board.fail_fan().unwrap();
    let mut duty_after = |temperature: &str, expected: &str| {
        world.board.state().files.insert(TJ.into(), temperature.into());
        while world.duty(2) != expected {
            board.set_fan(128).unwrap();
            board.idle(0.02).unwrap();
        }
    };
    duty_after("70000\n", "0");
    duty_after("94500\n", "255");
    duty_after("80000\n", "0");
    drop(board);
    session.release();
    assert_eq!(world.duty(2), "66\n");
}

/// What a sample and an actuation cost: `cargo test --release -p host-runner --test board_act -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost_on_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    crate::synthetic::unpack(folder.path());
    // A folder has no clock that could follow: without power there is none to wait for.
    let clock = folder.path().join(crate::synthetic::GPU.trim_start_matches('/')).join("cur_freq");
    std::fs::write(clock, "0\n").unwrap();
    let tree: Arc<dyn host_runner::board::tree::FileTree> =
        Arc::new(host_runner::board::tree::RealTree::new(folder.path()).unwrap());
    let found = Found::discover(tree.as_ref());
    let services = Arc::new(host_runner::board::services::NoServices);
    let session = Session::open(&tree, services, &folder.path().join("state"), &found, true).unwrap().0;
    let gpu = found.gpu.unwrap();
    let allowed = session.range().unwrap().allowed(&gpu.frequencies_hz);
    let gate = Arc::clone(session.gate());
    let mut clock =
        host_runner::board::actuator::clock::GpuClock::new(gate, &gpu.devfreq, &gpu.frequencies_hz, allowed, None)
            .unwrap();
    let mut median = |name: &str, clocks: [u64; 2]| {
        let mut times: Vec<u128> = (0..2000)
            .map(|turn| {
                let before = std::time::Instant::now();
                clock.pin(clocks[turn % 2], before).unwrap();
                before.elapsed().as_nanos()
            })
            .collect();
        times.sort_unstable();
        println!("{name}: median {} us, 99 % below {} us", times[1000] / 1000, times[1980] / 1000);
    };
    median("another clock, two writes and five reads", [918_000_000, 612_000_000]);
    median("the same clock, three reads", [612_000_000, 612_000_000]);
}
