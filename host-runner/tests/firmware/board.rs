//! A process that stands in for the microcontroller, and outlives its hosts.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_mins(2);

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `energyllm` in the root of the workspace, where the shipped files are found.
pub fn energyllm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(workspace()).args(arguments);
    command
}

pub fn output(arguments: &[&str]) -> Output {
    energyllm(arguments).output().unwrap()
}

pub struct Board {
    child: Child,
    /// For `--controller` and `--link`.
    pub link: String,
    trace: Receiver<String>,
}

/// What is told of a safety output, in microseconds of the microcontroller's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub active: bool,
    pub at_us: u64,
    pub silent_us: u64,
    pub late_us: u64,
}

impl Change {
    /// `None` for anything else than the fan's line.
    fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("fan_full ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        let mut number = || numbers.next();
        let active = rest.starts_with("active ");
        Some(Self { active, at_us: number()?, silent_us: number()?, late_us: number()? })
    }
}

impl Board {
    pub fn on_tcp() -> Self {
        Self::on_tcp_at("127.0.0.1:0")
    }

    pub fn on_tcp_at(address: &str) -> Self {
        Self::start(Command::new(controller()).args(["--listen", address]))
    }

    pub fn on_a_pty() -> Self {
        Self::start(Command::new(controller()).arg("--pty"))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let trace = lines(child.stderr.take().unwrap());
        let said = trace.recv_timeout(PATIENCE).unwrap();
        let link = said.strip_prefix("listening on ").unwrap_or_else(|| panic!("{said}")).to_owned();
        Self { child, link, trace }
    }

    /// The emulated Cortex-M4; `None` where it is missing.
    pub fn in_qemu() -> Option<Self> {
        let firmware = emulated_controller()?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("qemu-system-arm");
        command.args(["-machine", "mps2-an386", "-cpu", "cortex-m4", "-display", "none", "-monitor", "none"]);
        command.args(["-serial", &format!("tcp:127.0.0.1:{port},server=on,wait=off"), "-serial", "stdio", "-kernel"]);
        let mut child = command.arg(firmware).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let trace = lines(child.stdout.take().unwrap());
        Some(Self { child, link: format!("tcp:127.0.0.1:{port}"), trace })
    }

    /// The next change of the output to this state; others before it are passed over.
    pub fn wait_for(&self, active: bool) -> Change {
        loop {
            let line = self.trace.recv_timeout(PATIENCE).expect("the microcontroller tells of its outputs");
            match Change::parse(&line) {
                Some(change) if change.active == active => return change,
                _ => {}
            }
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The program `controller` for the emulated board, as it is in the sources now; `None` where the
/// emulator or the compiler's target is missing. An image that lies there from before would speak
/// another protocol than this host, or decide otherwise.
fn emulated_controller() -> Option<PathBuf> {
    const TARGET: &str = "thumbv7em-none-eabihf";
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let has_target = libraries.is_ok_and(|it| Path::new(String::from_utf8_lossy(&it.stdout).trim()).is_dir());
    if !has_target || Command::new("qemu-system-arm").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs qemu-system-arm and the Rust target {TARGET}; `./x firmware` installs both");
        return None;
    }
    let build =
        ["build", "--quiet", "--profile", "firmware", "--target", TARGET, "-p", "firmware-sim", "--bin", "controller"];
    // Incremental builds leave checks in that the optimizer removes from the whole program.
    let mut cargo = Command::new(env!("CARGO"));
    let status = cargo.current_dir(workspace()).env_remove("CARGO_INCREMENTAL").args(build).status().unwrap();
    assert!(status.success(), "cargo {build:?}");
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    Some(folder.join(TARGET).join("firmware/controller"))
}

/// The program `controller`, as it is in the sources now.
fn controller() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let build = ["build", "--release", "--quiet", "-p", "firmware-sim", "--bin", "controller"];
        let status = Command::new(env!("CARGO")).current_dir(workspace()).args(build).status().unwrap();
        assert!(status.success(), "cargo {build:?}");
        Path::new(env!("CARGO_BIN_EXE_energyllm")).with_file_name("controller")
    })
}
