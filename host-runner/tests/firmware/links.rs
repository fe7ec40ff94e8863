//! Runs over real lines: whole ones, cut ones, and a host that is busy or hangs.

use super::board::{Board, output};
use controller_core::policy::{PolicyImage, schema_hash};
use controller_core::protocol::Configuration;
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use controller_core::telemetry::Telemetry;
use firmware_sim::app::HOST_TIMEOUT;
use firmware_sim::synthetic::{Turn, reward};
use host_runner::link::address::Address;
use host_runner::link::events::LinkEvent;
use host_runner::link::keeper::Assignment;
use host_runner::run::choice::Choice;
use host_runner::run::control::Control;
use host_runner::run::firmware::Firmware;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Runs the main job in small; its record as lines, and what was said.
fn run(folder: &Path, controller: &str, name: &str) -> (Vec<Value>, String) {
    let out = folder.join(name);
    let run = ["run", "--requests", "300", "--ambient", "60", "--controller", controller, "--out"];
    let result = output(&[&run[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let record = std::fs::read_to_string(out.join("record.jsonl")).unwrap();
    let lines = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, String::from_utf8(result.stderr).unwrap())
}

#[test]
fn a_run_over_a_serial_port_decides_as_one_in_process() {
    let folder = tempfile::tempdir().unwrap();
    let board = Board::on_a_pty();
    let (record, said) = run(folder.path(), &board.link, "there");
    assert!(said.contains("and this host 0;"), "{said}");
    assert_eq!(record, run(folder.path(), "inproc", "here").0);
}

/// Cuts the first connections after so many bytes each, then lets them live. The board behind it is
/// never reset.
fn cut_line(to: &str, mut lengths: Vec<usize>) -> String {
    let to = to.strip_prefix("tcp:").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    lengths.reverse();
    std::thread::spawn(move || {
        for host in listener.incoming().map_while(Result::ok) {
            let length = lengths.pop().unwrap_or(usize::MAX);
            let board = TcpStream::connect(&to).unwrap();
            let (mut from_board, mut to_host) = (board.try_clone().unwrap(), host.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut buffer = [0; 256];
                while let Ok(count @ 1..) = from_board.read(&mut buffer) {
                    if to_host.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
            let (mut from_host, mut to_board) = (host, board);
            std::thread::spawn(move || {
                let (mut buffer, mut carried) = ([0; 256], 0);
                while let Ok(count @ 1..) = from_host.read(&mut buffer) {
                    carried += count;
                    if carried > length || to_board.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                let _ = (from_host.shutdown(Shutdown::Both), to_board.shutdown(Shutdown::Both));
            });
        }
    });
    address
}

#[test]
fn a_run_goes_on_while_its_line_is_cut_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let board = Board::on_tcp();
    // The first is cut in mid-run, some turns behind the upload, the next ones while the missed turns are told.
    let line = cut_line(&board.link, vec![IMAGE.len() + 3_900, 600, 3_000]);
    let (mut record, said) = run(folder.path(), &line, "there");
    let mut events = Vec::new();
    for turn in &mut record {
        events.extend(turn.as_object_mut().unwrap().remove("link").and_then(|link| link.as_array().cloned()));
    }
    let events: Vec<Value> = events.into_iter().flatten().collect();
    assert_eq!(events[0]["event"], "lost", "{events:?}");
    assert!(said.contains("link lost, this host's own supervisor decides"), "{said}");
    assert!(events.iter().any(|event| event["event"] == "returned"), "{events:?}\n{said}");
    assert!(said.contains("the firmware decides again"), "{said}");
    assert_eq!(record, run(folder.path(), "inproc", "here").0, "the decisions are the same all the same");
}

const IMAGE: &[u8] = include_bytes!("../../../models/policies/service.elp");

fn firmware(board: &Board, longest_batch: Duration) -> Firmware<'static> {
    let header = PolicyImage::new_checked(IMAGE).unwrap().header().clone();
    let actions = header.actions.clone();
    let reward = reward(&actions);
    let governor = Choice::Learned.build(&actions, Path::new("service.elp"), IMAGE).unwrap();
    let own = controller_core::control::Controller::new(governor, actions.clone(), Limits::agx_orin(), reward.clone());
    let configuration = Configuration { actions, limits: Limits::agx_orin(), reward, fallback: None };
    let assignment = Assignment { image: IMAGE.to_vec(), schema: schema_hash(&header), configuration, longest_batch };
    Firmware::start(board.link.parse::<Address>().unwrap().opener(), assignment, own.unwrap()).unwrap()
}

fn turn(number: u32) -> (Turn, Telemetry) {
    let turn = Turn::draw(&mut Pcg32::new(number.into()), number);
    (turn, turn.telemetry)
}

/// A batch takes longer than the firmware waits for its host: heartbeats keep the outputs quiet. A
/// main loop that hangs is another matter: after the longest batch the heartbeats stop, and the dead
/// man's switch does its work.
#[test]
fn heartbeats_bridge_a_long_batch_and_do_not_vouch_for_a_loop_that_hangs() {
    let longest_batch = Duration::from_secs(3);
    let board = Board::on_tcp();
    board.wait_for(true);
    let mut firmware = firmware(&board, longest_batch);
    let quiet = board.wait_for(false);
    let (first, telemetry) = turn(1);
    firmware.step(first.now, &telemetry).unwrap();
    // Nobody settles.
    let active = board.wait_for(true);
    let held = Duration::from_micros(active.at_us - quiet.at_us);
    assert!(held >= longest_batch, "heartbeats kept the outputs quiet for {held:?} only");
    assert!(active.silent_us >= HOST_TIMEOUT.micros() - 1_000, "{active:?}");
    // The loop comes back: the same turn goes on, and what has been is told.
    firmware.settle(first.measurement).unwrap();
    let (second, telemetry) = turn(2);
    firmware.step(second.now, &telemetry).unwrap();
    assert_eq!(firmware.events(), [LinkEvent::HeartbeatsStopped, LinkEvent::SessionReopened]);
    board.wait_for(false);
    assert_eq!((firmware.report().by_firmware, firmware.report().by_host), (2, 0));
}

#[test]
fn a_reset_microcontroller_is_told_the_whole_run() {
    let board = Board::on_tcp();
    let address = board.link.strip_prefix("tcp:").unwrap().to_owned();
    let mut firmware = firmware(&board, Duration::from_mins(1));
    for number in 1..=20 {
        let (turn, telemetry) = turn(number);
        firmware.step(turn.now, &telemetry).unwrap();
        firmware.settle(turn.measurement).unwrap();
    }
    drop(board);
    let (twenty_first, telemetry) = turn(21);
    firmware.step(twenty_first.now, &telemetry).unwrap();
    assert!(!firmware.is_up());
    let board = Board::on_tcp_at(&address);
    while !firmware.is_up() {
        assert!(!firmware.report().excluded, "{:?}", firmware.events());
        std::thread::sleep(Duration::from_millis(5));
    }
    firmware.settle(twenty_first.measurement).unwrap();
    let events = firmware.events();
    assert!(matches!(events.first(), Some(LinkEvent::Lost { .. })), "{events:?}");
    assert_eq!(events.last(), Some(&LinkEvent::Returned { turns_told: 21 }), "{events:?}");
    let (turn, telemetry) = turn(22);
    firmware.step(turn.now, &telemetry).unwrap();
    assert_eq!((firmware.report().by_firmware, firmware.report().by_host), (21, 1));
    drop(board);
}
