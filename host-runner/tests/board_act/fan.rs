//! The fan: whose it is, how fast it runs, and how it goes back.

use crate::scripted::Kernel;
use crate::synthetic::{FAN, TJ};
use crate::world::World;
use controller_core::units::MilliCelsius;
use host_runner::board::actuator::fan::{Driven, FanError};
use host_runner::board::tree::TreeError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A temperature that is known.
#[expect(clippy::unnecessary_wraps, reason = "as the thermometer says it")]
const fn degrees(degrees: i16) -> Option<MilliCelsius> {
    Some(MilliCelsius::from_degrees(degrees))
}

fn fan_file(hwmon: u8, name: &str) -> PathBuf {
    Path::new(FAN).join(format!("hwmon{hwmon}/{name}"))
}

fn runs(world: &World) -> bool {
    *world.daemon.running.lock().unwrap()
}

#[test]
fn the_vendor_keeps_a_fan_that_blows_enough() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut fan = world.fan(&session);
    for floor in [0, 50, 66] {
        fan.set_floor(floor);
        assert_eq!(fan.regulate(degrees(45), Instant::now()), Ok(Some(Driven::Vendor)));
    }
    assert!(runs(&world));
    assert_eq!(world.writes(), 0);
}

#[test]
fn a_fan_of_ours_never_runs_below_the_vendors_table() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut fan = world.fan(&session);
    let start = Instant::now();
    fan.set_floor(128);
    assert_eq!(fan.regulate(degrees(45), start), Ok(Some(Driven::Taken(128))));
    assert!(!runs(&world), "its daemon would write every two seconds");
    // The table: 66 at 45 °C, 215 at 75 °C, 255 at 95 °C.
    fan.set_floor(0);
    for (temperature, duty) in [(75, 215), (60, 140), (94, 255), (92, 255), (90, 245), (45, 66)] {
        assert_eq!(fan.regulate(degrees(temperature), start), Ok(Some(Driven::Ours(duty))), "{temperature} °C");
        assert_eq!(world.duty(2), duty.to_string());
    }
    // Less than a step lower is not worth a write.
    fan.set_floor(128);
    fan.regulate(degrees(45), start).unwrap();
    fan.set_floor(122);
    assert_eq!(fan.regulate(degrees(45), start), Ok(Some(Driven::Ours(128))));
    drop(session);
    assert_eq!(world.duty(2), "66\n");
    assert!(runs(&world));
}

#[test]
fn an_unknown_temperature_is_full_speed() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut fan = world.fan(&session);
    fan.set_floor(100);
    assert_eq!(fan.regulate(None, Instant::now()), Ok(Some(Driven::Taken(255))));
    assert_eq!(fan.regulate(degrees(50), Instant::now()), Ok(Some(Driven::Ours(100))));
    assert_eq!(fan.regulate(None, Instant::now()), Ok(Some(Driven::Ours(255))));
}

/// `pwm1_enable` 0 cuts the output: it is never written, and the duty stands before control is taken.
#[test]
fn control_is_taken_after_the_duty_is_set() {
    let world = World::new(Kernel::Clips);
    world.board.state().files.insert(fan_file(2, "pwm1_enable"), "2\n".into());
    let session = world.session();
    let mut fan = world.fan(&session);
    fan.set_floor(200);
    fan.regulate(degrees(45), Instant::now()).unwrap();
    drop(session);
    let state = world.board.state();
    let writes: Vec<_> = state.writes.iter().map(|(path, text, _)| (path.clone(), text.as_str())).collect();
    let (pwm, enable) = (fan_file(2, "pwm1"), fan_file(2, "pwm1_enable"));
    assert_eq!(writes[..2], [(pwm.clone(), "200"), (enable.clone(), "1")]);
    assert_eq!(writes.last(), Some(&(enable, "2\n")));
    assert_eq!(state.files[&pwm], "66\n");
}

#[test]
fn jetpack_4_takes_the_fan_from_the_kernels_table_and_gives_it_back() {
    let world = World::new(Kernel::Rejects);
    {
        let mut state = world.board.state();
        state.files.retain(|path, _| !path.starts_with(FAN));
        for (name, text) in [("target_pwm", "0\n"), ("cur_pwm", "0\n"), ("temp_control", "1\n")] {
            state.files.insert(Path::new("/sys/devices/pwm-fan").join(name), text.into());
        }
    }
    *world.daemon.running.lock().unwrap() = false;
    let session = world.session();
    let mut fan = world.fan(&session);
    let read = |name: &str| world.board.state().files[&Path::new("/sys/devices/pwm-fan").join(name)].clone();
    fan.set_floor(180);
    fan.regulate(degrees(50), Instant::now()).unwrap();
    assert_eq!((read("target_pwm").as_str(), read("temp_control").as_str()), ("180", "0"));
    drop(session);
    assert_eq!((read("target_pwm").as_str(), read("temp_control").as_str()), ("0\n", "1\n"));
}

#[test]
fn whoever_slows_the_fan_down_is_answered_without_a_fight() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut fan = world.fan(&session);
    let start = Instant::now();
    fan.set_floor(200);
    fan.regulate(degrees(45), start).unwrap();
    let before = world.writes();
    for second in 1..=300 {
        world.board.state().files.insert(fan_file(2, "pwm1"), "89\n".into());
        let driven = fan.regulate(degrees(45), start + Duration::from_secs(second));
        assert_eq!(driven, Ok(Some(Driven::Overwritten(89))));
    }
    let tries = world.writes() - before;
    assert!((3..=10).contains(&tries), "{tries}");
    // Faster is nobody's harm.
    world.board.state().files.insert(fan_file(2, "pwm1"), "255\n".into());
    assert_eq!(fan.regulate(degrees(45), start + Duration::from_secs(999)), Ok(Some(Driven::Ours(200))));
}

#[test]
fn a_chip_with_a_new_number_is_followed() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut fan = world.fan(&session);
    fan.set_floor(100);
    fan.regulate(degrees(45), Instant::now()).unwrap();
    {
        let mut state = world.board.state();
        for name in ["name", "pwm1"] {
            let content = state.files.remove(&fan_file(2, name)).unwrap();
            state.files.insert(fan_file(4, name), content);
        }
    }
    fan.set_floor(150);
    assert_eq!(fan.regulate(degrees(45), Instant::now()), Ok(Some(Driven::Ours(150))));
    assert_eq!(world.duty(4), "150");
    drop(session);
    assert_eq!(world.duty(4), "66\n");
}

/// The vendor's service is not left stopped with nobody at the fan.
#[test]
fn a_fan_that_cannot_be_written_stays_the_vendors() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut fan = world.fan(&session);
    world.board.state().failing.insert(fan_file(2, "pwm1"), (TreeError::Denied, u32::MAX));
    fan.set_floor(255);
    let error = fan.regulate(degrees(45), Instant::now()).unwrap_err();
    assert!(matches!(error, FanError::File(_)), "{error}");
    assert!(runs(&world));
}

/// A fan that stood still stands still again only when somebody looks after it, or the board is cold.
#[test]
fn a_warm_board_is_never_left_without_its_fan() {
    for (daemon, temperature, left) in
        [(true, "80000\n", "0\n"), (false, "30000\n", "0\n"), (false, "80000\n", "255"), (false, "-256000\n", "255")]
    {
        let world = World::new(Kernel::Clips);
        world.board.state().files.insert(fan_file(2, "pwm1"), "0\n".into());
        *world.daemon.running.lock().unwrap() = daemon;
        let session = world.session();
        {
            let mut state = world.board.state();
            state.files.insert(TJ.into(), temperature.into());
            state.files.insert("/sys/class/thermal/thermal_zone1/temp".into(), "-256000\n".into());
        }
        session.release();
        assert_eq!(world.duty(2), left, "{daemon} {temperature}");
    }
}

/// One governor after the other on one board: the vendor's daemon was stopped for the first, so the second must not leave the
/// fan to it.
#[test]
fn a_fan_that_was_taken_is_looked_after_by_whoever_comes_next() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut first = world.fan(&session);
    first.set_floor(100);
    let cool = Some(MilliCelsius::from_degrees(30));
    assert_eq!(first.regulate(cool, Instant::now()).unwrap(), Some(Driven::Taken(100)));
    drop(first);
    let mut second = world.fan(&session);
    let hot = Some(MilliCelsius::from_degrees(98));
    assert_eq!(second.regulate(hot, Instant::now()).unwrap(), Some(Driven::Ours(255)));
    assert_eq!(world.duty(2), "255");
    session.release();
    assert_eq!(world.duty(2), "66\n");
}
