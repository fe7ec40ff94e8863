//! Commands that measure with `--board jetson` (`sweep`, `train online`, `eval --suite fan-off`, `overhead`): real processes with
//! llama.cpp on a board that is a folder, with a thread for a kernel.

#[path = "support/processes.rs"]
mod processes;
#[path = "board_act/synthetic.rs"]
mod synthetic;

use processes::children_of;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A board as a folder, and what it was like. Its clock follows its bounds, but never above the cap.
struct Bench {
    folder: TempDir,
    before: Vec<(PathBuf, Vec<u8>)>,
    cap_hz: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    kernel: Option<std::thread::JoinHandle<()>>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        synthetic::unpack(&folder.path().join("board"));
        let (cap_hz, over) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicBool::new(false)));
        let mut bench = Self { folder, before: Vec::new(), cap_hz, over, kernel: None };
        bench.before = bench.contents();
        let (gpu, cap, over) = (bench.gpu(), Arc::clone(&bench.cap_hz), Arc::clone(&bench.over));
        bench.kernel = Some(std::thread::spawn(move || {
            let mut last = 306_000_000;
            while !over.load(Ordering::Relaxed) {
                let read = |name: &str| std::fs::read_to_string(gpu.join(name)).ok()?.trim().parse::<u64>().ok();
                // A file that is being written is empty for a moment.
                if let Some(min) = read("min_freq") {
                    let hz = min.min(cap.load(Ordering::Relaxed));
                    if hz != last {
                        std::fs::write(gpu.join("cur_freq"), format!("{hz}\n")).unwrap();
                        last = hz;
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }));
        bench
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("board")
    }

    fn gpu(&self) -> PathBuf {
        self.root().join(synthetic::GPU.trim_start_matches('/'))
    }

    fn state(&self) -> PathBuf {
        self.root().join("run/energyllm")
    }

    fn csv(&self) -> PathBuf {
        self.folder.path().join("sweep.csv")
    }

    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        synthetic::contents(&self.root(), &self.state())
    }

    /// Waits until the board is as it was: the clock follows a moment after its bounds.
    fn becomes_as_before(&self) {
        let start = Instant::now();
        while self.contents() != self.before || self.state().exists() {
            assert!(start.elapsed() < Duration::from_mins(1), "the board is not as it was");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn energyllm(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        command.args(arguments).arg("--root").arg(self.root()).stdin(Stdio::null());
        command
    }

    /// Short batches of two on some clocks.
    fn sweep(&self, more: &[&str]) -> Command {
        let mut command = self.energyllm(&["sweep", "--board", "jetson", "--prefill", "6", "--batch", "2"]);
        command.args(["--prompt-tokens", "5", "--answer-tokens", "12", "--gap", "0.01", "--repeats", "1"]);
        command.args(["--warm-up", "0", "--longest-warm-up", "1", "--out"]).arg(self.csv()).args(more);
        command
    }

    /// A short training.
    fn train(&self, more: &[&str]) -> Command {
        let mut command = self.energyllm(&["train", "online", "--board", "jetson", "--rate", "50", "--group", "2"]);
        command.args(["--turns", "1", "--episodes-per-update", "1", "--max-new-tokens", "3", "--out"]);
        command.arg(self.checkpoint()).args(more);
        command
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// A short test without a fan.
    fn fan_off(&self, more: &[&str]) -> Command {
        let mut command = self.energyllm(&["eval", "--suite", "fan-off", "--board", "jetson", "--threads", "1"]);
        command.args(["--warm-up", "0", "--answer-tokens", "6", "--sample-s", "0.05", "--out"]);
        command.arg(self.out("")).args(["--governor", "fixed:4,3,1,16", "--bare", "fixed:7,6,1,16"]).args(more);
        command
    }

    /// A short comparison.
    fn overhead(&self, more: &[&str]) -> Command {
        let mut command = self.energyllm(&["overhead", "--board", "jetson", "--answer-tokens", "3", "--group", "2"]);
        command.args(["--evaluations", "4", "--grid-stride", "1500", "--out"]).arg(self.out("")).args(more);
        command
    }

    fn table(&self, name: &str) -> Vec<std::collections::HashMap<String, String>> {
        csv::Reader::from_path(self.out(name)).unwrap().deserialize().map(Result::unwrap).collect()
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("policy.ckpt")
    }

    fn rows(&self) -> Vec<std::collections::HashMap<String, String>> {
        csv::Reader::from_path(self.csv()).unwrap().deserialize().map(Result::unwrap).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.kernel.take().map(std::thread::JoinHandle::join);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(command: &mut Command, sentence: &str) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(sentence), "{}", said(&output));
}

#[test]
fn rows_are_measured_and_the_board_is_given_back() {
    let bench = Bench::new();
    let output = bench.sweep(&["--decode", "0,10", "--apply", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["simulated"], &object["figures"]["rows"]), (&false.into(), &2.into()));
    bench.becomes_as_before();
    let rows = bench.rows();
    assert_eq!(rows.len(), 2);
    for (row, khz) in rows.iter().zip(["306000", "1300500"]) {
        let number = |name: &str| row[name].parse::<f64>().unwrap();
        assert_eq!((row["decode_khz"].as_str(), row["prefill_khz"].as_str()), (khz, "918000"));
        assert_eq!(
            (row["simulated"].as_str(), row["as_set"].as_str(), row["fan_energy"].as_str()),
            ("False", "True", "")
        );
        assert_eq!((number("num_prompt_tokens"), number("num_decode_tokens"), number("depth")), (10.0, 24.0, 16.0));
        // The rails of this board draw 9.6 W + 2.4 W + 4 W, all the time.
        assert!((number("energy") / number("latency") - 16.0).abs() < 1e-6, "{row:?}");
        assert!((number("avg_power") - 16.0).abs() < 1e-6 && (number("temperature") - 45.0).abs() < 1e-6, "{row:?}");
        assert!(number("latency") > 0.0 && number("inference_time") >= number("latency") + 0.01, "{row:?}");
    }
    let manifest = std::fs::read_to_string(bench.csv().with_extension("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["simulated"], false);
    assert_eq!(manifest["real"]["clocks_khz"].as_array().unwrap().len(), 11);
    assert_eq!(manifest["real"]["power_rails"], "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0");
    assert!(manifest.get("ambient_c").is_none());
    // Nothing is left to do, and nothing is done.
    let before = std::fs::read(bench.csv()).unwrap();
    assert!(bench.sweep(&["--decode", "0,10", "--apply"]).output().unwrap().status.success());
    assert_eq!(std::fs::read(bench.csv()).unwrap(), before);
    bench.becomes_as_before();
    refused(&mut bench.sweep(&["--decode", "0,10", "--apply", "--threads", "2"]), "it differs in real");
}

#[test]
fn a_clock_that_does_not_follow_is_flagged() {
    let bench = Bench::new();
    bench.cap_hz.store(510_000_000, Ordering::Relaxed);
    let output = bench.sweep(&["--decode", "10", "--apply"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("clock strayed"), "{}", said(&output));
    assert_eq!(bench.rows()[0]["as_set"], "False");
    bench.becomes_as_before();
}

fn wait_for(child: &mut Child, what: &str, happened: impl Fn() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what}");
        assert!(start.elapsed() < Duration::from_mins(2), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
}

/// Everything of ours is killed in the middle of the sweep: `board restore` gives the board back, and the same command goes on
/// behind the rows that are there.
#[test]
fn killed_in_the_middle_restored_and_resumed() {
    let bench = Bench::new();
    let arguments = ["--decode", "0-4", "--apply"];
    let mut child = bench.sweep(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lines = || std::fs::read_to_string(bench.csv()).map_or(0, |text| text.lines().count());
    wait_for(&mut child, "its second row", || lines() >= 3);
    for guardian in children_of(child.id()) {
        kill(guardian);
    }
    kill(child.id());
    child.wait().unwrap();
    assert_ne!(bench.contents(), bench.before, "it was killed while the board was changed");
    let so_far = std::fs::read_to_string(bench.csv()).unwrap();
    assert!(bench.energyllm(&["board", "restore"]).output().unwrap().status.success());
    bench.becomes_as_before();

    let output = bench.sweep(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("going on behind"), "{}", said(&output));
    bench.becomes_as_before();
    assert!(std::fs::read_to_string(bench.csv()).unwrap().starts_with(&so_far), "rows that are there stay");
    let decode: Vec<String> = bench.rows().iter().map(|row| row["decode_freq_bin"].clone()).collect();
    assert_eq!(decode, ["0", "1", "2", "3", "4"]);
}

/// Ctrl-C: the board is given back at once, and the batch that was under way makes no row.
#[test]
fn interrupted_it_gives_back_and_writes_no_half_row() {
    let bench = Bench::new();
    let arguments = ["--decode", "0-10", "--apply"];
    let mut child = bench.sweep(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "its first row", || {
        std::fs::read_to_string(bench.csv()).is_ok_and(|text| text.lines().count() >= 2)
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code() == Some(130) && said(&output).contains("interrupted"), "{}", said(&output));
    bench.becomes_as_before();
    let rows = bench.rows();
    assert!(!rows.is_empty() && rows.len() < 11 && rows.iter().all(|row| row["as_set"] == "True"), "{rows:?}");
}

#[test]
fn a_policy_learns_on_the_board_and_gives_it_back() {
    let bench = Bench::new();
    let arguments = ["--apply", "--episodes", "2", "--from", "models/policies/service.elp", "--json"];
    let output = bench.train(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["simulated"], &object["figures"]["episodes"]), (&false.into(), &2.into()));
    assert_eq!(object["figures"]["policy_updates"], 2);
    bench.becomes_as_before();
    // Each member twice, one of them at the least where the policy is sure, and two turns of the policy by itself.
    let turns = csv::Reader::from_path(bench.checkpoint().with_extension("episodes.csv")).unwrap().records().count();
    assert!(turns >= 8, "{turns}");
    let manifest = std::fs::read_to_string(bench.checkpoint().with_extension("manifest.json")).unwrap();
    assert!(manifest.contains("\"simulated\": false") && manifest.contains("AGX Orin"), "{manifest}");
    // A real board cannot be set back.
    let checkpoint = bench.checkpoint();
    let mut resume = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    refused(resume.args(["train", "resume"]).arg(&checkpoint), "--board jetson --from");
    let more = bench.train(&["--apply", "--episodes", "1", "--from", checkpoint.to_str().unwrap()]).output().unwrap();
    assert!(more.status.success(), "{}", said(&more));
    bench.becomes_as_before();
}

/// Everything of ours is killed in the middle of a training.
#[test]
fn a_training_that_is_killed_leaves_a_checkpoint_and_a_board_to_restore() {
    let bench = Bench::new();
    let mut child = bench.train(&["--apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let turns =
        || std::fs::read_to_string(bench.checkpoint().with_extension("episodes.csv")).map_or(0, |t| t.lines().count());
    wait_for(&mut child, "its first episode", || turns() > 5);
    for guardian in children_of(child.id()) {
        kill(guardian);
    }
    kill(child.id());
    child.wait().unwrap();
    assert_ne!(bench.contents(), bench.before, "it was killed while the board was changed");
    assert!(bench.energyllm(&["board", "restore"]).output().unwrap().status.success());
    bench.becomes_as_before();
    let from = bench.checkpoint();
    let output = bench.train(&["--apply", "--episodes", "1", "--from", from.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_training_on_a_board_refuses_what_is_for_others() {
    let bench = Bench::new();
    refused(&mut bench.train(&[]), "add --apply");
    refused(&mut bench.train(&["--apply", "--ambient", "30"]), "for the simulated board");
    refused(&mut bench.train(&["--apply", "--fan", "never"]), "--fan is for");
    refused(&mut bench.train(&["--apply", "--prompts", "nowhere.txt"]), "nowhere.txt");
    let max = bench.gpu().join("max_freq");
    std::fs::write(&max, "612000000\n").unwrap();
    refused(&mut bench.train(&["--apply", "--from", "models/policies/service.elp"]), "which this board does not have");
    assert_eq!(std::fs::read_to_string(&max).unwrap(), "612000000\n");
}

#[test]
fn a_run_on_a_board_refuses_the_air_of_a_simulated_one() {
    let bench = Bench::new();
    let out = bench.folder.path().join("run");
    for option in ["--ambient", "--start"] {
        let mut command = bench.energyllm(&["run", "--board", "jetson", option, "30"]);
        refused(command.arg("--out").arg(&out), "are for a simulated board");
    }
    assert!(!out.exists());
}

#[test]
fn what_a_board_cannot_do_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    refused(&mut bench.sweep(&["--decode", "0"]), "add --apply");
    refused(&mut bench.sweep(&["--decode", "0", "--apply", "--ambient", "30"]), "for a simulated board");
    refused(&mut bench.sweep(&["--decode", "11", "--apply"]), "--decode 11 is not one of this board");
    refused(&mut bench.sweep(&["--decode", "0", "--apply", "--depth", "17"]), "--depth 17");
    refused(&mut bench.sweep(&["--decode", "0", "--apply", "--model", "nowhere.gguf"]), "nowhere.gguf");
    assert!(!bench.csv().exists());
    bench.becomes_as_before();
    let max = bench.gpu().join("max_freq");
    std::fs::write(&max, "612000000\n").unwrap();
    refused(&mut bench.sweep(&["--decode", "10", "--apply"]), "above the 612 MHz that the power mode allows");
    assert_eq!(std::fs::read_to_string(&max).unwrap(), "612000000\n");
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    command.args(["sweep", "--board", "jetson", "--apply", "--decode", "0", "--root"]).arg(empty.path());
    command.arg("--out").arg(bench.csv());
    refused(&mut command, "no Jetson");
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_board_without_its_fan_is_measured_and_given_back() {
    let bench = Bench::new();
    let arguments = ["--apply", "--requests", "4", "--fan-off-at", "2", "--json"];
    let output = bench.fan_off(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    bench.becomes_as_before();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["simulated"], object["rows"].as_array().unwrap().len()), (&false.into(), 2));
    for player in ["fixed-4-3-1-16", "bare-fixed-7-6-1-16"] {
        let results = bench.table(&format!("FAN_OFF_RESULTS_{player}.csv"));
        assert_eq!(results.len(), 4);
        for (number, row) in results.iter().enumerate() {
            let value = |name: &str| row[name].parse::<f64>().unwrap();
            assert_eq!((row["layers"].as_str(), row["num_decode_tokens"].as_str()), (&*number.to_string(), "6"));
            assert_eq!(row["fan_working"], (number < 2).to_string(), "{row:?}");
            // The rails of this board draw 9.6 W + 2.4 W + 4 W, all the time.
            for (name, watts) in [("TOTAL_POWER", 16.0), ("GPU", 9.6), ("CPU", 2.4), ("I/O_POWER", 4.0)] {
                assert!((value(&format!("decode_{name}")) - watts).abs() < 1e-3, "{name}: {row:?}");
            }
            assert!((value("decode_TJ_TEMP") - 45.0).abs() < 1e-3 && row["decode_MEM"].is_empty(), "{row:?}");
            assert!(value("request_latency_sec") > 0.0 && value("energy_j") > 16.0 * value("request_latency_sec"));
        }
        let trace = bench.table(&format!("FAN_OFF_TEMPERATURES_{player}.csv"));
        let last = trace.last().unwrap();
        assert!(trace.len() > 10 && trace[0]["fan_working"] == "true" && last["fan_working"] == "false", "{last:?}");
        assert!(trace.iter().skip(2).all(|row| row["tj_temp_c"] == "45.0000" && row["vdd_gpu_soc_mw"] == "9600.0000"));
    }
    let manifest = std::fs::read_to_string(bench.out("FAN_OFF_RESULTS_fixed-4-3-1-16.manifest.json")).unwrap();
    assert!(manifest.contains("\"simulated\": false"), "{manifest}");
    assert!(bench.out("fan-off.png").exists() && bench.out("fan-off-trace.png").exists());
    // What is done stays done.
    let before = std::fs::read(bench.out("FAN_OFF_RESULTS_fixed-4-3-1-16.csv")).unwrap();
    let again = bench.fan_off(&arguments).output().unwrap();
    assert!(again.status.success() && said(&again).contains("is done already"), "{}", said(&again));
    assert_eq!(std::fs::read(bench.out("FAN_OFF_RESULTS_fixed-4-3-1-16.csv")).unwrap(), before);
    refused(&mut bench.fan_off(&["--apply", "--requests", "5", "--fan-off-at", "2"]), "it differs in plan");
    refused(&mut bench.fan_off(&[]), "add --apply");
    refused(&mut bench.fan_off(&["--apply", "--ambient", "30"]), "for a simulated board");
    refused(&mut bench.fan_off(&["--apply", "--governor", "fixed:4,3,5,16"]), "no batch 5");
    bench.becomes_as_before();
}

/// The board gets hot: its guard takes the fan, and the test of this setting is over. Then Ctrl-C.
#[test]
fn a_hot_board_takes_its_fan_and_an_interrupted_test_gives_it_back() {
    let bench = Bench::new();
    let zone = bench.root().join(synthetic::TJ.trim_start_matches('/'));
    let mut child = bench
        .fan_off(&["--apply", "--requests", "1000", "--fan-off-at", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let last_duty = |player: &str| {
        let text =
            std::fs::read_to_string(bench.out(&format!("FAN_OFF_TEMPERATURES_{player}.csv"))).unwrap_or_default();
        text.lines().rev().nth(1).and_then(|line| line.rsplit(',').nth(1).map(str::to_owned)).unwrap_or_default()
    };
    wait_for(&mut child, "a fan that stands still", || last_duty("fixed-4-3-1-16") == "0");
    std::fs::write(&zone, "97000\n").unwrap();
    let record = bench.out("FAN_OFF_RUN_fixed-4-3-1-16.json");
    wait_for(&mut child, "the end of the first test", || record.exists());
    std::fs::write(&zone, "45000\n").unwrap();
    assert!(std::fs::read_to_string(&record).unwrap().contains("fan_came_back"));
    wait_for(&mut child, "the second test", || !last_duty("bare-fixed-7-6-1-16").is_empty());
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code() == Some(130) && said(&output).contains("goes on from here"), "{}", said(&output));
    bench.becomes_as_before();
    assert!(!bench.out("FAN_OFF_RUN_bare-fixed-7-6-1-16.json").exists(), "a test that was cut off is not done");
}

#[test]
fn every_second_and_joule_of_a_comparison_has_its_part() {
    let bench = Bench::new();
    let mut child = bench.overhead(&["--apply"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "a clock that is set", || bench.contents() != bench.before);
    std::thread::sleep(Duration::from_secs(2));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert!([Some(130), Some(2)].contains(&output.status.code()), "{}", said(&output));
    bench.becomes_as_before();
    let output = bench.overhead(&["--apply", "--json"]).output().unwrap();
    // The answers are so short that control may take more than its share.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", said(&output));
    bench.becomes_as_before();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["simulated"], &object["figures"]["methods"]), (&false.into(), &5.into()));
    let rows = bench.table("overhead.csv");
    assert_eq!(rows.len(), 5);
    for row in &rows {
        let value = |name: &str| row[name].parse::<f64>().unwrap_or_default();
        let sum = |end: &str| -> f64 {
            let parts =
                ["inference", "gap", "telemetry", "observation", "decision", "pretraining", "sampling", "update"];
            parts.iter().chain(&["actuation", "other"]).map(|part| value(&format!("{part}{end}"))).sum()
        };
        assert!((sum("_time_sec") - value("total_time_sec")).abs() < 1e-6, "{row:?}");
        assert!((sum("_energy_j") - value("total_energy_j")).abs() < 1e-6, "{row:?}");
        // 16 W, whatever it does; where this machine is late to sample, the gap counts nothing.
        assert!((8.0..16.5).contains(&value("avg_power_w")), "{row:?}");
        assert!(value("inference_time_sec") > 0.0 && value("actuation_time_sec") > 0.0 && row["regret"].is_empty());
    }
    let methods: Vec<&str> = rows.iter().map(|row| row["method"].as_str()).collect();
    assert_eq!(methods, ["inference", "frozen policy", "learning policy", "pretrained policy", "grid search"]);
    assert_eq!(bench.table("steps.csv").iter().filter(|row| row["method"] == "grid search").count(), 3);
    assert!(bench.out("overhead.png").exists());
    // What is done stays done.
    let before = std::fs::read(bench.out("overhead.csv")).unwrap();
    assert!(matches!(bench.overhead(&["--apply"]).output().unwrap().status.code(), Some(0 | 1)));
    assert_eq!(std::fs::read(bench.out("overhead.csv")).unwrap(), before);
    refused(&mut bench.overhead(&["--apply", "--seed", "2"]), "it differs in seed");
    refused(&mut bench.overhead(&[]), "add --apply");
}
