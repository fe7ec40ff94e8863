//! The GPU's clock: order of writes, read-back, caps, foreign hands.

use crate::scripted::{INVALID, Kernel, Scripted};
use crate::synthetic::{GPU, TABLE_HZ};
use crate::world::World;
use host_runner::board::actuator::clock::{ClockError, Pinned, Range, near};
use host_runner::board::tree::{FileTree, TreeError};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FULL: (u64, u64) = (306_000_000, 1_300_500_000);

fn point(hz: u64) -> Range {
    Range { min_hz: hz, max_hz: hz }
}

fn file(name: &str) -> PathBuf {
    Path::new(GPU).join(name)
}

/// The script itself rejects what the kernel rejects; otherwise the next test could not fail.
#[test]
fn kernel_4_9_rejects_bounds_that_cross() {
    let board = Scripted::new(Kernel::Rejects);
    board.write(&file("max_freq"), "510000000").unwrap();
    assert_eq!(board.write(&file("min_freq"), "612000000"), Err(INVALID));
    board.write(&file("min_freq"), "510000000").unwrap();
    assert_eq!(board.write(&file("max_freq"), "306000000"), Err(INVALID));
}

#[test]
fn from_any_clock_to_any_other_no_write_is_rejected() {
    for kernel in [Kernel::Rejects, Kernel::Clips] {
        let world = World::new(kernel);
        let session = world.session();
        let mut clock = world.clock(&session);
        let now = Instant::now();
        for from in TABLE_HZ {
            for to in TABLE_HZ {
                clock.pin(from, now).unwrap();
                let pinned = clock.pin(to, now).unwrap();
                assert_eq!(pinned, if from == to { Pinned::Already } else { Pinned::Written }, "{from} {to}");
                assert_eq!(world.request(), (to, to));
            }
        }
        assert!(world.board.state().writes.iter().all(|(.., outcome)| outcome.is_ok()));
        drop(session);
        assert_eq!(world.request(), FULL);
    }
}

#[test]
fn a_wish_between_two_entries_takes_the_lower_one() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let clock = world.clock(&session);
    let wishes = [(0, 306), (306, 306), (407, 306), (950, 918), (1_300, 1_224), (1_301, 1_300), (9_999, 1_300)];
    for (wished_mhz, entry_mhz) in wishes {
        assert_eq!(clock.entry(wished_mhz * 1_000_000) / 1_000_000, entry_mhz);
    }
}

#[test]
fn nothing_above_the_power_mode_is_written() {
    let world = World::new(Kernel::Clips);
    world.board.state().request = (306_000_000, 816_000_000);
    let session = world.session();
    let mut clock = world.clock(&session);
    clock.pin(1_300_500_000, Instant::now()).unwrap();
    assert_eq!(world.request(), (816_000_000, 816_000_000));
    drop(session);
    assert_eq!(world.request(), (306_000_000, 816_000_000));
}

#[test]
fn a_silent_clip_is_noticed_and_not_fought() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    // The firmware caps: no cooling device says so.
    world.board.state().cap = Some(612_000_000);
    assert_eq!(clock.pin(918_000_000, start).unwrap(), Pinned::Clipped(point(612_000_000)));
    let writes = world.writes();
    for tenth in 1..20 {
        let now = start + Duration::from_millis(100 * tenth);
        assert_eq!(clock.pin(918_000_000, now).unwrap(), Pinned::Waiting(point(612_000_000)));
    }
    assert_eq!(world.writes(), writes, "no write within the pause");
    // A lower clock is no fight: it is below the cap.
    let later = start + Duration::from_secs(2);
    assert_eq!(clock.pin(408_000_000, later).unwrap(), Pinned::Written);
    world.board.state().cap = None;
    assert_eq!(clock.pin(918_000_000, later).unwrap(), Pinned::Written);
}

#[test]
fn drivers_that_are_not_ready_are_asked_again_and_not_for_ever() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    // 5.10 before the node is registered: EAGAIN for the lower bound, EINVAL for the upper one.
    world.board.state().failing.insert(file("min_freq"), (TreeError::Again, 1));
    world.board.state().failing.insert(file("max_freq"), (INVALID, 1));
    assert_eq!(clock.pin(918_000_000, Instant::now()).unwrap(), Pinned::Written);
    world.board.state().failing.insert(file("min_freq"), (TreeError::Again, u32::MAX));
    let before = world.writes();
    let error = clock.pin(510_000_000, Instant::now()).unwrap_err();
    assert!(matches!(&error, ClockError::File(file) if file.cause == TreeError::Again), "{error}");
    assert!(world.writes() - before <= 6, "three tries of two writes");
    world.board.state().failing.clear();
    assert_eq!(clock.pin(510_000_000, Instant::now()).unwrap(), Pinned::Written);
}

#[test]
fn a_gated_gpu_is_set_like_any_other() {
    let world = World::new(Kernel::Clips);
    world.board.state().files.insert(file("cur_freq"), "0\n".into());
    let session = world.session();
    assert_eq!(world.clock(&session).pin(714_000_000, Instant::now()).unwrap(), Pinned::Written);
}

#[test]
fn a_throttle_is_left_in_peace_and_forgotten_when_it_is_over() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    clock.pin(1_020_000_000, start).unwrap();
    world.board.state().throttle(Some(510_000_000));
    let writes = world.writes();
    assert_eq!(clock.pin(1_020_000_000, start).unwrap(), Pinned::Throttled(point(510_000_000)));
    assert_eq!(clock.pin(1_020_000_000, start).unwrap(), Pinned::Waiting(point(510_000_000)));
    world.board.state().throttle(Some(714_000_000));
    assert_eq!(clock.pin(1_020_000_000, start).unwrap(), Pinned::Throttled(point(714_000_000)));
    world.board.state().throttle(None);
    assert_eq!(clock.pin(1_020_000_000, start).unwrap(), Pinned::Already);
    assert_eq!(world.writes(), writes, "nothing was written meanwhile");
    // Throttled at the very end: what is given back is what was there, not what reads back.
    world.board.state().throttle(Some(408_000_000));
    drop(session);
    assert_eq!(world.request(), FULL);
}

/// Between the write and the clock lie some tens of milliseconds.
#[test]
fn a_clock_that_follows_late_is_waited_for() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    world.board.state().lag = 6;
    assert_eq!(clock.pin(918_000_000, Instant::now()).unwrap(), Pinned::Written);
    assert_eq!(world.board.state().lag, 0);
    assert_eq!(world.writes(), 2);
}

/// Neighbours in the clock tree: 1300 MHz for 1300.5.
#[test]
fn a_neighbour_of_the_wish_is_the_wish() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    world.board.state().held_at = Some(1_300_000_000);
    assert_eq!(world.clock(&session).pin(1_300_500_000, Instant::now()).unwrap(), Pinned::Written);
}

/// The firmware holds the clock, and neither bound says so.
#[test]
fn a_clock_that_does_not_follow_its_bounds_is_tried_twice_and_told() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    world.board.state().held_at = Some(612_000_000);
    let strayed = Pinned::Strayed { wanted_hz: 1_020_000_000, hz: 612_000_000 };
    assert_eq!(clock.pin(1_020_000_000, start).unwrap(), strayed);
    assert_eq!(world.writes(), 4, "both bounds, and once more");
    // Until the pause is over one look has to do, and nothing is written for it.
    assert_eq!(clock.pin(1_020_000_000, start + Duration::from_secs(1)).unwrap(), strayed);
    assert_eq!(world.writes(), 4);
    // Another wish is written at once all the same.
    let lower = clock.pin(714_000_000, start + Duration::from_secs(1)).unwrap();
    assert_eq!(lower, Pinned::Strayed { wanted_hz: 714_000_000, hz: 612_000_000 });
    assert_eq!((world.request(), world.writes()), ((714_000_000, 714_000_000), 6));
    world.board.state().held_at = None;
    assert_eq!(clock.pin(714_000_000, start + Duration::from_secs(1)).unwrap(), Pinned::Already);
}

/// One stray makes no strays of the changes behind it: a clock that follows late is waited for within the pause, too.
#[test]
fn a_clock_that_follows_late_is_waited_for_also_after_a_stray() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    world.board.state().held_at = Some(612_000_000);
    assert!(matches!(clock.pin(1_020_000_000, start).unwrap(), Pinned::Strayed { .. }));
    world.board.state().held_at = None;
    world.board.state().lag = 6;
    assert_eq!(clock.pin(714_000_000, start + Duration::from_secs(1)).unwrap(), Pinned::Written);
}

/// 4.9 reads back what was written, also while the thermal core caps: there the clock itself says so.
#[test]
fn a_throttle_that_the_bounds_do_not_show_is_seen() {
    let world = World::new(Kernel::Rejects);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    clock.pin(1_020_000_000, start).unwrap();
    world.board.state().throttle(Some(510_000_000));
    world.board.state().held_at = Some(510_000_000);
    assert_eq!(clock.pin(1_020_000_000, start).unwrap(), Pinned::Throttled(point(510_000_000)));
}

#[test]
fn a_dry_run_does_not_wait_for_a_clock_that_it_has_not_set() {
    let world = World::new(Kernel::Clips);
    world.board.state().request = (612_000_000, 612_000_000);
    world.board.state().held_at = Some(306_000_000);
    let session = world.open(false).unwrap();
    assert_eq!(world.clock(&session).pin(612_000_000, Instant::now()).unwrap(), Pinned::Already);
}

#[test]
fn foreign_hands_are_respected_with_longer_and_longer_pauses() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    clock.pin(918_000_000, start).unwrap();
    let mut last = 0;
    let mut rewrites = Vec::new();
    for tenth in 1..=3000 {
        // jetson_clocks in a loop: as soon as we have had our way, it has its way again.
        if world.request() == (918_000_000, 918_000_000) {
            world.board.state().request = (1_300_500_000, 1_300_500_000);
        }
        let now = start + Duration::from_millis(100 * tenth);
        clock.pin(1_122_000_000, now).unwrap();
        clock.pin(918_000_000, now).unwrap();
        if world.writes() > last {
            rewrites.push(tenth);
            last = world.writes();
        }
    }
    // A lower clock may be a matter of safety: it is tried every two seconds, and no more.
    assert!(rewrites.windows(2).all(|pair| pair[1] - pair[0] >= 20), "{rewrites:?}");
    assert!(rewrites.len() > 10, "never given up: {rewrites:?}");
}

#[test]
fn a_foreign_cap_is_raised_rarely() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    let mut clock = world.clock(&session);
    let start = Instant::now();
    clock.pin(918_000_000, start).unwrap();
    let before = world.writes();
    for tenth in 1..=3000 {
        world.board.state().request = (306_000_000, 612_000_000);
        clock.pin(918_000_000, start + Duration::from_millis(100 * tenth)).unwrap();
    }
    let tries = (world.writes() - before) / 2;
    assert!((3..=10).contains(&tries), "{tries} tries in five minutes");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let world = World::new(Kernel::Clips);
    let session = world.session();
    world.board.state().failing.insert(file("max_freq"), (TreeError::Denied, u32::MAX));
    let error = world.clock(&session).pin(612_000_000, Instant::now()).unwrap_err().to_string();
    assert!(error.contains("max_freq") && error.contains("run as root"), "{error}");
}

#[test]
fn a_dry_run_writes_nothing_at_all() {
    let world = World::new(Kernel::Clips);
    let session = world.open(false).unwrap();
    let mut clock = world.clock(&session);
    let full = Range { min_hz: FULL.0, max_hz: FULL.1 };
    assert_eq!(clock.pin(612_000_000, Instant::now()).unwrap(), Pinned::DryRun(full));
    let mut fan = world.fan(&session);
    fan.set_floor(255);
    fan.regulate(None, Instant::now()).unwrap();
    drop(session);
    assert_eq!(world.writes(), 0);
    assert!(*world.daemon.running.lock().unwrap());
    assert_eq!(std::fs::read_dir(world.state.path()).unwrap().count(), 0);
}

#[test]
fn one_and_a_half_per_cent_is_near() {
    assert!(near(1_300_500_000, 1_300_000_000) && near(624_750_000, 621_000_000) && near(0, 0));
    assert!(!near(306_000_000, 408_000_000) && !near(0, 306_000_000) && near(1000, 985) && !near(1000, 984));
}

#[derive(Clone, Debug)]
enum Event {
    Pin(u64),
    Cap(Option<u64>),
    Throttle(Option<u64>),
    Foreign(usize, usize),
    Fails(bool, u32),
    Held(Option<u64>),
}

fn event() -> impl Strategy<Value = Event> {
    let hz = || prop::sample::select(TABLE_HZ.to_vec());
    prop_oneof![
        6 => (0..1_500_000_000u64).prop_map(Event::Pin),
        1 => prop::option::of(hz()).prop_map(Event::Cap),
        1 => prop::option::of(hz()).prop_map(Event::Throttle),
        1 => (0..11usize, 0..11usize).prop_map(|(a, b)| Event::Foreign(a.min(b), a.max(b))),
        1 => (any::<bool>(), 0..8u32).prop_map(|(min, times)| Event::Fails(min, times)),
        1 => prop::option::of(hz()).prop_map(Event::Held),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens meanwhile: only entries of the table are written, bounds never cross, the number of
    /// writes is bounded, and in the end the board is as it was.
    #[test]
    fn whatever_happens_the_board_is_given_back(
        kernel in prop::sample::select(vec![Kernel::Rejects, Kernel::Clips]),
        before in (0..11usize, 0..11usize),
        events in prop::collection::vec((event(), 0..3000u64), 1..30),
    ) {
        let world = World::new(kernel);
        let request = (TABLE_HZ[before.0.min(before.1)], TABLE_HZ[before.0.max(before.1)]);
        world.board.state().request = request;
        let session = world.session();
        let mut clock = world.clock(&session);
        let mut now = Instant::now();
        let mut pins = 0;
        for (event, pause_ms) in events {
            now += Duration::from_millis(pause_ms);
            match event {
                Event::Pin(hz) => {
                    pins += 1;
                    // Errors are the board's; they must not do harm.
                    let _ = clock.pin(hz, now);
                }
                Event::Cap(cap) => world.board.state().cap = cap,
                Event::Throttle(cap) => world.board.state().throttle(cap),
                Event::Foreign(min, max) => world.board.state().request = (TABLE_HZ[min], TABLE_HZ[max]),
                Event::Held(hz) => world.board.state().held_at = hz,
                Event::Fails(min, times) => {
                    let name = file(if min { "min_freq" } else { "max_freq" });
                    world.board.state().failing.insert(name, (TreeError::Again, times));
                }
            }
        }
        let writes = std::mem::take(&mut world.board.state().writes);
        prop_assert!(writes.len() <= pins * 8);
        for (_, text, _) in writes {
            let hz: u64 = text.parse().unwrap();
            prop_assert!(TABLE_HZ.contains(&hz) && hz <= request.1, "{text}");
        }
        prop_assert!(session.release().is_complete());
        prop_assert_eq!(world.request(), request);
    }
}
