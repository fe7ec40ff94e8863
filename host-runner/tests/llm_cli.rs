//! `energyllm llm` as a user meets it: proofs, measurements, and what bad input gets to hear.

mod support;

use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::program::{energyllm, json, output, refused, workspace};

#[test]
fn llm_check_proves_the_exits_and_fails_a_model_that_is_not_there() {
    let result = output(&["llm", "check", "--make-random", "--depths", "14-16", "--json"]);
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let object = json(&result);
    assert_eq!((&object["command"], &object["pass"]), (&Value::from("llm check"), &Value::from(true)));
    assert_eq!(object["figures"]["failures"], 0);
    let rows = object["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3 * 5 + 2 + 2, "five tests per depth, two controls, two resumes");
    let controls: Vec<_> = rows.iter().filter(|row| row["test"] == "control").collect();
    assert!(controls.len() == 2 && controls.iter().all(|row| row["largest_difference"].as_f64().unwrap() > 0.1));

    refused(&["llm", "check", "nowhere.gguf"], &["nowhere.gguf", "path"]);
    refused(&["llm", "check", "README.md"], &["README.md", "GGUF"]);
    refused(&["llm", "check", "--make-random", "--depths", "0-3"], &["0 to 3", "1 to 16"]);
    refused(&["llm", "check", "--make-random", "--depths", "9-17"], &["9 to 17", "1 to 16"]);
    refused(&["llm", "check", "--make-random", "--depths", "many"], &["two numbers"]);
}

#[test]
fn llm_depths_writes_what_run_reads() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let result = output(&["llm", "depths", "--limit", "8", "--out", out, "--json"]);
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let object = json(&result);
    assert_eq!(object["rows"].as_array().unwrap().len(), 16);
    let usable = object["figures"]["usable_depth_layers"].as_u64().unwrap();
    assert!((5..=13).contains(&usable), "{usable}");
    assert_eq!(&std::fs::read(folder.path().join("depths.png")).unwrap()[1..4], b"PNG");

    // Beside a copy of the model, the file is the floor of a run.
    std::fs::copy(workspace().join("models/tiny-llama/tiny-llama-q8_0.gguf"), folder.path().join("m.gguf")).unwrap();
    let (model, runs) = (folder.path().join("m.gguf"), folder.path().join("run"));
    let run = |extra: &[&str]| {
        let mut arguments = vec!["run", "--requests", "8", "--governor", "fixed:7,6,8,9", "--model"];
        arguments.extend([model.to_str().unwrap(), "--out", runs.to_str().unwrap(), "--json"]);
        arguments.extend(extra);
        json(&output(&arguments))["figures"]["mean_depth_layers"].as_f64().unwrap()
    };
    assert!((run(&[]) - usable.max(9) as f64).abs() < 1e-9, "below the floor nothing runs");
    assert!((run(&["--any-depth"]) - 9.0).abs() < 1e-9, "unless it is told to");
    refused(&["llm", "depths", "--budget", "1.5"], &["--budget", "1.5"]);
    refused(&["llm", "depths", "--limit", "0"], &["--limit"]);
}

#[test]
fn llm_commands_on_drafts_gates_and_crowds() {
    let result = output(&["llm", "speculate", "--limit", "4", "--drafts", "3", "--json"]);
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let object = json(&result);
    assert_eq!((&object["figures"]["texts"], &object["figures"]["identical"]), (&Value::from(8), &Value::from(8)));

    let result = output(&["llm", "gate", "--limit", "4", "--thresholds", "0,0.05", "--json"]);
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    let rows = json(&result)["rows"].as_array().unwrap().clone();
    assert_eq!((&rows[0]["mean_layers"], &rows[0]["same_answers_share"]), (&Value::from(16.0), &Value::from(1.0)));
    assert!(rows[1]["mean_layers"].as_f64().unwrap() < 16.0, "{rows:?}");

    let result = output(&["llm", "stress", "--requests", "60", "--json"]);
    let object = json(&result);
    assert_eq!((&object["figures"]["different_answers"], &object["figures"]["lost_places"]), (&0.into(), &0.into()));
    assert!(object["figures"]["cancelled"].as_u64().unwrap() > 0);

    refused(&["llm", "speculate", "--draft-layers", "16", "--limit", "1"], &["depth 16", "1 to 15"]);
    refused(&["llm", "gate", "--first", "12", "--second", "9"], &["depth 12", "1 to 8"]);
    refused(&["llm", "gate", "--thresholds", "nan"], &["NaN nats"]);
    refused(&["llm", "bench", "--depths", "16", "models/tiny-llama/tiny-llama-q8_0.gguf"], &["depth 16", "16 layers"]);
    refused(&["llm", "stress", "--batch", "0"], &["batch limit of 0"]);
    refused(&["llm", "stress", "--requests", "4294967295"], &["1000000"]);
    refused(&["llm", "speculate", "--make-random", "--limit", "99999999999"], &["100000"]);
    refused(&["llm", "speculate", "--make-random", "some.gguf"], &["--make-random", "cannot be used with"]);
    refused(&["llm", "gate", "--max-pending", "0"], &["--max-pending"]);
}

/// What it measures is not looked at: that is no matter for a test.
#[test]
fn llm_bench_measures_until_it_is_sure_and_lets_one_run_alone() {
    const MODEL: &str = "models/tiny-llama/tiny-llama-q8_0.gguf";
    let few =
        ["--depths", "9", "--batches", "2", "--drafts", "2", "--rounds", "1", "--most-rounds", "3", "--steps", "4"];
    let result = output(&[&["llm", "bench", MODEL, "--json"], &few[..]].concat());
    assert!(matches!(result.status.code(), Some(0 | 1)), "{result:?}");
    let wall = &json(&result)["wall"];
    assert_eq!((&wall["depths"][0]["depth"], &wall["full"][0]["batch"]), (&9.into(), &2.into()));
    for estimate in [&wall["depths"][0]["exit_to_truncated"], &wall["full"][0]["full_to_native"]] {
        assert!([4, 8, 12].contains(&estimate["steps"].as_u64().unwrap()), "one to three rounds of four: {estimate}");
        let at = |name: &str| estimate[name].as_f64().unwrap();
        assert!(at("median_at_least") <= at("median") && at("median") <= at("median_at_most"), "{estimate}");
    }
    for who in ["native", "truncated", "full", "exit"] {
        let result = output(&["llm", "bench", MODEL, "--only", who, "--depths", "3", "--steps", "2", "--json"]);
        assert_eq!((&json(&result)["figures"]["only"], result.status.code()), (&Value::from(who), Some(0)));
    }
    refused(&["llm", "bench", MODEL, "--only", "nobody"], &["nobody", "`native`", "`exit`"]);
    refused(&["llm", "bench", MODEL, "--only", "exit", "--rounds", "3"], &["--only", "--rounds"]);
    refused(&["llm", "bench", MODEL, "--only", "exit", "--depths", "16"], &["depth 16", "16 layers"]);
    refused(&["llm", "bench", MODEL, "--rounds", "3", "--most-rounds", "2"], &["--most-rounds", "--rounds, 3"]);
}

/// What is out of range is refused, not moved to the nearest number that is not.
#[test]
fn llm_commands_do_not_guess() {
    const MODEL: &str = "models/tiny-llama/tiny-llama-q8_0.gguf";
    for threads in ["0", "513"] {
        refused(&["llm", "check", MODEL, "--threads", threads], &["threads are not possible", "1 to 512"]);
        refused(&["llm", "bench", MODEL, "--threads", threads], &["threads are not possible", "1 to 512"]);
    }
    refused(&["llm", "speculate", "--draft-layers", "0", "--limit", "1"], &["depth 0", "1 to 15"]);
    refused(&["llm", "gate", "--first", "0", "--limit", "1"], &["depth 0"]);
    refused(&["llm", "gate", "--limit", "1", "--context", "16"], &["--context"]);
}

/// Ctrl-C removes the models made on the spot, and gives no result.
#[test]
fn ctrl_c_leaves_nothing_in_the_temporary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let child = energyllm(&["llm", "speculate", "--make-random", "--limit", "100000"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while files() == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(output.stdout.is_empty() && said.contains("stopped before the end"), "{said}");
    assert_eq!(files(), 0);
}
