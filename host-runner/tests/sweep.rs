//! A sweep killed at random and started again: the file is that of a sweep that nobody disturbed.

use firmware_sim::plant::noise::Generator;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sweep(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(workspace()).args(["sweep", "--decode", "0-10", "--prefill", "0-10", "--batch", "1,8,32"]);
    command.args(["--interference", "0.05", "--fan", "0,255", "--out", out.to_str().unwrap()]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How often it is killed: five times, or what `ENERGYLLM_SWEEP_KILLS` says (the full check is 20).
fn kills() -> usize {
    std::env::var("ENERGYLLM_SWEEP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[test]
fn killed_at_random_and_resumed_the_file_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (calm, rough) = (folder.path().join("calm.csv"), folder.path().join("rough.csv"));
    let started = Instant::now();
    assert!(sweep(&calm, &[]).status().unwrap().success());
    let whole_s = started.elapsed().as_secs_f64();
    let expected = std::fs::read(&calm).unwrap();
    let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    assert_eq!(lines(&calm), 1 + 11 * 11 * 3 * 2);

    let mut generator = Generator::new(20_261_122);
    let mut cut_short = 0;
    for number in 0..kills() {
        let mut child = sweep(&rough, &[]).spawn().unwrap();
        // From before the first row to a good part of what a whole sweep took on this machine.
        std::thread::sleep(Duration::from_secs_f64(0.4 * whole_s * generator.uniform()));
        // SIGKILL: nothing is flushed, no handler runs.
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        cut_short += usize::from(!ended);
        let so_far = std::fs::read(&rough).unwrap_or_default();
        let whole = so_far.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        println!("kill {number}: {} whole lines, {} bytes torn", lines(&rough), so_far.len() - whole);
        assert_eq!(so_far[..whole], expected[..whole], "kill {number}: whole rows are those of the calm sweep");
    }
    assert!(cut_short > 0, "every run was over before it was killed: the test showed nothing");
    assert!(sweep(&rough, &[]).status().unwrap().success());
    assert_eq!(std::fs::read(&rough).unwrap(), expected, "after {cut_short} kills");
    // A finished sweep has nothing to do and changes nothing.
    assert!(sweep(&rough, &[]).status().unwrap().success());
    assert_eq!(std::fs::read(&rough).unwrap(), expected);
    assert_eq!(sweep(&rough, &["--seed", "2"]).status().unwrap().code(), Some(2), "another plan is refused");
}
