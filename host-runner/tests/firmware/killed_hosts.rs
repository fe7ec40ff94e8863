//! The dead man's switch: hosts that are killed and a main loop that hangs. Every time is one of the
//! microcontroller's own clock.
//!
//! `KILLS=100 cargo test --release -p host-runner --test firmware killed -- --nocapture`, or
//! `./x kill`, kills a hundred hosts; without it a few are enough for every day.

use super::board::{Board, energyllm, lines, output};
use controller_core::rng::Pcg32;
use firmware_sim::app::{HOST_TIMEOUT, PERIOD};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

fn kills(few: u32, share: u32) -> u32 {
    let kills = std::env::var("KILLS").ok().map(|kills| kills.parse::<u32>().expect("KILLS is a number"));
    kills.map_or(few, |kills| kills.div_ceil(share))
}

/// Kills hosts at random moments, half of them while they answer prompts and half soon after their
/// greeting.
fn kill_hosts(board: &Board, kills: u32, seed: u64) {
    let mut rng = Pcg32::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let booted = board.wait_for(true);
    let (mut last_us, mut reactions_us, mut late_us) = (booted.at_us, Vec::new(), 0);
    for kill in 0..kills {
        let run = ["run", "--requests", "2000", "--fan-off-at", "never", "--controller", &board.link, "--out", out];
        let mut host = energyllm(&run).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = lines(host.stderr.take().unwrap());
        let quiet = board.wait_for(false);
        if kill % 2 == 0 {
            said.iter().find(|line| line.starts_with("learned ")).expect("the host answers prompts");
        }
        std::thread::sleep(Duration::from_millis(rng.below(1000).into()));
        host.kill().unwrap();
        assert_eq!(host.wait().unwrap().signal(), Some(9), "it was killed in mid-run");
        let active = board.wait_for(true);
        // The host may be killed in mid-frame, so its last sign of life is not behind the last byte.
        let allowed = HOST_TIMEOUT.micros() + PERIOD.micros() + active.late_us;
        assert!(active.silent_us <= allowed, "kill {kill}: {active:?}, more than {allowed} us");
        assert!(last_us < quiet.at_us && quiet.at_us < active.at_us, "kill {kill}: its clock was never reset");
        last_us = active.at_us;
        reactions_us.push(active.silent_us);
        late_us = late_us.max(active.late_us);
    }
    // And the next host decides with it as if nothing had been.
    let record = |controller: &str, name: &str| {
        let out = folder.path().join(name);
        let run = ["run", "--requests", "60", "--controller", controller, "--out", out.to_str().unwrap()];
        let result = output(&run);
        assert_eq!(result.status.code(), Some(0), "{result:?}");
        (std::fs::read_to_string(out.join("record.jsonl")).unwrap(), String::from_utf8(result.stderr).unwrap())
    };
    let (there, said) = record(&board.link, "there");
    assert!(said.contains("and this host 0; the link was lost 0 times"), "{said}");
    assert_eq!(there, record("inproc", "here").0);
    assert!(last_us < board.wait_for(true).at_us, "its clock was never reset");
    reactions_us.sort_unstable();
    println!(
        "{kills} hosts killed, {}: outputs active {} to {} us after the last byte, median {}; passes late by up to {late_us} us",
        board.link,
        reactions_us[0],
        reactions_us[reactions_us.len() - 1],
        reactions_us[reactions_us.len() / 2],
    );
}

#[test]
fn killed_hosts_on_tcp() {
    kill_hosts(&Board::on_tcp(), kills(4, 2), 1);
}

#[test]
fn killed_hosts_on_a_pty() {
    kill_hosts(&Board::on_a_pty(), kills(2, 2), 2);
}

#[test]
fn killed_hosts_of_the_emulated_microcontroller() {
    if let Some(board) = Board::in_qemu() {
        kill_hosts(&board, kills(2, 5), 3);
    }
}
