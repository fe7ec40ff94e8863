//! `board`, `fan` and `run --board jetson` as a user meets them, on a board that is a folder.

#[path = "board_act/synthetic.rs"]
mod synthetic;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn board() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    synthetic::unpack(folder.path());
    folder
}

fn energyllm(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    command.args(arguments).arg("--root").arg(root).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn refused(root: &Path, arguments: &[&str], words: &[&str]) {
    let output = energyllm(root, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?} but said: {said}");
    }
}

#[test]
fn a_machine_without_any_of_it_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["board", "doctor"], &["no Jetson", "/sys/class/devfreq"]);
    refused(folder.path(), &["run", "--board", "jetson"], &["no Jetson", "--board"]);
    refused(folder.path(), &["fan", "status"], &["no fan", "pwmfan"]);
    refused(&folder.path().join("nowhere"), &["board", "doctor"], &["nowhere"]);
    refused(folder.path(), &["run", "--apply"], &["--board jetson"]);
}

#[test]
fn the_doctor_finds_a_board_in_order_and_what_is_not() {
    let board = board();
    let healthy = json(&energyllm(board.path(), &["board", "doctor", "--json"]));
    assert_eq!((&healthy["pass"], &healthy["figures"]["faults"]), (&true.into(), &0.into()), "{healthy}");
    std::fs::write(board.path().join(synthetic::GPU.trim_start_matches('/')).join("available_frequencies"), "\n")
        .unwrap();
    let output = energyllm(board.path(), &["board", "doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let rows = json(&output)["rows"].as_array().unwrap().clone();
    assert!(rows.iter().any(|row| row["severity"] == "fault" && row["mend"].is_string()), "{rows:?}");
}

#[test]
fn the_fan_is_taken_shown_and_given_back() {
    let board = board();
    let before = synthetic::contents(board.path(), Path::new(""));
    let fan = |arguments: &[&str]| energyllm(board.path(), &[&["fan"], arguments].concat());
    assert!(String::from_utf8(fan(&["on"]).stdout).unwrap().contains("dry run"));
    assert!(String::from_utf8(fan(&["off"]).stdout).unwrap().contains("dry run"));
    assert_eq!(synthetic::contents(board.path(), Path::new("")), before);
    assert_eq!(json(&fan(&["status", "--json"]))["figures"]["pwm"], 66);
    assert!(fan(&["on", "--apply"]).status.success());
    let status = json(&fan(&["status", "--json"]));
    assert_eq!((&status["figures"]["pwm"], &status["wall"]["driven_by"]), (&255.into(), &"energyllm".into()));
    assert!(fan(&["auto"]).status.success());
    assert_eq!(synthetic::contents(board.path(), &board.path().join("run")), before);
    assert!(fan(&["off", "--apply", "--for", "0"]).status.success());
    assert_eq!(synthetic::contents(board.path(), &board.path().join("run")), before);
}

#[test]
fn a_dry_run_measures_and_writes_nothing() {
    let (board, out) = (board(), tempfile::tempdir().unwrap());
    let before = synthetic::contents(board.path(), Path::new(""));
    let run = |more: &[&str]| {
        let arguments =
            ["run", "--board", "jetson", "--requests", "12", "--rate", "50", "--governor", "max", "--json", "--out"];
        json(&energyllm(board.path(), &[&arguments[..], &[out.path().to_str().unwrap()], more].concat()))
    };
    let dry = run(&[]);
    assert_eq!((&dry["simulated"], &dry["wall"]["board"]["applied"]), (&false.into(), &false.into()));
    assert_eq!(dry["wall"]["board"]["power_rails"], "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0");
    // The folder says 16 W, all the time.
    assert_eq!(dry["figures"]["mean_power_w"].as_f64().unwrap().round(), 16.0, "{dry}");
    assert_eq!(synthetic::contents(board.path(), Path::new("")), before);
    let applied = run(&["--apply"]);
    assert_eq!(applied["wall"]["board"]["applied"], true);
    assert_eq!(applied["rows"][0]["incidents"]["clock_failed"], 0, "{applied}");
    assert_eq!(synthetic::contents(board.path(), &board.path().join("run")), before);
    let record = std::fs::read_to_string(out.path().join("record.jsonl")).unwrap();
    let header: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    assert_eq!((&header["simulated"], &header["real"]["applied"]), (&false.into(), &true.into()));
    assert_eq!(
        (&header["ambient_c"], &header["board"]),
        (&Value::Null, &"NVIDIA Jetson AGX Orin Developer Kit".into())
    );
}
