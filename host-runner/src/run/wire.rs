//! How the bytes get to the firmware: over a line in this process, or through the standard input
//! and output of a program, QEMU among them.

use controller_core::time::Instant;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::Memory;
use firmware_sim::app::{App, PERIOD};
use firmware_sim::line::{End, Pipe};
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A line to the firmware.
pub trait Wire {
    /// Sends bytes.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Adds what has come, after a moment at most; nothing when nothing came.
    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<()>;
}

/// Bytes of a slot: ten times the shipped policy.
const SLOT: usize = 64 * 1024;

/// The firmware's application in this process, as a new microcontroller: its slots are empty. Its
/// clock runs while it is waited for, one period for every pass of its loop.
#[derive(Debug)]
pub struct InProcess {
    app: App<Memory<SLOT>>,
    down: Pipe,
    up: Pipe,
    now: Instant,
}

impl Default for InProcess {
    fn default() -> Self {
        let app = App::boot(Memory::new(), Instant::ZERO);
        Self { app, down: Pipe::default(), up: Pipe::default(), now: Instant::ZERO }
    }
}

impl Wire for InProcess {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.down.put(bytes);
        Ok(())
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.now = self.now + PERIOD;
        let line = End { incoming: &mut self.down, outgoing: &mut self.up };
        let mut ports = Ports { line, fan_full: NoPin, power_cap: NoPin, watchdog: NoWatchdog };
        self.app.pass(self.now, &mut ports);
        bytes.extend(std::iter::from_fn(|| self.up.take()));
        Ok(())
    }
}

/// The simulated board has no safety inputs.
struct NoPin;

impl ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A program whose standard input and output are the line. It ends with this value.
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

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self.output.recv_timeout(Duration::from_millis(20)) {
            Ok(come) => bytes.extend(come),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to do about it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
