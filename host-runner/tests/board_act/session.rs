//! Taking a board over and giving it back.

use crate::scripted::Kernel;
use crate::synthetic::{CAP, FAN, GPU};
use crate::world::World;
use host_runner::board::baseline::Baseline;
use host_runner::board::lock::LockError;
use host_runner::board::restore::{give_back, give_back_kept};
use host_runner::board::services::NoServices;
use host_runner::board::session::{Session, SessionError};
use host_runner::board::tree::TreeError;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const FULL: (u64, u64) = (306_000_000, 1_300_500_000);

#[test]
fn the_state_is_on_disk_before_the_first_write_and_gone_after_the_last() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    assert_eq!(world.writes(), 0);
    let kept = Baseline::load(world.state.path()).unwrap().unwrap();
    assert_eq!(kept, session.baseline());
    assert!(kept.fan_service && kept.gpu.as_ref().is_some_and(|gpu| gpu.max.text == "1300500000\n"));
    drop(session);
    assert_eq!(Baseline::load(world.state.path()).unwrap(), None);
}

#[test]
fn two_sessions_cannot_have_one_board() {
    let world = World::new(Kernel::Clips);
    let first = world.session();
    assert!(matches!(world.open(true).unwrap_err(), SessionError::Lock(LockError::Held { .. })));
    // Looking is free.
    drop(world.open(false).unwrap());
    drop(first);
    drop(world.session());
}

#[test]
fn what_a_dead_session_left_is_given_back_by_the_next_one() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let kept = session.baseline();
    drop(session);
    // As after SIGKILL: the state is kept, the board is changed, nobody holds the lock.
    world.keep(&kept);
    world.board.state().request = (612_000_000, 612_000_000);
    let next = world.session();
    assert_eq!(world.request(), FULL);
    assert_eq!(next.baseline(), kept, "the leftover is not taken for the board's own state");
}

#[test]
fn a_leftover_that_cannot_be_given_back_stays_kept_and_is_named() {
    let world = World::new(Kernel::Clips);
    let kept = world.session().baseline();
    world.keep(&kept);
    world.board.state().request = (612_000_000, 612_000_000);
    world.board.state().failing.insert(Path::new(GPU).join("max_freq"), (TreeError::Denied, u32::MAX));
    let error = world.open(true).unwrap_err().to_string();
    assert!(error.contains("max_freq"), "{error}");
    assert_eq!(Baseline::load(world.state.path()).unwrap(), Some(kept));
    // The rest was given back all the same.
    assert_eq!(world.request().0, FULL.0);
    world.board.state().failing.clear();
    drop(world.session());
    assert_eq!(world.request(), FULL);
}

#[test]
fn one_file_that_cannot_be_written_does_not_keep_the_others_from_their_place() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    world.clock(&session).pin(612_000_000, Instant::now()).unwrap();
    let pwm = Path::new(FAN).join("hwmon2/pwm1");
    world.board.state().failing.insert(pwm, (TreeError::Denied, u32::MAX));
    let restored = session.release();
    assert_eq!(restored.failed.len(), 1, "{restored:?}");
    assert_eq!(world.request(), FULL);
    assert!(Baseline::load(world.state.path()).unwrap().is_some(), "kept for another try");
}

/// A driver that hangs costs its own file, and no other.
#[test]
fn a_write_that_hangs_at_the_end_does_not_hold_up_the_others() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    world.clock(&session).pin(612_000_000, Instant::now()).unwrap();
    world.board.state().stuck_write = Some(Path::new(GPU).join("min_freq"));
    let pwm = Path::new(FAN).join("hwmon2/pwm1");
    world.board.state().files.insert(pwm, "255".into());
    let restored = session.release();
    assert_eq!(world.request().1, FULL.1);
    assert_eq!(world.duty(2), "66\n");
    assert!(restored.failed.len() == 1 && restored.failed[0].contains("min_freq"), "{restored:?}");
    assert!(restored.failed[0].contains("does not answer"), "{restored:?}");
    // Kept for another try, which there is when the driver is back.
    assert!(Baseline::load(world.state.path()).unwrap().is_some());
    world.board.release();
    drop(session);
    drop(world.session());
    assert_eq!(world.request(), FULL);
    assert_eq!(Baseline::load(world.state.path()).unwrap(), None);
}

/// A write of the run itself hangs: what else there is to give back is given back, and the state stays kept, since the
/// write may still take effect.
#[test]
fn a_write_of_the_run_that_hangs_does_not_hold_up_the_giving_back() {
    let world = World::new(Kernel::Clips);
    let session = std::sync::Arc::new(world.session());
    let mut clock = world.clock(&session);
    clock.pin(612_000_000, Instant::now()).unwrap();
    let pwm = Path::new(FAN).join("hwmon2/pwm1");
    world.board.state().stuck_write = Some(pwm);
    let mut fan = world.fan(&session);
    let stuck = std::thread::spawn(move || {
        fan.set_floor(255);
        let _ = fan.regulate(None, Instant::now());
    });
    world.board.wait_until_stuck();
    let restored = session.release();
    assert_eq!(world.request(), FULL);
    assert!(restored.failed.iter().any(|text| text.contains("has not returned")), "{restored:?}");
    assert!(Baseline::load(world.state.path()).unwrap().is_some());
    world.board.release();
    stuck.join().unwrap();
    drop((clock, session));
    drop(world.session());
    assert_eq!((world.request(), world.duty(2).as_str()), (FULL, "66\n"));
}

#[test]
fn drivers_that_are_not_ready_at_the_end_are_waited_for() {
    let world = World::new(Kernel::Rejects);
    let session = world.session();
    world.clock(&session).pin(612_000_000, Instant::now()).unwrap();
    world.board.state().failing.insert(Path::new(GPU).join("min_freq"), (TreeError::Again, 5));
    assert!(session.release().is_complete());
    assert_eq!(world.request(), FULL);
}

/// The throttle of the moment must not become the cap of tomorrow.
#[test]
fn a_board_that_throttles_when_it_is_taken_over_gets_its_whole_range_back() {
    let world = World::new(Kernel::Clips);
    world.board.state().throttle(Some(510_000_000));
    let session = world.session();
    assert!(session.baseline().gpu.unwrap().throttled);
    world.clock(&session).pin(408_000_000, Instant::now()).unwrap();
    let restored = session.release();
    assert_eq!(world.request(), FULL);
    assert!(restored.is_complete() && restored.notes.iter().any(|note| note.contains("in full")), "{restored:?}");
    assert_eq!(world.board.state().files[Path::new(CAP)], "3\n");
}

#[test]
fn giving_back_twice_is_giving_back_once() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    world.clock(&session).pin(612_000_000, Instant::now()).unwrap();
    let first = session.release();
    let writes = world.writes();
    assert_eq!(session.release(), first);
    drop(session);
    assert_eq!(world.writes(), writes);
    let (tree, state) = (world.tree(), world.state.path());
    assert_eq!(give_back_kept(&tree, world.daemon.as_ref(), state).unwrap(), None);
}

/// The program ends while the handler of a signal, which gave the board back, still holds the session: its lock is gone all the
/// same, and when the handler lets go at last, the lock of whoever came then stays.
#[test]
fn nothing_is_left_on_disk_while_somebody_still_holds_the_session() {
    let world = World::new(Kernel::Clips);
    let session = std::sync::Arc::new(world.session());
    let handler = std::sync::Arc::clone(&session);
    handler.release();
    assert!(session.release().is_complete());
    drop(session);
    assert!(!world.state.path().exists());
    let next = world.session();
    drop(handler);
    assert!(matches!(world.open(true).unwrap_err(), SessionError::Lock(LockError::Held { .. })));
    drop(next);
    assert!(!world.state.path().exists());
}

#[test]
fn a_state_of_an_earlier_boot_is_forgotten() {
    let world = World::new(Kernel::Clips);
    let kept = world.session().baseline();
    world.keep(&kept);
    {
        let mut state = world.board.state();
        state.request = (306_000_000, 612_000_000);
        state.files.insert("/proc/sys/kernel/random/boot_id".into(), "another\n".into());
    }
    let restored = give_back_kept(&world.tree(), world.daemon.as_ref(), world.state.path()).unwrap().unwrap();
    assert!(restored.written.is_empty() && restored.notes.len() == 1, "{restored:?}");
    assert_eq!(world.request(), (306_000_000, 612_000_000));
    assert_eq!(Baseline::load(world.state.path()).unwrap(), None);
}

#[test]
fn a_panic_gives_the_board_back() {
    let world = World::new(Kernel::Clips);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let session = world.session();
        world.clock(&session).pin(612_000_000, Instant::now()).unwrap();
        panic!("the policy has a bug");
    }));
    assert!(outcome.is_err());
    assert_eq!(world.request(), FULL);
}

/// Somebody has set another power mode meanwhile: that is respected while we run, and not undone in the end.
#[test]
fn another_power_mode_is_not_undone() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    clock.pin(1_020_000_000, start).unwrap();
    {
        let mut state = world.board.state();
        state.request = (306_000_000, 612_000_000);
        state.files.insert("/var/lib/nvpmodel/status".into(), "pmode:0002\n".into());
        let modes =
            "< POWER_MODEL ID=0 NAME=MAXN >\nGPU MAX_FREQ -1\n< POWER_MODEL ID=2 NAME=30W >\nGPU MAX_FREQ 612000000\n";
        state.files.insert("/etc/nvpmodel.conf".into(), modes.into());
    }
    for second in 0..10 {
        clock.pin(1_020_000_000, start + std::time::Duration::from_secs(second)).unwrap();
        assert!(world.request().1 <= 612_000_000, "above the mode");
    }
    assert_eq!(world.request(), (612_000_000, 612_000_000));
    assert!(session.release().is_complete());
    assert_eq!(world.request(), (306_000_000, 612_000_000));
}

#[test]
fn a_power_mode_is_left_at_the_end_and_only_when_it_was_changed() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let found = world.found();
    session.change_power_mode(&found, "MAXN").unwrap();
    assert!(world.daemon.modes.lock().unwrap().is_empty(), "it is in force already");
    let error = session.change_power_mode(&found, "90W").unwrap_err().to_string();
    assert!(error.contains("90W") && error.contains("no such mode"), "{error}");
    let modes = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=30W >\n";
    world.board.state().files.insert("/etc/nvpmodel.conf".into(), modes.into());
    // nvpmodel asks for a reboot, and does nothing: noticed, and taken back in the end.
    let error = session.change_power_mode(&found, "30W").unwrap_err().to_string();
    assert!(error.contains("reboot"), "{error}");
    drop(session);
    assert_eq!(*world.daemon.modes.lock().unwrap(), [2, 0]);
}

/// Where nvpmodel cannot be called at all the mode never changed, and no state is left behind that would refuse the next run.
#[test]
fn a_power_mode_that_could_not_be_changed_is_not_missing_in_the_end() {
    let world = World::new(Kernel::Clips);
    let modes = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=30W >\n";
    world.board.state().files.insert("/etc/nvpmodel.conf".into(), modes.into());
    let found = world.found();
    let (session, _) = Session::open(&world.tree(), Arc::new(NoServices), world.state.path(), &found, true).unwrap();
    assert!(session.change_power_mode(&found, "30W").unwrap_err().to_string().contains("no nvpmodel"));
    let restored = session.release();
    assert!(restored.is_complete() && restored.notes.iter().any(|note| note.contains("what it was")), "{restored:?}");
    assert!(!Baseline::is_kept(world.state.path()));
    // One that was changed and cannot be set back is missing.
    let mut baseline = session.baseline();
    world.board.state().files.insert("/var/lib/nvpmodel/status".into(), "pmode:0002\n".into());
    baseline.power_mode = Some(0);
    assert!(!give_back(&world.tree(), &NoServices, &baseline).is_complete());
}
