//! `energyllm verify reward | grpo | policy` against files of cases: synthetic ones anywhere (made by
//! `fixtures/verify/make.py`, an implementation of its own), the published ones where they are at hand.

use controller_core::reward::Variant;
use host_runner::grpo::checkpoint::{Checkpoint, Content};
use host_runner::grpo::network::Network;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn energyllm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_energyllm")).args(arguments).output().unwrap()
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verify").join(name);
    path.to_str().unwrap().to_owned()
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

/// What must be refused: exit code 2 and a sentence with these words.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = energyllm(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?} said {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?} but said: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A fixture with one text replaced by another, once.
fn changed(folder: &Path, name: &str, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    assert!(text.contains(from), "{name} has no {from}");
    let path = folder.join(name);
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn row<'a>(object: &'a Value, key: &str, value: &str) -> &'a Value {
    object["rows"].as_array().unwrap().iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {value}"))
}

#[test]
fn rewards_of_all_published_forms() {
    let object = json(&["verify", "reward", &fixture("reward_cases.csv")], 0);
    for variant in ["early_exit", "step", "unified"] {
        let report = row(&object, "variant", variant);
        assert!(report["compared"].as_u64().unwrap() >= 50, "{report}");
        assert!(report["max_relative_error"].as_f64().unwrap() <= 1e-12, "{report}");
        assert!(report["max_fixed_error"].as_f64().unwrap() <= 2e-5, "{report}");
    }
    let errors = ["early_exit", "step"].map(|variant| row(&object, "variant", variant)["errors"].as_u64().unwrap());
    assert!(errors.iter().all(|count| *count >= 1), "{object}");
    assert_eq!(row(&object, "variant", "early_exit")["not_finite"], 2);
}

#[test]
fn a_reward_that_differs_fails_and_a_file_without_its_columns_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("reward_cases.csv")).unwrap();
    let outputs = text.lines().next().unwrap().split(',').position(|name| name == "out_reward").unwrap();
    let reward = text.lines().nth(2).unwrap().split(',').nth(outputs).unwrap().to_owned();
    let wrong = format!(",{}", reward.parse::<f64>().unwrap() + 1e-9);
    let path = changed(folder.path(), "reward_cases.csv", &format!(",{reward}"), &wrong);
    let object = json(&["verify", "reward", &path], 1);
    assert_eq!(row(&object, "variant", "step")["failed"], 1);
    // An error that does not come: the ranges of this case are fine.
    let first = text.lines().nth(1).unwrap();
    let path = changed(folder.path(), "reward_cases.csv", first, &format!("{first}TypeError"));
    assert_eq!(row(&json(&["verify", "reward", &path], 1), "variant", "early_exit")["failed"], 1);

    let path = changed(folder.path(), "reward_cases.csv", "in_avg_temp", "in_heat");
    refused(&["verify", "reward", &path], &["lacks in_avg_temp"]);
    let path = changed(folder.path(), "reward_cases.csv", "early_exit", "early");
    refused(&["verify", "reward", &path], &["line 2, column variant", "grpo_old"]);
    refused(&["verify", "reward", "/nowhere.csv"], &["cannot read /nowhere.csv"]);
}

#[test]
fn grpo_terms_and_gradients() {
    let object = json(&["verify", "grpo", &fixture("grpo_cases.json")], 0);
    assert_eq!(object["figures"]["cases"], 8);
    assert_eq!(object["figures"]["unknown_quantities"], 0);
    assert!(row(&object, "quantity", "seed.grad_new_logits_seed")["numbers"].as_u64().unwrap() > 100);
    let folder = tempfile::tempdir().unwrap();
    let path = changed(folder.path(), "grpo_cases.json", "\"kl_coef\": 0.1", "\"kl_coef\": 0.10001");
    let object = json(&["verify", "grpo", &path], 1);
    assert!(row(&object, "quantity", "recommended.total_loss_seed")["failed"].as_u64().unwrap() == 1, "{object}");
    let path = changed(folder.path(), "grpo_cases.json", "\"rewards\": [", "\"rewards\": [1.0, ");
    refused(&["verify", "grpo", &path], &["rewards"]);
    refused(&["verify", "grpo", &fixture("reward_cases.csv")], &["not a file of GRPO cases"]);
}

#[test]
fn a_prototype_is_verified_frozen_and_verified_again() {
    let (policy, golden) = (fixture("prototype.pth"), fixture("prototype_golden.csv"));
    let object = json(&["verify", "policy", &policy, &golden], 0);
    assert_eq!((&object["figures"]["wrong_actions_f32"], &object["figures"]["rows"]), (&0.into(), &60.into()));
    assert!(object["figures"]["certain_rows"].as_u64().unwrap() > 20, "{object}");

    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("prototype.elp").to_str().unwrap().to_owned();
    let object = json(&["freeze", &policy, "-o", &image, "--observations", "500"], 0);
    assert_eq!(object["simulated"], false);
    assert!(object["figures"]["same_action_share"].as_f64().unwrap() > 0.98, "{object}");
    let object = json(&["verify", "policy", &image, &golden], 0);
    assert!(object["figures"]["same_action_share"].as_f64().unwrap() >= 0.985, "{object}");

    // The golden file of another policy.
    let text = std::fs::read_to_string(&golden).unwrap();
    let swapped = folder.path().join("golden.csv");
    std::fs::write(&swapped, text.replace(",2687,", ",1,")).unwrap();
    json(&["verify", "policy", &policy, swapped.to_str().unwrap()], 1);
    json(&["verify", "policy", &image, swapped.to_str().unwrap()], 1);
    std::fs::write(&swapped, text.replace(",2687,", ",3872,")).unwrap();
    refused(&["verify", "policy", &policy, swapped.to_str().unwrap()], &["3872 is not among"]);
}

/// The network of the fixture, which `make.py` wrote as text, in a checkpoint with so many logits.
fn checkpoint(folder: &Path, logits: usize) -> String {
    let text = std::fs::read_to_string(fixture("checkpoint.json")).unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    let numbers = |values: &Value| values.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let layers = made["network"]["layers"].as_array().unwrap();
    let parameters = layers.iter().flat_map(|layer| [numbers(&layer["weights"]), numbers(&layer["biases"])].concat());
    let mut network = Network::new(2, &[6], logits, 0);
    network.parameters_mut().zip(parameters).for_each(|(ours, theirs)| *ours = theirs);
    let content = Content::untrained(
        serde_json::from_value(made["observation"].clone()).unwrap(),
        serde_json::from_value(made["actions"].clone()).unwrap(),
        Variant::Service,
    );
    let path = folder.join(format!("{logits}.ckpt"));
    Checkpoint::untrained(content, network).write(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_checkpoint_of_ours_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), 10);
    let object = json(&["verify", "policy", &path, &fixture("checkpoint_golden.csv")], 0);
    assert!(object["figures"]["max_error_f64_nats"].as_f64().unwrap() < 1e-12, "{object}");
    assert!(object["figures"]["certain_rows"].as_u64().unwrap() > 50, "{object}");
    refused(&["verify", "policy", &path, &fixture("prototype_golden.csv")], &["4 state columns"]);
    let path = checkpoint(folder.path(), 9);
    refused(&["verify", "policy", &path, &fixture("checkpoint_golden.csv")], &["do not fit its action space"]);
}

#[test]
fn broken_prototypes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(fixture("prototype.pth")).unwrap();
    let path = folder.path().join("broken.pth");
    let broken = |bytes: &[u8], words: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        refused(&["freeze", path.to_str().unwrap(), "--out", "/nowhere/x.elp"], words);
    };
    broken(&bytes[..bytes.len() / 2], &["cut short"]);
    let mut flipped = bytes.clone();
    let place = flipped.windows(10).position(|window| window == b"FloatStora").unwrap();
    flipped[place] = b'H';
    broken(&flipped, &["checksum"]);
}

/// The published files are not ours to ship: `None`, said aloud, where they are not at hand.
fn published(name: &str) -> Option<String> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or(beside, PathBuf::from);
    let path = folder.join("seed").join(name);
    if path.exists() {
        return Some(path.to_str().unwrap().to_owned());
    }
    // Past the test harness, which would swallow a println of a passing test.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no {name} below {}; set ENERGYLLM_SHARED_DATA to the folder of the logs",
        folder.display()
    );
    None
}

#[test]
fn published_reward_cases() {
    let Some(path) = published("reward_cases.csv") else { return };
    let object = json(&["verify", "reward", &path], 0);
    assert!(object["figures"]["early_exit_max_fixed_error"].as_f64().unwrap() <= 4e-6, "{object}");
    assert!(object["figures"]["step_max_fixed_error"].as_f64().unwrap() <= 4e-6, "{object}");
}

#[test]
fn published_grpo_cases() {
    let Some(path) = published("grpo_cases.json") else { return };
    let object = json(&["verify", "grpo", &path], 0);
    assert_eq!(object["figures"]["unknown_quantities"], 0);
}

#[test]
fn published_policy() {
    let (Some(policy), Some(golden)) = (published("grpo_model_FINAL.pth"), published("policy_golden.csv")) else {
        return;
    };
    let object = json(&["verify", "policy", &policy, &golden], 0);
    assert_eq!(object["figures"]["same_action_share"], 1.0, "{object}");
}
