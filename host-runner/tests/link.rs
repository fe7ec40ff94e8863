//! The firmware as the controller of a run, over lines that fail: whatever happens to the line, the
//! decisions are those of a controller in the host.

use controller_core::action::Decision;
use controller_core::control::Controller;
use controller_core::policy::{PolicyImage, schema_hash};
use controller_core::protocol::{Configuration, Safety};
use controller_core::record::StepRecord;
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use firmware_sim::synthetic::{Turn, fallback, reward};
use host_runner::link::LinkError;
use host_runner::link::events::{LinkEvent, LinkReport};
use host_runner::link::keeper::Assignment;
use host_runner::link::session::Session;
use host_runner::link::upload::upload;
use host_runner::link::wire::faulty::Faulty;
use host_runner::link::wire::in_process::InProcess;
use host_runner::link::wire::{Opener, Wire};
use host_runner::run::choice::{AnyGovernor, Choice};
use host_runner::run::control::Control;
use host_runner::run::firmware::Firmware;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const IMAGE: &[u8] = include_bytes!("../../models/policies/service.elp");

fn schema() -> u32 {
    schema_hash(PolicyImage::new_checked(IMAGE).unwrap().header())
}

fn configuration() -> Configuration {
    let actions = PolicyImage::new_checked(IMAGE).unwrap().header().actions.clone();
    let (reward, fallback) = (reward(&actions), fallback(&actions));
    Configuration { actions, limits: Limits::agx_orin(), reward, fallback }
}

fn assignment(longest_batch: Duration) -> Assignment {
    Assignment { image: IMAGE.to_vec(), schema: schema(), configuration: configuration(), longest_batch }
}

fn own() -> Controller<AnyGovernor<'static>> {
    let Configuration { actions, limits, reward, fallback } = configuration();
    let governor = Choice::Learned.build(&actions, Path::new("service.elp"), IMAGE).unwrap();
    Controller::new(governor, actions, limits, reward).unwrap().with_fallback(fallback.unwrap()).unwrap()
}

/// What a controller makes of drawn turns.
fn play(controller: &mut dyn Control, seed: u64, turns: u32) -> Vec<(Decision, StepRecord)> {
    let mut rng = Pcg32::new(seed);
    let mut played = Vec::new();
    for number in 1..=turns {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut rng, number);
        let decision = controller.step(now, &telemetry).unwrap();
        played.push((decision, controller.settle(measurement).unwrap()));
    }
    played
}

fn expected(seed: u64, turns: u32) -> Vec<(Decision, StepRecord)> {
    play(&mut own(), seed, turns)
}

/// A microcontroller that lives longer than any connection to it.
#[derive(Clone, Default)]
struct Board(Arc<Mutex<InProcess>>);

impl Wire for Board {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().send(bytes)
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        self.0.lock().unwrap().receive(bytes)
    }

    fn runs_alone(&self) -> bool {
        false
    }
}

fn once(wire: impl Wire + 'static) -> Opener {
    let mut wire = Some(Box::new(wire) as Box<dyn Wire>);
    Box::new(move || wire.take().ok_or_else(|| io::ErrorKind::NotFound.into()))
}

#[test]
fn a_line_that_harms_every_tenth_frame_changes_nothing() {
    for seed in 0..4 {
        let wire = Faulty::new(InProcess::default(), seed, 100);
        let mut firmware = Firmware::start(once(wire), assignment(Duration::from_mins(10)), own()).unwrap();
        assert_eq!(play(&mut firmware, seed, 500), expected(seed, 500));
        let LinkReport { by_firmware, by_host, lost, traffic, .. } = firmware.report();
        assert_eq!((by_firmware, by_host, lost, traffic.round_trips), (500, 0, 0, 1000), "seed {seed}");
        assert!(firmware.events().is_empty());
    }
}

/// A connection that breaks at random, to a board that is reset now and then.
struct Breaking {
    board: Board,
    rng: Arc<Mutex<Pcg32>>,
}

impl Breaking {
    fn opener() -> Opener {
        let (board, rng) = (Board::default(), Arc::new(Mutex::new(Pcg32::new(7))));
        let mut opened = 0;
        Box::new(move || {
            opened += 1;
            match rng.lock().unwrap().below(4) {
                0 if opened > 1 => return Err(io::ErrorKind::NotFound.into()),
                1 => board.0.lock().unwrap().reset(),
                2 => *board.0.lock().unwrap() = InProcess::default(),
                _ => {}
            }
            Ok(Box::new(Self { board: board.clone(), rng: rng.clone() }))
        })
    }

    fn breaks(&self) -> io::Result<()> {
        // The first requests, until the upload is over, must get through often enough to begin at all.
        if self.rng.lock().unwrap().below(400) == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl Wire for Breaking {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.breaks()?;
        self.board.send(bytes)
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        self.breaks()?;
        self.board.receive(bytes)
    }

    fn runs_alone(&self) -> bool {
        false
    }
}

#[test]
fn a_run_goes_on_without_its_firmware_and_takes_it_back() {
    const TURNS: u32 = 400;
    let mut firmware = Firmware::start(Breaking::opener(), assignment(Duration::from_mins(10)), own()).unwrap();
    let mut rng = Pcg32::new(3);
    let mut events = Vec::new();
    let mut alone = 0;
    let mut parts = Vec::new();
    let mut draw = Pcg32::new(11);
    for number in 1..=TURNS {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut draw, number);
        let decision = firmware.step(now, &telemetry).unwrap();
        parts.push((decision, firmware.settle(measurement).unwrap()));
        events.extend(firmware.events());
        // Some turns without, then it is waited for.
        alone = if firmware.is_up() { 0 } else { alone + 1 };
        if alone > rng.below(8) {
            while !firmware.is_up() {
                assert!(!firmware.report().excluded, "{:?}", firmware.events());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    assert_eq!(parts, expected(11, TURNS));
    let report = firmware.report();
    assert_eq!(report.by_firmware + report.by_host, u64::from(TURNS));
    assert!(report.by_firmware > 100 && report.by_host > 3 && report.lost > 3, "{report:?}");
    assert!(!report.excluded, "{events:?}");
    let lost: Vec<bool> = events.iter().map(|event| matches!(event, LinkEvent::Lost { .. })).collect();
    assert!(lost.chunks(2).all(|pair| matches!(pair, [true, false] | [true])), "{events:?}");
}

#[test]
fn a_firmware_that_cannot_be_had_is_an_error_at_once() {
    struct Nobody;
    impl Wire for Nobody {
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, _: &mut Vec<u8>) -> io::Result<Duration> {
            Ok(Duration::from_millis(20))
        }
    }
    let start = |opener| Firmware::start(opener, assignment(Duration::from_mins(1)), own()).err().unwrap();
    assert!(matches!(start(Box::new(|| Err(io::ErrorKind::NotFound.into()))), LinkError::Line(_)));
    assert!(matches!(start(once(Nobody)), LinkError::Silent));
}

/// An upload that is cut off anywhere goes on where it stopped.
#[test]
fn an_upload_is_resumed() {
    struct Cut(Board, u32);
    impl Wire for Cut {
        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.1 = self.1.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            self.0.send(bytes)
        }
        fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
            self.0.receive(bytes)
        }
    }
    for requests in 2.. {
        let board = Board::default();
        let mut session = Session::open(Box::new(Cut(board.clone(), requests))).unwrap();
        let mut there = 0;
        let outcome = upload(&mut session, IMAGE, schema(), &mut |bytes| there = bytes);
        if outcome.is_ok() {
            assert!(requests > 10, "an image takes more than {requests} requests");
            return;
        }
        assert!(matches!(outcome, Err(LinkError::Line(_))), "after {requests} requests");
        // Nobody answered the last chunk, so it may or may not be counted.
        let mut session = Session::open(Box::new(board.clone())).unwrap();
        let resumed = upload(&mut session, IMAGE, schema(), &mut |_| {}).unwrap();
        assert_eq!(resumed, there, "after {requests} requests");
        session.configure(&configuration()).unwrap();
        assert_eq!(session.status().unwrap().safety, Safety::InSession);
    }
}
