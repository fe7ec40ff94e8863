//! A program whose standard input and output are the line, QEMU among them.

use super::{MOMENT, Wire};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The program. It ends with this value.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
}

impl Program {
    /// QEMU's MPS2 board with AN386, running a firmware image.
    pub fn qemu(image: &Path) -> io::Result<Self> {
        let mut command = Command::new("qemu-system-arm");
        command.args(["-machine", "mps2-an386", "-cpu", "cortex-m4", "-display", "none", "-monitor", "none"]);
        command.args(["-serial", "stdio", "-kernel"]).arg(image);
        Self::start(command)
    }

    fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, output })
    }
}

impl Wire for Program {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.write_all(bytes)?;
        self.input.flush()
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        let before = Instant::now();
        match self.output.recv_timeout(MOMENT) {
            Ok(come) => bytes.extend(come),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(before.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to do about it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
