//! `energyllm firmware` as a user meets it.

use super::board::{Board, output, workspace};
use serde_json::Value;

fn json(arguments: &[&str]) -> Value {
    let output = output(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], words: &[&str]) {
    let output = output(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?} said {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?} but said: {said}");
    }
}

const IMAGE: &str = "models/policies/service.elp";

#[test]
fn a_new_microcontroller_gets_its_policy() {
    for board in [Board::on_tcp(), Board::on_a_pty()] {
        let command = |name, extra: &[&'static str]| {
            let mut arguments = vec!["firmware", name];
            arguments.extend(extra);
            arguments.extend(["--link", board.link.as_str()]);
            arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let json = |name, extra: &[&'static str]| {
            let mut arguments = command(name, extra);
            arguments.push("--json".to_owned());
            json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let text =
            |name, extra: &[&'static str]| text(&command(name, extra).iter().map(String::as_str).collect::<Vec<_>>());
        let ping = json("ping", &["--count", "3"]);
        assert_eq!((&ping["command"], &ping["figures"]["heartbeats"]), (&"firmware ping".into(), &3.into()));
        assert_eq!((&ping["rows"][0]["in_charge"], &ping["simulated"]), (&"two-rule".into(), &false.into()));
        assert!(text("ping", &[]).contains("no policy, has not been told its board"));

        let flashed = json("flash-image", &[IMAGE]);
        let bytes = std::fs::metadata(workspace().join(IMAGE)).unwrap().len();
        assert_eq!((&flashed["figures"]["image_bytes"], &flashed["pass"]), (&bytes.into(), &true.into()));
        let kinds =
            |log: &Value| log["rows"].as_array().unwrap().iter().map(|row| row["kind"].clone()).collect::<Vec<_>>();
        let log = json("log", &[]);
        assert_eq!(kinds(&log)[..2], [Value::from("Boot"), "FellBackToTwoRule".into()], "{log}");
        assert!(kinds(&log).contains(&serde_json::json!({ "UploadBegun": { "length": bytes } })), "{log}");
        assert_eq!(json("log", &["--from", "4"])["rows"][0]["number"], 4);
        assert!(text("log", &[]).contains("a host opened session"));

        let status = json("status", &[]);
        assert!(status["wall"]["greetings"].as_u64().unwrap() >= 6, "{status}");
        assert_eq!(status["rows"][0]["supervisor"], Value::Null);
        assert!(text("status", &[]).contains("worst jitter us"));
    }
}

#[test]
fn what_is_not_there_or_not_right_is_said() {
    refused(&["firmware", "ping"], &["--link"]);
    refused(&["firmware", "ping", "--link", "ttyACM0"], &["serial:/dev/ttyACM0", "tcp:HOST:PORT"]);
    refused(&["firmware", "ping", "--link", "serial:/dev/no-such-port"], &["/dev/no-such-port"]);
    // Nobody listens on port 1.
    refused(&["firmware", "status", "--link", "tcp:127.0.0.1:1"], &["tcp:127.0.0.1:1", "refused"]);
    refused(&["run", "--controller", "tcp:127.0.0.1:1", "--requests", "1"], &["tcp:127.0.0.1:1"]);
    refused(&["run", "--longest-batch", "0"], &["--longest-batch"]);
    refused(&["firmware", "states", "--json"], &["no --json"]);
    let board = Board::on_tcp();
    let refused_image = |image: &str, word: &str| {
        refused(&["firmware", "flash-image", image, "--link", &board.link], &[image, word]);
    };
    refused_image("no-such.elp", "No such file");
    refused_image("README.md", "image");
    assert!(text(&["firmware", "states"]).starts_with("stateDiagram-v2"));
}

/// A port at which somebody answers something else.
#[test]
fn rubbish_is_no_firmware() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let link = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut host in listener.incoming().map_while(Result::ok) {
            use std::io::Write as _;
            while host.write_all(b"220 ready\r\n\0").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    });
    refused(&["firmware", "ping", "--link", &link], &["no firmware at", "does not answer"]);
}
