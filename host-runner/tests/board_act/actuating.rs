//! The thread that acts: it may get stuck, whoever asks it may not.

use crate::scripted::Kernel;
use crate::synthetic::{FAN, GPU};
use crate::world::World;
use controller_core::units::MilliCelsius;
use host_runner::board::actuator::clock::Pinned;
use host_runner::board::actuator::{Actuator, ActuatorError, MOST_FAILURES, Outcome, Wish};
use host_runner::board::session::Session;
use host_runner::board::tree::TreeError;
use std::path::Path;
use std::time::Duration;

/// Far more than a scripted board takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a stuck board is waited for.
const SHORT: Duration = Duration::from_millis(20);

fn actuator(world: &World, session: &Session) -> Actuator {
    let warm = || Some(MilliCelsius::from_degrees(45));
    Actuator::start(Some(world.clock(session)), world.fan(session), Box::new(warm)).unwrap()
}

const fn wish(mhz: u64) -> Wish {
    Wish { clock_hz: Some(mhz * 1_000_000), fan_floor: 0, fan_off: false }
}

#[test]
fn a_wish_is_carried_out_and_read_back() {
    let world = World::new(Kernel::Rejects);
    let session = world.session();
    let mut actuator = actuator(&world, &session);
    assert_eq!(actuator.set(wish(918), PATIENCE), Ok(Outcome::Clock(Pinned::Written)));
    assert_eq!(actuator.set(wish(306), PATIENCE), Ok(Outcome::Clock(Pinned::Written)));
    assert_eq!(actuator.set(wish(306), PATIENCE), Ok(Outcome::Clock(Pinned::Already)));
    assert_eq!(world.request(), (306_000_000, 306_000_000));
    let fan_alone = Wish { clock_hz: None, fan_floor: 200, fan_off: false };
    assert_eq!(actuator.set(fan_alone, PATIENCE), Ok(Outcome::NoClock));
    drop(actuator);
    assert_eq!(world.duty(2), "200");
    drop(session);
    assert_eq!((world.request(), world.duty(2).as_str()), ((306_000_000, 1_300_500_000), "66\n"));
}

/// A read that hangs stalls neither the one who asks nor the giving back, and what was wished meanwhile is not
/// carried out when it is over. No clock decides this test: the read hangs until it is let go.
#[test]
fn a_read_that_hangs_stalls_nobody_and_nothing_stale_is_written() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut actuator = actuator(&world, &session);
    actuator.set(wish(918), PATIENCE).unwrap();
    world.board.state().stuck = Some(Path::new(GPU).join("min_freq"));
    assert_eq!(actuator.set(wish(1020), SHORT), Ok(Outcome::Late));
    world.board.wait_until_stuck();
    for mhz in [1122, 1224] {
        assert_eq!(actuator.set(wish(mhz), SHORT), Ok(Outcome::Late));
    }
    assert_eq!(actuator.incidents().late, 3);
    let writes = world.writes();
    world.board.release();
    // The one that had been begun may end; the two that had not are forgotten.
    assert!(matches!(actuator.set(wish(816), PATIENCE), Ok(Outcome::Clock(Pinned::Written))));
    let state = world.board.state();
    assert!(state.writes[writes..].iter().all(|(_, text, _)| !text.starts_with("1122") && !text.starts_with("1224")));
}

#[test]
fn a_board_is_given_back_while_a_read_hangs_and_stays_as_it_was() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut actuator = actuator(&world, &session);
    actuator.set(wish(918), PATIENCE).unwrap();
    // The thread hangs while it looks after the fan, so that the GPU's files are free.
    world.board.state().stuck = Some(Path::new(FAN).join("hwmon2/pwm1"));
    let _ = actuator.set(Wish { clock_hz: None, fan_floor: 255, fan_off: false }, SHORT);
    world.board.wait_until_stuck();
    assert!(session.release().is_complete());
    let writes = world.writes();
    world.board.release();
    // Answered from behind the closed gate.
    actuator.set(wish(612), PATIENCE).unwrap();
    assert_eq!(world.writes(), writes);
    assert_eq!((world.request(), world.duty(2).as_str()), ((306_000_000, 1_300_500_000), "66\n"));
}

#[test]
fn a_board_that_refuses_again_and_again_is_given_up() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut actuator = actuator(&world, &session);
    world.board.state().failing.insert(Path::new(GPU).join("max_freq"), (TreeError::Denied, u32::MAX));
    for _ in 1..MOST_FAILURES {
        assert!(matches!(actuator.set(wish(612), PATIENCE), Ok(Outcome::Failed(_))));
    }
    let error = actuator.set(wish(612), PATIENCE).unwrap_err();
    assert!(matches!(error, ActuatorError::Failing(_)));
    assert!(error.to_string().contains("max_freq"), "{error}");
    assert_eq!(actuator.incidents().clock_failed, u64::from(MOST_FAILURES));
}

#[test]
fn a_board_without_a_clock_or_a_fan_is_no_error() {
    let world = World::new(Kernel::Clips);
    world.board.state().files.retain(|path, _| !path.starts_with(FAN));
    let session = world.session();
    let mut actuator = Actuator::start(None, world.fan(&session), Box::new(|| None)).unwrap();
    assert_eq!(actuator.set(wish(612), PATIENCE), Ok(Outcome::NoClock));
    assert_eq!(actuator.incidents(), host_runner::board::actuator::incidents::Incidents::default());
}
