//! `board`, `fan` and `run --board jetson` as a user meets them, on a board that is a folder.

#[path = "board_act/synthetic.rs"]
mod synthetic;

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
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

/// A sensor that hangs in its driver while the fan stands still: nobody knows how hot it is, so the fan goes back.
#[test]
fn a_fan_that_stands_still_does_not_wait_for_a_sensor_that_hangs() {
    let board = board();
    let zone = board.path().join(synthetic::TJ.trim_start_matches('/'));
    let before = synthetic::contents(board.path(), &zone);
    std::fs::remove_file(&zone).unwrap();
    // A pipe that nobody writes to: opening it for reading hangs as a driver does.
    rustix::fs::mkfifoat(rustix::fs::CWD, &zone, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.args(["fan", "off", "--apply", "--for", "600", "--root"]).arg(board.path()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("the fan stands still, and nobody looks at it");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("no temperature can be read"), "{said}");
    // The doctor names it, and does not wait for it either.
    let output = energyllm(board.path(), &["board", "doctor", "--json"]);
    let rows = json(&output)["rows"].as_array().unwrap().clone();
    let hangs = |row: &Value| row["severity"] == "fault" && row["says"].as_str().unwrap().contains("tj-thermal");
    assert!(output.status.code() == Some(1) && rows.iter().any(hangs), "{rows:?}");
    // What there is is shown all the same, and what hangs is named.
    let output = energyllm(board.path(), &["board", "info"]);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && said.contains("VDD_"), "{output:?}");
    assert!(said.lines().any(|line| line.starts_with("tj-thermal_mc") && line.contains("hangs")), "{said}");
    assert!(said.contains(&format!("hangs: {}", synthetic::TJ)), "{said}");
    let output = energyllm(board.path(), &["board", "info", "--json"]);
    assert_eq!(json(&output)["wall"]["stuck"], serde_json::json!(["tj-thermal"]));
    std::fs::remove_file(&zone).unwrap();
    assert_eq!(synthetic::contents(board.path(), &board.path().join("run")), before);
}

/// A signal is a signal, and no time that is over.
#[test]
fn a_fan_that_stands_still_goes_back_at_a_signal() {
    let board = board();
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.args(["fan", "off", "--apply", "--for", "600", "--root"]).arg(board.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What it says when it watches for signals.
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("stands still"), "{said}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("it was interrupted"), "{said}");
}

#[test]
fn a_drive_out_of_range_is_told() {
    let board = board();
    let drive = board.path().join(synthetic::FAN.trim_start_matches('/')).join("hwmon2/pwm1");
    std::fs::write(&drive, "300\n").unwrap();
    let said = String::from_utf8(energyllm(board.path(), &["fan", "status"]).stdout).unwrap();
    assert!(said.contains("says 300, which is out of range") && !said.contains("300 of 255"), "{said}");
}

/// Root gives the board back, and whoever can write the state must not be able to have any file written.
#[test]
fn a_state_that_names_other_files_does_not_have_them_written() {
    let board = board();
    assert!(energyllm(board.path(), &["fan", "on", "--apply"]).status.success());
    let state = board.path().join("run/energyllm/baseline.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    let victim = board.path().join("etc/victim");
    std::fs::create_dir_all(victim.parent().unwrap()).unwrap();
    std::fs::write(&victim, "as it was").unwrap();
    kept["fans"].as_array_mut().unwrap().push(serde_json::json!({
        "pwm": {"path": "/sys/../etc/victim", "text": "0"}, "control": null,
    }));
    std::fs::write(&state, kept.to_string()).unwrap();
    let output = energyllm(board.path(), &["board", "restore"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("/sys/../etc/victim"), "{said}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "as it was");
    // The fan is back all the same.
    let drive = board.path().join(synthetic::FAN.trim_start_matches('/')).join("hwmon2/pwm1");
    assert_eq!(std::fs::read_to_string(drive).unwrap(), kept["fans"][0]["pwm"]["text"].as_str().unwrap());
}

/// What the unit forbids must not be what a run needs: GPU devices, `/sys`, code that CUDA compiles, the state of a power mode.
#[test]
fn the_unit_leaves_a_run_what_it_needs() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/energyllm.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let settings: Vec<(&str, &str)> =
        unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    let value = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    // ProtectClock= lists one device, and with a list all others are closed (systemd.exec(5), DeviceAllow=).
    for closes in ["ProtectClock", "DeviceAllow", "DevicePolicy", "PrivateDevices", "ProtectKernelTunables"] {
        assert_eq!(value(closes), None, "{closes}= takes the GPU or /sys away");
    }
    assert_eq!(value("MemoryDenyWriteExecute"), None, "CUDA compiles");
    assert!(value("ReadWritePaths").is_some_and(|paths| paths.contains("/var/lib/nvpmodel")));
    // A language model of some gigabytes is read from an SD card before a run is ready.
    let seconds: u32 = value("TimeoutStartSec").unwrap().parse().unwrap();
    assert!(seconds >= 300 && value("StartLimitBurst").is_some());
    let stop = value("ExecStopPost").unwrap();
    assert!(stop.starts_with('+') && stop.ends_with("board restore"), "{stop}");
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
    assert!((dry["figures"]["mean_power_w"].as_f64().unwrap() - 16.0).abs() < 0.1, "{dry}");
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
