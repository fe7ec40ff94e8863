//! The commands of the study, as somebody types them: what they print, what they write, and what they say to bad input.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn energyllm(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).args(arguments).output().unwrap()
}

fn object(arguments: &[&str]) -> Value {
    let output = energyllm(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Exit code 2, a sentence with these words, and no panic.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = energyllm(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}: {said}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn with(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self.at(name)
    }

    /// A small grid of the simulated board.
    fn grid(&self) -> String {
        let out = self.at("grid.csv");
        let object =
            object(&["sweep", "--prefill", "0,5,10", "--decode", "0-10:2", "--batch", "1,8,32", "--out", &out]);
        assert_eq!((&object["simulated"], &object["figures"]["rows"]), (&true.into(), &54.into()));
        out
    }
}

fn png(path: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG"))
}

#[test]
fn sweep_refuses_what_is_not_there() {
    let folder = Folder::new();
    let out = folder.at("x.csv");
    refused(&["sweep", "--board", "nowhere.toml", "--out", &out], &["nowhere.toml"]);
    refused(&["sweep", "--decode", "11", "--out", &out], &["--decode 11", "0 to 10"]);
    refused(&["sweep", "--batch", "0", "--out", &out], &["--batch 0"]);
    refused(&["sweep", "--decode", "5-2", "--out", &out], &["5-2"]);
    refused(&["sweep", "--fan", "300", "--out", &out], &["300"]);
    refused(&["sweep", "--apply", "--out", &out], &["add --board jetson"]);
    refused(&["sweep", "--interference", "0.9", "--out", &out], &["--interference"]);
    // A file that is there and is no sweep is not touched.
    let mine = folder.with("mine.csv", "a,b\n1,2\n");
    refused(&["sweep", "--decode", "0", "--out", &mine], &["manifest"]);
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "a,b\n1,2\n");
    assert!(!PathBuf::from(out).exists());
}

#[test]
fn a_real_board_is_refused_where_it_must_be_set_back() {
    for command in [&["train", "pretrain"][..], &["freeze", "x.ckpt"]] {
        refused(&[command, &["--board", "jetson"]].concat(), &["set back"]);
    }
    refused(&["eval", "--suite", "fan-off", "--board", "jetson"], &["--apply"]);
}

#[test]
fn the_board_is_chosen_by_word_or_file() {
    let folder = Folder::new();
    let sweep = |board: &str, out: &str| {
        let out = folder.at(out);
        object(&["sweep", "--board", board, "--decode", "3", "--prefill", "3", "--batch", "4", "--out", &out]);
        std::fs::read(&out).unwrap()
    };
    assert_eq!(sweep("sim", "word.csv"), sweep("models/boards/agx-orin-hf.toml", "file.csv"));
}

#[test]
fn calibrate_makes_a_profile_of_a_sweep_and_says_what_is_wrong_with_others() {
    let folder = Folder::new();
    let (grid, out) = (folder.grid(), folder.at("fitted"));
    let object = object(&["calibrate", &grid, "--out", &out]);
    assert_eq!(object["command"], "calibrate");
    let profile = std::fs::read_to_string(format!("{out}/profile.toml")).unwrap();
    assert!(profile.contains("[plant]"), "{profile}");
    assert!(png(&format!("{out}/residuals.png")));
    refused(&["calibrate", &folder.at("nowhere.csv")], &["nowhere.csv"]);
    refused(&["calibrate", &folder.with("no.csv", "a,b\n1,2\n")], &["no.csv"]);
    refused(&["calibrate"], &[]);
}

#[test]
fn dataset_converts_counts_and_adds_entropy() {
    let folder = Folder::new();
    let prompts = folder.at("prompts.jsonl");
    let saved = "host-runner/tests/fixtures/datasets/saved";
    object(&["dataset", "convert", saved, "-o", &prompts]);
    assert_eq!(std::fs::read_to_string(&prompts).unwrap().lines().count(), 2);
    refused(&["dataset", "convert", "/nowhere", "-o", &prompts], &["/nowhere"]);
    let damaged = folder.with("damaged.parquet", "PAR1 and nothing of the kind PAR1");
    refused(&["dataset", "convert", &damaged, "-o", &prompts], &["damaged.parquet"]);

    let (grid, more) = (folder.grid(), folder.at("more.csv"));
    let stats = object(&["dataset", "stats", &grid, "--out", &folder.at("figures")]);
    assert_eq!(stats["figures"]["rows"], 54);
    object(&["dataset", "synth-entropy", &grid, "-o", &more, "--seed", "7"]);
    let first = std::fs::read(&more).unwrap();
    object(&["dataset", "synth-entropy", &grid, "-o", &more, "--seed", "7"]);
    assert_eq!(std::fs::read(&more).unwrap(), first, "the same seed gives the same file");
    let header = String::from_utf8(first).unwrap().lines().next().unwrap().to_owned();
    assert!(header.contains("entropy"), "{header}");
    refused(&["dataset", "stats", &folder.with("no.csv", "a\n1\n")], &["no.csv"]);
    refused(&["dataset", "synth-entropy", &folder.at("gone.csv"), "-o", &more], &["gone.csv"]);
}

#[test]
fn plot_draws_what_a_file_is_for_and_leaves_the_file_alone() {
    let folder = Folder::new();
    let grid = folder.grid();
    let before = std::fs::read(&grid).unwrap();
    for kind in ["dataset", "top-actions", "configurations"] {
        let figure = folder.at(&format!("{kind}.png"));
        let output = energyllm(&["plot", &grid, "--kind", kind, "-o", &figure]);
        assert!(output.status.success() && png(&figure), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let vector = folder.at("a.svg");
    assert!(energyllm(&["plot", &grid, "-o", &vector]).status.success());
    let drawn = std::fs::read_to_string(&vector).unwrap();
    assert!(drawn.contains("<svg") && drawn.contains("simulated board agx-orin-hf, seed 1"), "the origin is named");
    assert_eq!(std::fs::read(&grid).unwrap(), before);
    refused(&["plot", &grid, "--kind", "overhead", "-o", &vector], &["cannot be drawn as overhead"]);
    refused(&["plot", &folder.with("no.csv", "a,b\n1,2\n")], &["no.csv", "fits no figure"]);
    refused(&["plot", &folder.with("empty.csv", "a,b\n")], &["no rows"]);
    refused(&["plot", &folder.at("gone.csv")], &["gone.csv"]);
}

#[test]
fn overhead_counts_every_second_and_draws() {
    let folder = Folder::new();
    let out = folder.at("overhead");
    let object = object(&["overhead", "--evaluations", "12", "--grid-stride", "500", "--out", &out]);
    assert_eq!(object["command"], "overhead");
    assert!(png(&format!("{out}/overhead.png")) && Path::new(&format!("{out}/steps.csv")).is_file());
    refused(&["overhead", "--evaluations", "0", "--out", &out], &["evaluations"]);
}

#[test]
fn eval_fan_off_writes_two_files_a_governor() {
    let folder = Folder::new();
    let out = folder.at("fan-off");
    let object = object(&[
        "eval",
        "--suite",
        "fan-off",
        "--governor",
        "learned",
        "--bare",
        "max",
        "--requests",
        "12",
        "--fan-off-at",
        "4",
        "--out",
        &out,
    ]);
    assert_eq!((&object["simulated"], object["rows"].as_array().map(Vec::len)), (&true.into(), Some(2)));
    let files = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut tables: Vec<String> =
        files.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "csv")).collect();
    tables.sort();
    assert_eq!(
        tables,
        [
            "FAN_OFF_RESULTS_bare-max.csv",
            "FAN_OFF_RESULTS_learned.csv",
            "FAN_OFF_TEMPERATURES_bare-max.csv",
            "FAN_OFF_TEMPERATURES_learned.csv"
        ]
    );
    assert!(png(&format!("{out}/fan-off.png")) && png(&format!("{out}/fan-off-trace.png")));
    refused(&["eval", "--suite", "fan-off", "--governor", "nobody", "--out", &out], &["nobody"]);
    refused(&["eval", "--suite", "fan-off", "--requests", "0", "--out", &out], &["--requests"]);
    refused(&["eval", "--suite", "fan-off", "--requests", "5", "--out", &out], &["--fan-off-at 50", "never stop"]);
}
