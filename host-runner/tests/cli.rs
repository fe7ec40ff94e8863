//! The program as a user meets it: the main job, its record, and what bad input gets to hear.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::program::{energyllm, json, output, refused, workspace};

/// Runs the main job in small and returns its record.
fn record(folder: &Path, requests: &str, controller: &str) -> Vec<u8> {
    let out = folder.join(controller);
    let arguments = ["run", "--requests", requests, "--ambient", "60", "--controller", controller, "--out"];
    let result = output(&[&arguments[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let said = String::from_utf8(result.stderr).unwrap();
    assert_eq!(said.contains("the firmware decided"), controller != "inproc", "{said}");
    std::fs::read(out.join("record.jsonl")).unwrap()
}

/// The microcontroller's program decides as the controller in this process, over the whole record.
#[test]
fn the_firmware_decides_byte_for_byte_the_same() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(record(folder.path(), "200", "inproc"), record(folder.path(), "200", "firmware"));
    refused(&["run", "--controller", "serial"], &["inproc, firmware, qemu or a link"]);
    refused(&["run", "--controller", "firmware", "--governor", "max"], &["decides by a policy"]);
    refused(&["run", "--controller", "qemu", "--firmware", "no-such-file"], &["no-such-file", "./x firmware"]);
}

/// And so does the same program on an emulated Cortex-M4.
#[test]
fn the_emulated_microcontroller_decides_byte_for_byte_the_same() {
    let firmware = workspace().join("target/thumbv7em-none-eabihf/firmware/controller");
    if !firmware.is_file() || Command::new("qemu-system-arm").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs qemu-system-arm and {}; `./x firmware` has both", firmware.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(record(folder.path(), "60", "inproc"), record(folder.path(), "60", "qemu"));
}

#[test]
fn the_same_seed_gives_the_same_json_and_the_same_record() {
    let folder = tempfile::tempdir().unwrap();
    let once = |name: &str| {
        let out = folder.path().join(name);
        let result = output(&["run", "--seed", "1", "--requests", "60", "--json", "--out", out.to_str().unwrap()]);
        assert_eq!(result.status.code(), Some(0), "{result:?}");
        let mut object = json(&result);
        assert!(object.as_object_mut().unwrap().remove("wall").is_some());
        let png = std::fs::read(out.join("run.png")).unwrap();
        assert_eq!(&png[1..4], b"PNG");
        (object, std::fs::read_to_string(out.join("record.jsonl")).unwrap())
    };
    let ((first, first_record), (second, second_record)) = (once("a"), once("b"));
    assert_eq!(first, second);
    assert_eq!(first_record, second_record);

    assert_eq!(first["simulated"], true);
    assert_eq!(first["figures"]["requests"], 60);
    assert!(first["figures"].as_object().unwrap().values().all(Value::is_number), "figures are numbers");
    let lines: Vec<Value> = first_record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["record"], "energyllm-run");
    assert_eq!(lines.last().unwrap()["ending"], "complete");
    let turns = &lines[1..lines.len() - 1];
    let answered: usize = turns.iter().map(|turn| turn["answers"].as_array().unwrap().len()).sum();
    assert_eq!(answered, 60);
    let right =
        turns.iter().flat_map(|turn| turn["answers"].as_array().unwrap()).filter(|a| a["right"] == true).count();
    assert!(right >= 50, "the model really answers: {right} of 60 right");
    let energy: u64 = turns.iter().map(|turn| turn["measurement"]["energy_uj"].as_u64().unwrap()).sum();
    let tokens: u64 = turns.iter().map(|turn| turn["measurement"]["generated_tokens"].as_u64().unwrap()).sum();
    let per_token = first["figures"]["energy_per_token_j"].as_f64().unwrap();
    assert!((energy as f64 / 1e6 / tokens as f64 - per_token).abs() < 1e-9, "the figure follows from the record");
}

#[test]
fn your_own_prompts_go_in_and_answers_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let (prompts, out) = (folder.path().join("mine.txt"), folder.path().join("out"));
    std::fs::write(&prompts, "What is 2 plus 3?\nReverse these words: river, cloud.\n").unwrap();
    let result = output(&[
        "run",
        "--prompts",
        prompts.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--fan-off-at",
        "never",
        "--governor",
        "fixed:7,6,32,16",
    ]);
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let shown = String::from_utf8(result.stdout).unwrap();
    assert!(shown.contains("What is 2 plus 3?") && shown.contains("simulated board"), "{shown}");
    let record = std::fs::read_to_string(out.join("record.jsonl")).unwrap();
    assert!(record.contains("cloud, river"), "{record}");
}

#[test]
fn any_governors_can_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let run = |tail: &[&str]| output(&[&["run", "--requests", "12", "--out", out][..], tail].concat());
    let result = run(&["--governor", "max", "--json", "--compare", "ondemand", "capped:612", "learned", "max"]);
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let rows = json(&result)["rows"].clone();
    let names: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["governor"].as_str().unwrap()).collect();
    assert_eq!(names, ["max", "ondemand", "capped:612", "learned"]);
    assert!(folder.path().join("record-capped-612.jsonl").exists());
    assert_eq!(rows[3]["figures"]["fallbacks"], 0);

    let shown = String::from_utf8(run(&["--compare", "max", "ondemand", "race-to-idle", "two-rule"]).stdout).unwrap();
    assert!(shown.contains("J/token") && shown.contains("race-to-idle"), "one row per governor:\n{shown}");
}

#[test]
fn a_hold_without_end_is_a_failure_not_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let result = output(&["run", "--requests", "5", "--limit", "45", "--json", "--out", out]);
    assert_eq!(result.status.code(), Some(1), "{result:?}");
    assert_eq!(
        (json(&result)["pass"].clone(), json(&result)["rows"][0]["ending"].clone()),
        (false.into(), "cannot_cool".into())
    );
}

#[test]
fn ctrl_c_keeps_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut child = energyllm(&["run", "--requests", "1000000", "--out", out.to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The record has its temporary name as soon as the first batch can start.
    while std::fs::read_dir(&out).map_or(0, Iterator::count) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130), "neither a result nor a failure");
    let record = std::fs::read_to_string(out.join("record.jsonl")).unwrap();
    let last: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    assert_eq!(last["ending"], "interrupted");
    let names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".partial")), "{names:?}");
}

#[test]
fn bad_files_are_named_with_cause_and_mend() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let shipped = |name: &str| std::fs::read(workspace().join("models").join(name)).unwrap();

    let model = shipped("tiny-llama/tiny-llama-q8_0.gguf");
    refused(&["run", "--out", &out, "--model", "nowhere.gguf"], &["nowhere.gguf", "No such file"]);
    refused(&["run", "--out", &out, "--model", &file("cut.gguf", &model[..model.len() / 2])], &["cut.gguf"]);
    refused(&["run", "--out", &out, "--model", &file("junk.gguf", b"not a model at all")], &["junk.gguf", "GGUF"]);

    let mut image = shipped("policies/service.elp");
    refused(&["run", "--out", &out, "--policy", "nowhere.elp"], &["nowhere.elp"]);
    refused(
        &["run", "--out", &out, "--policy", &file("cut.elp", &image[..image.len() - 1])],
        &["cut.elp", "cut short"],
    );
    let middle = image.len() / 2;
    image[middle] ^= 1;
    refused(&["run", "--out", &out, "--policy", &file("flip.elp", &image)], &["flip.elp", "CRC-32"]);

    let board = String::from_utf8(shipped("boards/agx-orin-hf.toml")).unwrap();
    let fewer = board.replace("batch = [1, 2, 4, 8, 12, 16, 24, 32]", "batch = [1, 2, 4]");
    refused(
        &["run", "--out", &out, "--board", &file("static.toml", fewer.as_bytes())],
        &["static.toml", "[fallback]", "the batch"],
    );
    let fewer = fewer.replace("batch = 32,", "batch = 4,");
    refused(
        &["run", "--out", &out, "--board", &file("fewer.toml", fewer.as_bytes())],
        &["service.elp", "8 values of the batch", "3"],
    );
    let wrong = board.replace("soft_margin_mk = 4000", "soft_margin_mk = 1000");
    refused(
        &["run", "--out", &out, "--board", &file("limits.toml", wrong.as_bytes())],
        &["limits.toml", "[limits]", "soft margin"],
    );
    refused(&["run", "--out", &out, "--compare", "fast"], &["no governor 'fast'", "ondemand", "capped:MHZ"]);
    refused(&["run", "--out", &out, "--governor", "capped:30W"], &["'capped:30W'", "whole number"]);
    refused(&["run", "--out", &out, "--governor", "capped:100"], &["100 MHz", "306 MHz"]);
    refused(&["run", "--out", &out, "--board", &file("x.toml", b"[plant]\nname = 3\n")], &["x.toml"]);

    refused(&["run", "--out", &out, "--prompts", "nowhere.txt"], &["nowhere.txt"]);
    refused(&["run", "--out", &out, "--prompts", &file("empty.txt", b"\n \n")], &["empty.txt", "no prompts"]);
    refused(&["run", "--out", &out, "--prompts", &file("bad.jsonl", b"{\"prompt\": 1}\n")], &["bad.jsonl", "line 1"]);
    let long = "word ".repeat(2000);
    refused(&["run", "--out", &out, "--prompts", &file("long.txt", long.as_bytes())], &["prompt 1", "--context"]);

    refused(&["run", "--out", &format!("{}/below", file("plain", b""))], &["plain/below", "--out"]);
    refused(&["verify", "plant", &file("log.csv", b"a,b,c\n1,2,3\n")], &["log.csv", "column"]);
    assert!(!Path::new(&out).join("record.jsonl").exists(), "nothing half-written");
}

/// llama.cpp aborted the process on a token that a NUL made equal to another one.
#[test]
fn a_nul_in_a_token_is_refused_before_llama_cpp_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = std::fs::read(workspace().join("models/tiny-llama/tiny-llama-f16.gguf")).unwrap();
    model[8193..8197].fill(0);
    let path = folder.path().join("nul.gguf");
    std::fs::write(&path, model).unwrap();
    let out = folder.path().join("out");
    refused(&["run", "--model", path.to_str().unwrap(), "--out", out.to_str().unwrap()], &["nul.gguf", "twice"]);
}

#[test]
fn nobody_listening_is_no_reason_to_lose_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = energyllm(&["run", "--requests", "8", "--out", folder.path().to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Both pipes are closed before the first word.
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().unwrap().success());
    assert!(folder.path().join("record.jsonl").exists());
}

#[test]
fn devices_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    for option in ["--prompts", "--board", "--policy"] {
        refused(&["run", "--out", &out, option, "/dev/zero"], &["/dev/zero", "regular file"]);
    }
    refused(&["verify", "plant", "/dev/zero"], &["/dev/zero", "regular file"]);
}

#[test]
fn impossible_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    for (option, value, word) in [
        ("--limit", "200", "--limit"),
        ("--limit", "20", "--limit"),
        ("--ambient", "NaN", "--ambient"),
        ("--rate", "0", "--rate"),
        ("--requests", "0", "--requests"),
        ("--max-new-tokens", "0", "--max-new-tokens"),
        ("--context", "1000000", "tokens"),
        ("--threads", "0", "threads"),
        ("--governor", "fixed:7,6,33,16", "batch 33"),
        ("--governor", "fixed:11,6,32,16", "prefill clock 11"),
        ("--governor", "fastest", "no governor"),
        ("--fan-off-at", "soon", "never"),
        ("--fan-off-at", "1000000", "never"),
    ] {
        refused(&["run", "--out", out, option, value], &[word]);
    }
}

/// A run with drafts gives the texts of a run without, and the board is billed for what the model really did.
#[test]
fn drafts_keep_the_texts_of_a_run_and_change_its_bill() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let usual = ["run", "--requests", "60", "--governor", "fixed:7,6,32,16", "--out", out.to_str().unwrap()];
        let result = output(&[&usual[..], more, &["--json"]].concat());
        assert_eq!(result.status.code(), Some(0), "{result:?}");
        let record = std::fs::read_to_string(out.join("record.jsonl")).unwrap();
        let lines: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut texts: Vec<(u64, String)> = lines
            .iter()
            .flat_map(|line| line["answers"].as_array().cloned().unwrap_or_default())
            .map(|answer| (answer["request"].as_u64().unwrap(), answer["text"].as_str().unwrap().to_owned()))
            .collect();
        texts.sort();
        assert_eq!(texts.len(), 60);
        (lines, texts, json(&result)["figures"].clone())
    };
    let (plain, texts, figures) = run("plain", &[]);
    assert!(plain[0].get("decoding").is_none() && plain[1].get("decode_work").is_none());
    let energy = |figures: &Value| figures["active_energy_per_token_j"].as_f64().unwrap();
    let (drafted, drafted_texts, drafted_figures) = run("drafted", &["--draft", "4"]);
    assert_eq!(drafted_texts, texts);
    assert_eq!(drafted[0]["decoding"], "draft 4");
    let work = &drafted[1]["decode_work"];
    assert!(work["runs"].as_u64() > work["tokens"].as_u64().map(|tokens| tokens / 32), "{work}");
    assert!(work["drafted"].as_u64().unwrap() >= work["accepted"].as_u64().unwrap(), "{work}");
    let share = drafted_figures["accepted_drafts_share"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&share), "{share}");
    // Each token runs all layers once, and half of them again for each draft that was wrong or past the end.
    let layers = drafted_figures["decode_layers_per_token"].as_f64().unwrap();
    assert!((16.0..32.0).contains(&layers), "{layers}");
    assert!((energy(&drafted_figures) - energy(&figures)).abs() > 1e-6, "another bill");

    // `auto` judges by the board's prices: the same run twice is the same record.
    let (auto, auto_texts, _) = run("auto", &["--draft", "auto"]);
    assert_eq!(auto_texts, texts);
    assert_eq!(auto, run("again", &["--draft", "auto"]).0);

    let (gated, _, gated_figures) = run("gated", &["--gate", "0.05"]);
    assert_eq!(gated[0]["decoding"], "gate 0.05");
    let layers = gated_figures["decode_layers_per_token"].as_f64().unwrap();
    assert!((8.0..16.0).contains(&layers), "{layers}");
    assert!(gated_figures["left_early_share"].as_f64().unwrap() > 0.3);

    refused(&["run", "--draft", "4", "--gate", "0.1"], &["exclude each other"]);
    refused(&["run", "--draft", "0"], &["1 to 64"]);
    refused(&["run", "--gate", "-1"], &["0 or more"]);
}
