//! Whatever ends a run, the board is as it was, byte for byte. Real processes on a board that is a folder.
//!
//! Each case is tried ten times, at another moment of the run each time. A hundred times, with the second that it may take at
//! most checked as well:
//!
//! ```sh
//! ENERGYLLM_KILL_RUNS=100 cargo test --release -p host-runner --test board_kill -- --nocapture --test-threads 1
//! ```

#[path = "support/processes.rs"]
mod processes;
#[path = "board_act/synthetic.rs"]
mod synthetic;

use controller_core::action::{ActionSpace, Decision};
use controller_core::control::{Controller, RewardRule};
use controller_core::governor::Fixed;
use controller_core::record::StepRecord;
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant as BoardInstant;
use host_runner::board::actuator::Actuator;
use host_runner::board::actuator::clock::GpuClock;
use host_runner::board::actuator::fan::FanControl;
use host_runner::board::discover::Found;
use host_runner::board::fan_curve::FanCurve;
use host_runner::board::jetson::{Jetson, Parts, Relief, Watch};
use host_runner::board::services::NoServices;
use host_runner::board::session::Session;
use host_runner::board::telemetry::{Clock, Plan, Sampler, TreeMeter};
use host_runner::board::tree::{FileTree, RealTree};
use host_runner::env::answers::DrawnLengths;
use host_runner::env::profile::BoardProfile;
use host_runner::env::queue::Queue;
use host_runner::env::service::Service;
use host_runner::run::control::Control;
use host_runner::run::prompts::Prompt;
use host_runner::run::{Course, serve};
use processes::children_of;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A board as a folder, and what it was like.
struct Bench {
    folder: TempDir,
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        synthetic::unpack(&folder.path().join("board"));
        let mut bench = Self { folder, before: Vec::new() };
        bench.before = bench.contents();
        bench
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("board")
    }

    fn state(&self) -> PathBuf {
        self.root().join("run/energyllm")
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        synthetic::contents(&self.root(), &self.state())
    }

    fn is_as_before(&self) -> bool {
        self.contents() == self.before
    }

    fn min_freq(&self) -> Vec<u8> {
        std::fs::read(self.root().join(synthetic::GPU.trim_start_matches('/')).join("min_freq")).unwrap()
    }

    /// `energyllm` with the board appended to its arguments.
    fn energyllm(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        command.args(arguments).arg("--root").arg(self.root());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A run that would take days.
    fn run(&self) -> Command {
        let mut command = self.energyllm(&["run", "--board", "jetson", "--apply", "--requests", "1000000"]);
        command.args(["--rate", "50", "--governor", "fixed:7,6,8,16,128", "--out"]).arg(self.out());
        command
    }

    /// Waits until the board has been changed.
    fn wait_until_changed(&self, child: &mut Child) {
        while self.min_freq() == b"306000000\n" {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it had changed the board");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Length of the longest file that the run has written beside the board, bytes.
    fn largest_output(&self) -> u64 {
        let files = std::fs::read_dir(self.out()).into_iter().flatten();
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).max().unwrap_or(0)
    }

    /// Waits from now on.
    fn time_to_be_as_before(&self) -> Duration {
        let start = Instant::now();
        while !self.is_as_before() {
            assert!(start.elapsed() < Duration::from_mins(1), "it stays changed");
            std::thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }

    fn restore(&self) -> ExitStatus {
        self.energyllm(&["board", "restore"]).status().unwrap()
    }
}

fn runs() -> u32 {
    std::env::var("ENERGYLLM_KILL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(10)
}

/// Says how long the slowest took; where a hundred were asked for, it must have been a second at most.
fn report(case: &str, slowest: Duration) {
    eprintln!("{case}: {} of {} runs left the board as it was, the slowest within {slowest:?}", runs(), runs());
    assert!(runs() < 100 || slowest <= Duration::from_secs(1), "{case}: {slowest:?}");
}

fn send(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// Starts a run, waits until it has changed the board and a bit longer, and ends it by `end`. What is measured is the time
/// until the board is as it was.
fn ended_by(case: &str, seed: u64, end: impl Fn(&Bench, &mut Child, u32)) {
    let mut random = Pcg32::new(seed);
    let mut slowest = Duration::ZERO;
    for run in 0..runs() {
        let bench = Bench::new();
        let mut child = bench.run().spawn().unwrap();
        bench.wait_until_changed(&mut child);
        std::thread::sleep(Duration::from_millis(u64::from(random.below(200))));
        let start = Instant::now();
        end(&bench, &mut child, run);
        while !bench.is_as_before() {
            assert!(start.elapsed() < Duration::from_mins(1), "{case}, run {run}");
            std::thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(start.elapsed());
        let status = child.wait().unwrap();
        let killed = status.signal() == Some(9);
        // Whoever ends by itself leaves nothing behind at its end; after SIGKILL the process that looks after the run is the
        // last to go.
        assert!(killed || !bench.state().exists(), "{case}, run {run}: the state is still kept");
        // Stopped before its end, or killed.
        assert!(status.code() == Some(130) || status.signal() == Some(9), "{status}");
        assert!(bench.is_as_before(), "{case}, run {run}: changed again");
        while bench.state().exists() {
            assert!(start.elapsed() < Duration::from_mins(1), "{case}, run {run}: the state is still kept");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    report(case, slowest);
}

fn ended_by_signal(signal: &str, seed: u64) {
    ended_by(signal, seed, |_, child, _| send(signal, child.id()));
}

#[test]
fn sigterm() {
    ended_by_signal("-TERM", 1);
}

#[test]
fn sigint() {
    ended_by_signal("-INT", 2);
}

#[test]
fn sighup() {
    ended_by_signal("-HUP", 3);
}

/// Nothing of ours runs any more: neither the run nor the one who looks after it. As after a power cut within one boot.
#[test]
fn sigkill_then_restore() {
    ended_by("SIGKILL to all, board restore", 4, |bench, child, _| {
        for guardian in children_of(child.id()) {
            send("-KILL", guardian);
        }
        send("-KILL", child.id());
        child.wait().unwrap();
        assert!(bench.restore().success());
    });
}

/// The process that looks after the run gives the board back by itself, also beside `board restore`.
#[test]
fn sigkill_alone() {
    ended_by("SIGKILL", 5, |bench, child, run| {
        send("-KILL", child.id());
        child.wait().unwrap();
        if run % 2 == 0 {
            assert!(bench.restore().success());
        }
    });
}

/// Killed before its first state was written, or after it was given back: what lies there is tidied up, and nobody waits for it.
#[test]
fn what_lies_in_the_folder_of_a_killed_run_goes() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.state()).unwrap();
    for name in ["lock", ".partial-baseline.json-x1y2z3"] {
        std::fs::write(bench.state().join(name), "4711\n").unwrap();
    }
    assert!(bench.restore().success());
    assert!(bench.is_as_before() && !bench.state().exists());
}

/// A second signal while the first is being dealt with, and one that comes at once: as one.
#[test]
fn many_signals() {
    ended_by("many signals", 6, |_, child, _| {
        for signal in ["-INT", "-TERM", "-INT", "-HUP"] {
            // It may be gone already.
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status();
        }
    });
}

/// The state cannot be kept: nothing is changed at all.
#[test]
fn a_disk_that_is_full_at_the_start() {
    let mut slowest = Duration::ZERO;
    for _ in 0..runs() {
        let bench = Bench::new();
        let start = Instant::now();
        let output = limited(&bench, 0).stderr(Stdio::piped()).output().unwrap();
        slowest = slowest.max(start.elapsed());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
        assert!(bench.is_as_before());
    }
    eprintln!("a disk that is full at the start: {slowest:?} with the loading of the model");
}

/// The record cannot be written any more: the run ends with an error, and the board is as it was.
#[test]
fn a_disk_that_fills_up() {
    let mut slowest = Duration::ZERO;
    for _ in 0..runs() {
        let bench = Bench::new();
        // No multiple of the record's buffer: the write that does not fit is the one that fills the file to its last byte.
        let mut child = limited(&bench, 33).stderr(Stdio::piped()).spawn().unwrap();
        while bench.largest_output() < 33 * 512 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(bench.time_to_be_as_before());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("clocks and fan are ours") && said.contains("File too large"), "{said}");
        assert!(bench.is_as_before());
        assert!(!bench.state().exists());
    }
    report("a disk that fills up", slowest);
}

/// A run that can write files of so many blocks of 512 bytes at most, as if the disk were full.
fn limited(bench: &Bench, blocks: u32) -> Command {
    let run = bench.run();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(run.get_program()).args(run.get_args()).current_dir(run.get_current_dir().unwrap());
    shell.stdin(Stdio::null()).stdout(Stdio::null());
    shell
}

#[test]
fn a_fan_that_is_held_off() {
    for _ in 0..runs() {
        let bench = Bench::new();
        let mut child = bench.energyllm(&["fan", "off", "--apply"]).spawn().unwrap();
        while bench.is_as_before() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        send("-TERM", child.id());
        assert!(child.wait().unwrap().success());
        assert!(bench.is_as_before() && !bench.state().exists());
    }
}

/// The policy panics in the middle of a run. The child is this test program itself.
#[test]
fn a_policy_that_panics() {
    let mut slowest = Duration::ZERO;
    for run in 0..runs() {
        let bench = Bench::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_whose_policy_panics", "--ignored"]);
        command.env("BOARD", bench.root()).env("TURNS", run.to_string());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let panicked = bench.folder.path().join("panicked");
        while !panicked.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        slowest = slowest.max(bench.time_to_be_as_before());
        assert!(!child.wait().unwrap().success());
        assert!(panicked.exists() && bench.is_as_before(), "run {run}");
        assert!(!bench.state().exists());
    }
    report("a policy that panics", slowest);
}

/// A controller that panics after some turns.
struct Panics {
    controller: Controller<Fixed>,
    turns: u32,
    /// Made at the very moment.
    mark: PathBuf,
}

impl Control for Panics {
    fn step(&mut self, now: BoardInstant, telemetry: &Telemetry) -> anyhow::Result<Decision> {
        if self.turns == 0 {
            std::fs::write(&self.mark, "").unwrap();
            panic!("a bug in the policy");
        }
        self.turns -= 1;
        Ok(self.controller.step(now, telemetry))
    }

    fn settle(&mut self, measurement: Measurement) -> anyhow::Result<StepRecord> {
        Control::settle(&mut self.controller, measurement)
    }

    fn actions(&self) -> &ActionSpace {
        self.controller.actions()
    }

    fn replacements(&mut self) -> anyhow::Result<u32> {
        Ok(0)
    }
}

#[test]
#[ignore = "started by a_policy_that_panics"]
fn child_whose_policy_panics() {
    let root = PathBuf::from(std::env::var_os("BOARD").expect("BOARD names the board's folder"));
    let turns = 1 + std::env::var("TURNS").unwrap().parse::<u32>().unwrap() % 4;
    let tree: Arc<dyn FileTree> = Arc::new(RealTree::new(&root).unwrap());
    let found = Found::discover(tree.as_ref());
    let gpu = found.gpu.clone().unwrap();
    let session = Session::open(&tree, Arc::new(NoServices), &root.join("run/energyllm"), &found, true).unwrap().0;
    let allowed = session.range().unwrap().allowed(&gpu.frequencies_hz);
    let clock = GpuClock::new(Arc::clone(session.gate()), &gpu.devfreq, &gpu.frequencies_hz, allowed, None).unwrap();
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/boards/agx-orin-hf.toml");
    let profile = BoardProfile::read(&profile).unwrap();
    let build = move || -> Arc<dyn host_runner::board::telemetry::Meter> {
        Arc::new(TreeMeter::jetson(Arc::clone(&tree), &Found::discover(tree.as_ref())))
    };
    let sampler = Arc::new(Sampler::start(Box::new(build), Clock::start(), Plan::default()).unwrap());
    let watch = Arc::new(Watch::new(profile.limits.temperature));
    let (gate, services) = (Arc::clone(session.gate()), Arc::clone(session.services()));
    let limit = profile.limits.temperature;
    let fan = FanControl::new(gate, services, &session.baseline(), FanCurve::cautious(), limit);
    let actuator = Actuator::start(Some(clock), fan, watch.thermometer(&sampler)).unwrap();
    let relief = Relief::new(synthetic::TABLE_HZ.to_vec());
    let parts = Parts { sampler, actuator, watch, relief, lowest_hz: 306_000_000, strobe: None, relay: None };
    let stop = AtomicBool::new(false);
    let governor = Fixed::max(&profile.actions);
    let reward = RewardRule::Service(profile.service);
    let controller = Controller::new(governor, profile.actions, Limits::agx_orin(), reward).unwrap();
    let board = Jetson::new(parts, &stop);
    let mut service = Service::new(board, Queue::new(1000.0, 1000, 1), DrawnLengths::new((8, 8), (8, 8), 1));
    let prompts = [Prompt { text: "?".to_owned(), answer: None }];
    let course = Course { prompts: &prompts, fan_off_at: None, stop: &stop };
    let _ =
        serve(&mut service, &mut Panics { controller, turns, mark: root.with_file_name("panicked") }, &course, |_| {
            Ok(())
        });
    unreachable!("the policy panics");
}
