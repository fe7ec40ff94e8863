//! Training that is interrupted, at any moment and in any way, comes to the same result as training that is not.

use controller_core::action::Knob;
use host_runner::env::profile::BoardProfile;
use host_runner::grpo::checkpoint::Checkpoint;
use host_runner::grpo::group::Grouping;
use host_runner::grpo::layout;
use host_runner::grpo::online::turn_log;
use host_runner::grpo::rollout::World;
use host_runner::grpo::trainer::{Plan, Trainer};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn energyllm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(workspace()).args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    energyllm(arguments).output().unwrap()
}

fn done(arguments: &[&str]) -> Output {
    let output = output(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn refused(arguments: &[&str], words: &[&str]) {
    let output = output(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?} said {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?} but said: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// The folder of logs that are not ours to ship.
fn shared(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("ENERGYLLM_SHARED_DATA").map(|folder| Path::new(&folder).join("seed").join(file));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIPPED: {file} is not at hand; ENERGYLLM_SHARED_DATA names the folder that holds seed/{file}");
    }
    path
}

fn world() -> World {
    let path = workspace().join("models/boards/agx-orin-hf.toml");
    let mut profile = BoardProfile::read(&path).unwrap();
    profile.service.quality = profile.actions.depth.iter().map(|depth| (*depth, 1000)).collect();
    World {
        layout: layout::standard(),
        reward: profile.service.clone(),
        limits: profile.limits,
        hold_s: (5.0, 30.0),
        profile,
    }
}

/// Contexts end and begin anew in so many rounds, and the last rounds are quantization-aware.
#[test]
fn a_resumed_training_is_the_uninterrupted_one_bit_for_bit() {
    let plan = Plan { seed: 5, iterations: 40, quantized: 10, contexts: 5, threads: 1, ..Plan::default() };
    let mut whole = Trainer::new(world(), plan.clone());
    let mut parts = Trainer::new(world(), plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.ckpt");
    let mut round = 0;
    while !whole.is_done() {
        let expected = whole.iterate().unwrap();
        assert_eq!(parts.iterate().unwrap(), expected);
        round += 1;
        if [1, 13, 29, 33].contains(&round) {
            parts.checkpoint().write(&path).unwrap();
            parts = Trainer::resume(Checkpoint::read(&path).unwrap()).unwrap();
            // Threads are no part of the result.
            parts.set_threads(2);
        }
    }
    parts.set_threads(1);
    assert_eq!(parts.checkpoint(), whole.checkpoint());
}

/// Its rows of the last layer, and no other parameter.
#[test]
fn one_knob_learns_alone() {
    let plan = Plan { seed: 6, iterations: 8, contexts: 4, hidden: vec![8], threads: 1, ..Plan::default() };
    let mut first = Trainer::new(world(), plan.clone());
    while !first.is_done() {
        first.iterate().unwrap();
    }
    let before = first.checkpoint();
    let only = Plan { grouping: Grouping::Only(Knob::Decode), entropy: 0.0, ..plan };
    let mut second = Trainer::from_policy(world(), only, before.clone());
    while !second.is_done() {
        second.iterate().unwrap();
    }
    let after = second.checkpoint();
    let actions = &before.content.actions;
    let logits: usize = actions.sizes().iter().sum();
    let (prefill, decode) = (actions.prefill_khz.len(), actions.decode_khz.len());
    let changed = before.network.parameters().zip(after.network.parameters()).map(|(a, b)| a.to_bits() != b.to_bits());
    let changed: Vec<bool> = changed.collect();
    let (trunk, last) = changed.split_at(changed.len() - 9 * logits);
    assert!(!trunk.contains(&true));
    let (weights, biases): (&[bool], &[bool]) = last.split_at(8 * logits);
    let of_decode = prefill..prefill + decode;
    for (output, row) in weights.chunks_exact(8).enumerate() {
        assert_eq!(row.contains(&true), of_decode.contains(&output), "output {output}");
        assert_eq!(biases[output], of_decode.contains(&output), "output {output}");
    }
}

/// Starts a command again and again, kills it at random moments, and lets it end at last. Returns how often it was
/// killed. `every` is the longest time that it lives, in milliseconds.
fn through_many_deaths(start: &[&str], checkpoint: &Path, every: u32, seed: u64) -> u32 {
    let mut rng = controller_core::rng::Pcg32::new(seed);
    let path = checkpoint.to_str().unwrap();
    let mut deaths = 0;
    for attempt in 0..25 {
        let resume = ["train", "resume", path, "--checkpoint-every", "1"];
        let arguments: &[&str] = if checkpoint.exists() { &resume } else { start };
        let mut child = energyllm(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(rng.below(every * (1 + attempt / 8)))));
        let killed = child.try_wait().unwrap().is_none();
        // SIGKILL: nothing can be tidied up.
        child.kill().unwrap();
        child.wait().unwrap();
        deaths += u32::from(killed);
        if checkpoint.exists() {
            Checkpoint::read(checkpoint).expect("a checkpoint that exists is whole");
        }
    }
    done(&["train", "resume", path]);
    deaths
}

/// A CSV file without the column that depends on the clock.
fn without_times(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let place = turn_log::COLUMNS.iter().position(|name| *name == "group_sampling_time_ms").unwrap();
    let cells = |line: &str| line.split(',').enumerate().filter(|(i, _)| *i != place).map(|(_, c)| c.into()).collect();
    text.lines().map(cells).collect()
}

/// Whoever stops a training is told that it did not end, and can go on.
#[test]
fn a_training_that_is_asked_to_stop_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("policy.ckpt");
    let path = out.to_str().unwrap();
    let start = "train pretrain --iterations 100000 --contexts 4 --group 3 --horizon 30 --threads 1 --out";
    let arguments: Vec<&str> = start.split(' ').chain([path]).collect();
    let mut child = energyllm(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // From the checkpoint at its start on it listens.
    while !out.exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(Checkpoint::read(&out).unwrap().content.training.is_some());
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_pretraining_comes_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole.ckpt"), folder.path().join("killed.ckpt"));
    let start = |out: &Path| -> Vec<String> {
        let text = format!(
            "train pretrain --seed 3 --iterations 150 --contexts 8 --group 4 --horizon 60 --quantized 40 --threads 1 \
             --checkpoint-every 1 --out {}",
            out.display()
        );
        text.split_whitespace().map(str::to_owned).collect()
    };
    let arguments = start(&whole);
    done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let arguments = start(&killed);
    let deaths = through_many_deaths(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &killed, 40, 1);
    assert!(deaths >= 3, "killed only {deaths} times: the training is over too soon for this test");
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&killed).unwrap());
    let log = |path: &Path| std::fs::read_to_string(path.with_extension("losses.csv")).unwrap();
    assert_eq!(log(&whole), log(&killed));
    assert_eq!(log(&whole).lines().count(), 151);
}

#[test]
fn a_killed_online_training_comes_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole.ckpt"), folder.path().join("killed.ckpt"));
    let start = |out: &Path| -> Vec<String> {
        let text = format!(
            "train online --from models/policies/service.elp --episodes 100 --fan cycle:7,5 --ambient 30 --quantized \
             --seed 2 --out {}",
            out.display()
        );
        text.split_whitespace().map(str::to_owned).collect()
    };
    let arguments = start(&whole);
    done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let arguments = start(&killed);
    let deaths = through_many_deaths(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &killed, 40, 2);
    assert!(deaths >= 3, "killed only {deaths} times: the training is over too soon for this test");
    assert_eq!(Checkpoint::read(&whole).unwrap(), Checkpoint::read(&killed).unwrap());
    let episodes = |path: &Path| without_times(&path.with_extension("episodes.csv"));
    assert_eq!(episodes(&whole), episodes(&killed));
    // Two runs of at least two members in each episode, and two greedy turns.
    assert!(episodes(&whole).len() > 100 * 6);
}

#[test]
fn training_files_say_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("online.ckpt");
    let path = out.to_str().unwrap();
    let result =
        done(&["train", "online", "--episodes", "12", "--group", "6", "--reward", "step", "--json", "--out", path]);
    let object: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(object["command"], "train online");
    assert_eq!((&object["figures"]["episodes"], &object["figures"]["policy_updates"]), (&12.into(), &3.into()));
    assert_eq!(object["simulated"], true);
    let manifest = std::fs::read(out.with_extension("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["seed"], 1);
    assert!(manifest["inputs_sha256"].as_object().unwrap().len() == 2, "{manifest}");
    assert!(std::fs::read(out.with_extension("losses.png")).unwrap().starts_with(b"\x89PNG"));

    let mut reader = csv::Reader::from_path(out.with_extension("episodes.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (mut members, mut greedy) = (0, 0);
    for row in reader.records() {
        let row = row.unwrap();
        let number = |name: &str| row[place(name)].parse::<f64>().unwrap();
        members += u32::from(&row[place("role")] == "member");
        greedy += u32::from(&row[place("role")] == "greedy");
        // The columns agree with each other.
        let (energy, latency) = (number("energy"), number("end_to_end_latency"));
        assert!((number("power") - energy / latency).abs() < 1e-9);
        assert!((number("edp_efficiency_raw") - 1.0 / (energy * latency)).abs() < 1e-12);
        assert!((number("performance_metric") - number("constraint_penalty") - number("reward")).abs() < 2e-6);
        assert!((number("action_prob").ln() - number("log_prob")).abs() < 1e-9);
        assert!((number("prefill_latency") + number("decode_latency") - latency).abs() < 2e-6);
        // Every batch of the published workload is full and has answers of 100 tokens.
        assert!((number("generated_tokens") - 100.0 * number("requests")).abs() < 1e-9);
    }
    assert_eq!((members, greedy), (12 * 6 * 2 * 4, 12 * 2));
}

#[test]
fn what_cannot_be_trained_on_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.ckpt");
    let out = out.to_str().unwrap();
    refused(&["train", "resume", "no-such-file"], &["no-such-file"]);
    refused(&["train", "resume", "README.md"], &["README.md", "not a checkpoint"]);
    refused(&["train", "pretrain", "--only", "clock", "--from", "x", "--out", out], &["clock", "prefill, decode"]);
    refused(&["train", "pretrain", "--only", "fan", "--out", out], &["--from"]);
    refused(&["train", "online", "--board", "replay", "--out", out], &["--grid"]);
    refused(&["train", "online", "--grid", "x.csv", "--out", out], &["--board replay"]);
    refused(&["train", "online", "--from", "README.md", "--out", out], &["README.md"]);
    refused(&["train", "online", "--fan", "sometimes", "--out", out], &["fan schedule", "cycle:ON,OFF"]);
    refused(&["train", "online", "--group", "1", "--out", out], &["--group", "between 2 and 64"]);
    refused(&["train", "online", "--ambient", "400", "--out", out], &["--ambient"]);
    refused(&["train", "online", "--out", "/proc/no/online.ckpt"], &["/proc/no"]);
    done(&["train", "pretrain", "--iterations", "2", "--contexts", "2", "--group", "2", "--out", out]);
    let mut bytes = std::fs::read(out).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(out, &bytes).unwrap();
    refused(&["train", "resume", out], &["damaged"]);
    refused(&["freeze", out], &["damaged"]);
}

/// Scripts made for the published logs find their columns.
#[test]
fn the_published_columns_are_all_there() {
    for file in ["online_training.csv", "early_exit_training_first200.csv"] {
        let Some(path) = shared(file) else { continue };
        let mut reader = csv::Reader::from_path(path).unwrap();
        for name in reader.headers().unwrap() {
            assert!(turn_log::COLUMNS.contains(&name), "{file} has a column {name}");
        }
    }
    let Some(path) = shared("early_exit_policy_metrics.csv") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.ckpt");
    done(&[
        "train",
        "pretrain",
        "--iterations",
        "1",
        "--contexts",
        "2",
        "--group",
        "2",
        "--out",
        out.to_str().unwrap(),
    ]);
    let header = |path: &Path| csv::Reader::from_path(path).unwrap().headers().unwrap().clone();
    let ours = header(&out.with_extension("losses.csv"));
    assert!(header(&path).iter().eq(ours.iter().take(4)), "{ours:?}");
}

/// Training goes on from the published checkpoint, on the published grids, and is resumed there, too.
#[test]
fn the_published_policy_goes_on_learning_on_the_published_grids() {
    let files = ["grpo_model_FINAL.pth", "grid_fan_on.csv", "grid_fan_off.csv"].map(shared);
    let [Some(policy), Some(on), Some(off)] = files else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("online.ckpt");
    let [policy, on, off, path] = [&policy, &on, &off, &out].map(|path| path.to_str().unwrap());
    let start = ["train", "online", "--from", policy, "--board", "replay", "--grid", on, "--grid-fan-off", off];
    let rest = ["--fan", "cycle:4,4", "--episodes", "16", "--json", "--out", path];
    let object: Value = serde_json::from_slice(&done(&[&start[..], &rest].concat()).stdout).unwrap();
    assert_eq!(object["simulated"], false);
    // The published policy chooses well where the fan works (0.96 of 1); greedy turns say so.
    assert!(object["figures"]["final_greedy_reward"].as_f64().unwrap() > 0.5, "{object}");
    let checkpoint = Checkpoint::read(&out).unwrap();
    assert_eq!(checkpoint.network.parameters().count(), 131_104);
    assert_ne!(Some(&checkpoint.network), checkpoint.reference.as_ref());
    done(&["train", "resume", path]);
    assert_eq!(Checkpoint::read(&out).unwrap(), checkpoint);
    // A grid that has changed since is not gone on with.
    let copy = folder.path().join("grid.csv");
    std::fs::copy(on, &copy).unwrap();
    let grid = copy.to_str().unwrap();
    done(&["train", "online", "--board", "replay", "--grid", grid, "--episodes", "4", "--out", path]);
    let text = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&copy, text.replacen("127.3154708", "127.4", 1)).unwrap();
    refused(&["train", "resume", path], &["grid.csv", "not the file"]);
}
