//! What `search live` finds is what runs fall back on and what training starts from.

mod support;

use controller_core::action::Knob;
use host_runner::grpo::checkpoint::Checkpoint;
use host_runner::grpo::update::Policy;
use serde_json::Value;
use std::path::Path;
use support::program::{json, output};

fn done(arguments: &[&str]) -> Value {
    let output = output(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    json(&output)
}

#[test]
fn a_found_setting_is_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (found, run, checkpoint) = (place("found.json"), place("run"), place("online.ckpt"));
    done(&["search", "live", "--board-seed", "2", "--evaluations", "6", "--out", &found, "--json"]);
    let setting: Value = serde_json::from_slice(&std::fs::read(&found).unwrap()).unwrap();
    let numbers: Vec<usize> = setting["governor"]
        .as_str()
        .unwrap()
        .trim_start_matches("fixed:")
        .split(',')
        .map(|n| n.parse().unwrap())
        .collect();

    done(&["run", "--requests", "24", "--fallback", &found, "--out", &run, "--json"]);
    let record = std::fs::read_to_string(Path::new(&run).join("record.jsonl")).unwrap();
    let header: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    assert_eq!(header["fallback"]["batch"].as_u64().unwrap(), numbers[2] as u64, "{header}");

    done(&["train", "online", "--from", &found, "--episodes", "2", "--out", &checkpoint, "--json"]);
    let trained = Checkpoint::read(Path::new(&checkpoint)).unwrap();
    let reference = trained.reference.as_ref().expect("online training keeps what it began with");
    let content = &trained.content;
    let heads = Policy::of(reference).heads(&vec![0; content.observation.len()], &content.actions);
    let preferred = heads.greedy();
    assert_eq!([preferred.prefill, preferred.decode].map(usize::from), numbers[..2]);
    assert_eq!(usize::from(content.actions.batch[usize::from(preferred.get(Knob::Batch))]), numbers[2]);
}

#[test]
fn anything_else_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.json");
    let name = path.to_str().unwrap();
    let found = r#"{"governor":"GOVERNOR","simulated":true,"requests_per_s":4,"evaluations":1,"energy_saved_share":0,
        "energy_saved_half_width_share":0,"cost_saved_share":0,"cost_saved_half_width_share":0}"#;
    for (text, words) in [
        ("{}", "search live"),
        (&found.replace("GOVERNOR", "max"), "no fixed setting"),
        (&found.replace("GOVERNOR", "fixed:0,0,31,12"), "no batch 31"),
    ] {
        std::fs::write(&path, text).unwrap();
        for command in [&["run", "--requests", "8", "--fallback", name][..], &["train", "online", "--from", name][..]] {
            let output = output(command);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
            assert!(said.contains(words) && said.contains("other.json"), "{command:?} on {text}: {said}");
        }
    }
}
