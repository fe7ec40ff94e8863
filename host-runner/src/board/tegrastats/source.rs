//! The program `tegrastats` as a source: one child process, read in a thread of its own.

use super::Line;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest line that is read, bytes; the longest known has 1.1 KB.
const MAX_LINE: u64 = 64 << 10;

/// Why there is no `tegrastats`.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The program cannot be started.
    #[error("cannot start {program}: {cause}; it comes with the package nvidia-l4t-tools", program = program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It said nothing that is known.
    #[error("{program} prints no line that is known; run it by hand to see what it says", program = program.display())]
    Silent {
        /// The program.
        program: PathBuf,
    },
}

/// A line and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The line.
    pub line: Line,
    /// When its last byte was read. The date in the line is local time and may jump.
    pub taken_at: Instant,
}

/// A running `tegrastats`.
///
/// Its end is ours: it is killed when this value goes, and when this process is killed it dies of the
/// closed pipe at its next line.
#[derive(Debug)]
pub struct Tegrastats {
    child: Child,
    latest: Arc<Mutex<Option<Stamped>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tegrastats {
    /// Starts the program with this time between lines.
    pub fn start(program: &Path, interval: Duration) -> Result<Self, SourceError> {
        let milliseconds = interval.as_millis().max(1).to_string();
        let mut command = Command::new(program);
        command.args(["--interval", &milliseconds]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = |cause| SourceError::Start { program: program.to_owned(), cause };
        let mut child = command.spawn().map_err(start)?;
        let latest = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&latest);
        let output = child.stdout.take();
        let reader = std::thread::Builder::new().name("tegrastats".to_owned()).spawn(move || {
            let Some(mut output) = output.map(BufReader::new) else { return };
            while let Some(line) = whole_line(&mut output) {
                let stamped = Stamped { line: Line::parse(&line), taken_at: Instant::now() };
                if stamped.line.says_something() {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamped);
                }
            }
        });
        match reader {
            Ok(reader) => Ok(Self { child, latest, reader: Some(reader) }),
            Err(cause) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(start(cause))
            }
        }
    }

    /// The last line that was complete.
    #[must_use]
    pub fn latest(&self) -> Option<Stamped> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The program has closed its output; no line will come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Tegrastats {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The next line that ends; a line that is cut off by the end of the output is none.
fn whole_line(output: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    output.take(MAX_LINE).read_until(b'\n', &mut bytes).ok()?;
    (bytes.last() == Some(&b'\n')).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that prints what `tegrastats` would, without end.
    fn program(folder: &Path, body: &str) -> PathBuf {
        let path = folder.join("tegrastats");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Another test that forks at this moment holds the new file open for writing for an instant.
    fn start(program: &Path, interval: Duration) -> Tegrastats {
        loop {
            match Tegrastats::start(program, interval) {
                Ok(source) => return source,
                Err(SourceError::Start { cause, .. }) => {
                    assert_eq!(cause.kind(), std::io::ErrorKind::ExecutableFileBusy);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn wait_for(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_mins(1), "it never came");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn the_last_whole_line_is_kept_and_the_child_dies_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(
            folder.path(),
            r#"echo $$ > "$0.pid"; echo "$@" > "$0.args"; echo VDD_IN 5mW/5mW; printf 'VDD_IN 9mW/9'; exec sleep 600"#,
        );
        let source = start(&path, Duration::from_millis(250));
        wait_for(|| source.latest().is_some());
        assert_eq!(source.latest().unwrap().line.rails[0].1.now_mw, 5);
        assert_eq!(std::fs::read_to_string(folder.path().join("tegrastats.args")).unwrap(), "--interval 250\n");
        assert!(!source.has_ended());
        let pid = std::fs::read_to_string(folder.path().join("tegrastats.pid")).unwrap();
        drop(source);
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }

    #[test]
    fn its_rails_and_zones_are_channels() {
        use crate::board::tegrastats::TegrastatsMeter;
        use crate::board::telemetry::{Clock, Meter as _, Sample};
        let folder = tempfile::tempdir().unwrap();
        let line = "PMIC@100C CPU@40.5C VDD_IN 5000mW/5000mW VDD_SOC 900mW/900mW";
        let path = program(folder.path(), &format!("while :; do echo {line}; sleep 0.05; done"));
        drop(start(&path, Duration::ZERO));
        let meter = TegrastatsMeter::start(&path, Duration::from_mins(10)).unwrap();
        let mut sample = Sample::default();
        sample.read(&meter, &Clock::start());
        let telemetry = sample.telemetry(meter.channels());
        assert_eq!(telemetry.power.value().map(|power| power.0), Some(5000));
        assert_eq!(telemetry.temperature.value().map(|temperature| temperature.0), Some(40_500));
        let silent = program(folder.path(), "echo tegrastats: not for you");
        drop(start(&silent, Duration::ZERO));
        let error = TegrastatsMeter::start(&silent, Duration::ZERO).err().unwrap();
        assert!(error.to_string().contains("no line that is known"), "{error}");
    }

    #[test]
    fn a_program_that_ends_or_is_absent_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let source = start(&program(folder.path(), "echo nothing known"), Duration::ZERO);
        wait_for(|| source.has_ended());
        assert_eq!(source.latest(), None);
        let error = Tegrastats::start(&folder.path().join("none"), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("nvidia-l4t-tools"), "{error}");
    }
}
