//! `energyllm board` and `energyllm verify tegrastats | sysfs` as a user meets them: on synthetic boards
//! anywhere (`fixtures/board/synthetic`), on captured ones where they are at hand.

use host_runner::board::tree::{CapturedTree, FileTree};
use host_runner::verify::board::describe;
use proptest::prelude::*;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

fn energyllm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_energyllm")).args(arguments).output().unwrap()
}

fn synthetic() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/board/synthetic")
}

/// A synthetic board in a real folder, with absolute links as on a board.
fn board(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    CapturedTree::load(&synthetic().join(name)).unwrap().unpack(folder.path()).unwrap();
    folder
}

/// Runs with `--json` and expects this exit code.
fn json(arguments: &[&str], code: i32) -> Value {
    let output = energyllm(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["pass"], code == 0);
    assert!(object["figures"].as_object().unwrap().values().all(Value::is_number), "figures are numbers: {object}");
    object
}

/// What must be refused: exit code 2, nothing on stdout, and a sentence with these words.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = energyllm(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{arguments:?} said {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?} but said: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn synthetic_trees_are_read_whole() {
    let object = json(&["verify", "sysfs", text(&synthetic())], 0);
    assert_eq!(
        (&object["figures"]["cases"], &object["figures"]["unknown_quantities"]),
        (&11.into(), &0.into()),
        "{object}"
    );
    assert!(object["figures"]["values"].as_u64().unwrap() > 280);
}

#[test]
fn a_value_that_differs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.log"), "VDD_IN 10mW/10mW GPU@41.5C\nVDD_IN 20mW/20mW\n").unwrap();
    let expect = |second: u32, future: &str| {
        let lines = format!(
            r#"{{"lines": [{{"temps_c": {{"GPU": 41.5}}, "emc": null{future}}}, {{"rails_mw": {{"VDD_IN": {{"cur": {second}, "avg": 20, "peak": null}}}}}}]}}"#
        );
        std::fs::write(folder.path().join("a.expected.json"), lines).unwrap();
    };
    expect(20, r#", "moon_phase": 3"#);
    let object = json(&["verify", "tegrastats", text(folder.path())], 0);
    assert_eq!((&object["figures"]["cases"], &object["figures"]["unknown_quantities"]), (&2.into(), &1.into()));
    expect(25, "");
    let object = json(&["verify", "tegrastats", text(folder.path())], 1);
    let difference = &object["rows"][0]["differences"][0];
    assert_eq!((difference["place"].as_str(), &difference["found"]), (Some("line 2 /rails_mw/VDD_IN/cur"), &20.into()));
    std::fs::write(folder.path().join("a.log"), "VDD_IN 10mW/10mW GPU@41.5C\n").unwrap();
    json(&["verify", "tegrastats", text(folder.path())], 1);
}

#[test]
fn cases_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused(&["verify", "tegrastats", "/nowhere"], &["/nowhere"]);
    refused(&["verify", "sysfs", text(folder.path())], &["expected.json"]);
    std::fs::write(folder.path().join("a.json"), "{").unwrap();
    std::fs::write(folder.path().join("a.expected.json"), "{}").unwrap();
    refused(&["verify", "sysfs", text(folder.path())], &["a.json", "not a captured tree"]);
    std::fs::write(folder.path().join("a.log"), "x").unwrap();
    refused(&["verify", "tegrastats", text(folder.path())], &["a.expected.json", "lines"]);
    // Expected values of nothing would pass unseen.
    std::fs::write(folder.path().join("a.expected.json"), r#"{"lines": [{}]}"#).unwrap();
    std::fs::write(folder.path().join("lost.expected.json"), r#"{"lines": [{}]}"#).unwrap();
    refused(&["verify", "tegrastats", text(folder.path())], &["lost.expected.json", "lost.log"]);
}

#[test]
fn captured_boards() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or(beside, PathBuf::from).join("jetson");
    if !folder.exists() {
        let place = folder.display();
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: no {place}; set ENERGYLLM_SHARED_DATA to the folder of the captures");
        return;
    }
    for (what, cases) in [("tegrastats", 46), ("sysfs", 5)] {
        let object = json(&["verify", what, text(&folder)], 0);
        assert_eq!((&object["figures"]["cases"], &object["figures"]["unknown_quantities"]), (&cases.into(), &0.into()));
    }
}

#[test]
fn info_says_what_is_there_from_where_and_what_is_not() {
    let folder = board("agx_xavier_r35.json");
    let object = json(&["board", "info", "--root", text(folder.path())], 0);
    let wall = &object["wall"];
    assert_eq!(wall["board"]["release"], "R35.4.1 (JetPack 5)");
    assert_eq!(wall["board"]["module"], "p2888-0001");
    assert_eq!(wall["board"]["total_power"], "GPU+CPU+SOC+CV+VDDRQ+SYS5V");
    let channels = wall["channels"].as_array().unwrap();
    let of = |name: &str, quantity: &str| {
        channels.iter().find(|c| c["name"] == name && c["quantity"] == quantity).unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!((&of("CPU", "power")["value"], &of("CPU", "power")["role"]), (&1900.into(), &"total".into()));
    assert_eq!(of("gpu", "clock")["value"], 1_377_000);
    assert_eq!(of("oc5", "events")["value"], 12);
    assert!(of("gpu", "clock")["place"].as_str().unwrap().ends_with("17000000.gv11b/cur_freq"));
    let absent: Vec<&str> =
        wall["absent"].as_array().unwrap().iter().map(|absent| absent["what"].as_str().unwrap()).collect();
    assert!(absent.contains(&"tachometer") && absent.contains(&"memory clock"), "{absent:?}");
    let shown = String::from_utf8(energyllm(&["board", "info", "--root", text(folder.path())]).stdout).unwrap();
    for part in [
        "p2888-0001",
        "VDDRQ_mw",
        "i2c-1/1-0041/hwmon/hwmon3/in2_input",
        "soft limit   84.0 °C",
        "tachometer; looked for",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_machine_without_any_of_it_is_told_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "no power and no temperature",
        "/sys/class/devfreq",
        "/sys/class/thermal",
        "ina3221",
        "/sys/class/powercap",
        "pwmfan",
    ];
    refused(&["board", "info", "--root", text(folder.path())], &words);
    refused(&["board", "info", "--json", "--root", text(folder.path())], &words);
    refused(&["board", "watch", "--root", text(folder.path())], &["board info"]);
    refused(&["bench", "telemetry", "--root", text(folder.path())], &["board info"]);
    refused(&["board", "info", "--root", "/nowhere"], &["/nowhere"]);
    refused(&["board", "watch", "--interval", "0"], &["between 0.01 and 3600"]);
}

#[test]
fn watch_records_what_it_shows() {
    let folder = board("igx_orin_r36.json");
    let record = folder.path().join("record.csv");
    let object = json(
        &[
            "board",
            "watch",
            "--root",
            text(folder.path()),
            "--interval",
            "0.01",
            "--samples",
            "4",
            "--record",
            text(&record),
        ],
        0,
    );
    assert_eq!(object["wall"]["samples"], 4);
    assert_eq!(object["wall"]["highest_temperature_c"], 71.0);
    assert_eq!(object["wall"]["throttled_samples"], 4, "the case is too hot to touch");
    let mut reader = csv::Reader::from_path(&record).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4);
    let cell =
        |row: &csv::StringRecord, name: &str| row[header.iter().position(|column| column == name).unwrap()].to_owned();
    for row in &rows {
        assert_eq!(cell(row, "VDD_GPU_SOC_mw"), "2000");
        assert_eq!(cell(row, "VDD_CPU_CV_mw"), "-400");
        assert_eq!(cell(row, "gpu-thermal_mc"), "", "what is absent is empty, not 0");
        assert_eq!(cell(row, "hot-surface-alert_state"), "1");
    }
    let times: Vec<u64> = rows.iter().map(|row| cell(row, "time_us").parse().unwrap()).collect();
    assert!(times.is_sorted() && times[0] < times[3], "{times:?}");
    let lines =
        energyllm(&["board", "watch", "--root", text(folder.path()), "--interval", "0.01", "--samples", "2"]).stdout;
    let lines = String::from_utf8(lines).unwrap();
    assert!(lines.lines().next().unwrap().contains("5.10 W   71.0 °C GPU   306 MHz fan  70 THROTTLED"), "{lines}");
}

#[test]
fn watch_names_a_sensor_that_hangs_and_goes_on() {
    let folder = board("agx_xavier_r35.json");
    let zone = folder.path().join("sys/class/thermal/thermal_zone1/temp");
    // A pipe that nobody writes to: opening it for reading hangs as a driver does.
    std::fs::remove_file(&zone).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &zone, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let object = json(&["board", "watch", "--root", text(folder.path()), "--interval", "0.05", "--samples", "8"], 0);
    assert_eq!(object["wall"]["stuck"], serde_json::json!(["GPU-therm"]));
    assert_eq!(object["wall"]["highest_temperature_c"], 61.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_harmed_tree_is_described_all_the_same(
        name in prop::sample::select(vec!["agx_xavier_r35", "igx_orin_r36", "nano_r32", "thor_r39", "tx2_r32"]),
        harm in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(prop::sample::select(vec![
            "", "\u{0}", "-", "x y", "NC", "-9223372036854775808", "9223372036854775807", "99999999999999999999", "-256000", "0", "1e9", "é", "17 18",
        ]))), 1..40),
    ) {
        let text = std::fs::read_to_string(synthetic().join(format!("{name}.json"))).unwrap();
        let mut tree: Value = serde_json::from_str(&text).unwrap();
        for (place, content) in harm {
            let part = if place.index(8) == 0 { "links" } else { "files" };
            let files = tree[part].as_object_mut().unwrap();
            if files.is_empty() {
                continue;
            }
            let path = files.keys().nth(place.index(files.len())).unwrap().clone();
            match content {
                Some(content) => files.insert(path, content.into()),
                None => files.remove(&path),
            };
        }
        let tree: Arc<dyn FileTree> = Arc::new(CapturedTree::parse(&tree.to_string()).unwrap());
        let found = describe(&tree);
        prop_assert!(found["power"]["rails_mw"].is_object() && found["offline"].is_array());
    }
}

#[test]
fn a_sample_has_a_cost() {
    let folder = board("nano_r32.json");
    let object = json(&["bench", "telemetry", "--root", text(folder.path()), "--samples", "20"], 0);
    assert!(object["wall"]["sample_p99_ns"].as_u64() >= object["wall"]["sample_median_ns"].as_u64());
    assert!(object["figures"]["channels"].as_u64().unwrap() > 10);
}
