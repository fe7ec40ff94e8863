//! The application over standard input and output, in real time. It ends with its input.

use crate::SLOT;
use controller_core::time::Instant;
use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_io::{Read, ReadReady, Write, WriteReady};
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::Memory;
use firmware_sim::app::{App, PERIOD};
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

/// Standard input, read by a thread of its own so that nobody waits for it, and output.
struct Stdio {
    incoming: Receiver<u8>,
    next: Option<u8>,
    ended: bool,
}

impl Stdio {
    fn open() -> Self {
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            let mut stdin = std::io::stdin().lock();
            while let Ok(count @ 1..) = stdin.read(&mut buffer) {
                if buffer[..count].iter().any(|byte| sender.send(*byte).is_err()) {
                    return;
                }
            }
        });
        Self { incoming, next: None, ended: false }
    }

    fn take(&mut self) -> Option<u8> {
        self.next.take().or_else(|| match self.incoming.try_recv() {
            Ok(byte) => Some(byte),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                None
            }
        })
    }
}

impl embedded_io::ErrorType for Stdio {
    type Error = embedded_io::ErrorKind;
}

impl ReadReady for Stdio {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        self.next = self.take();
        Ok(self.next.is_some())
    }
}

impl Read for Stdio {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let mut count = 0;
        for (place, byte) in buffer.iter_mut().zip(std::iter::from_fn(|| self.take())) {
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl WriteReady for Stdio {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        // Nobody listens any more: the same as the end of the input.
        self.ended |= written.is_err();
        written.map(|()| bytes.len()).map_err(|_| embedded_io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A safety output, told to whoever reads standard error.
struct Lamp {
    name: &'static str,
    active: Option<bool>,
}

impl Lamp {
    fn set(&mut self, active: bool) {
        if self.active.replace(active) != Some(active) {
            eprintln!("{}: {}", self.name, if active { "active" } else { "quiet" });
        }
    }
}

impl ErrorType for Lamp {
    type Error = Infallible;
}

impl OutputPin for Lamp {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}

pub fn main() {
    let started = std::time::Instant::now();
    let clock = || Instant::from_micros(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    let lamp = |name| Lamp { name, active: None };
    let mut ports =
        Ports { line: Stdio::open(), fan_full: lamp("fan_full"), power_cap: lamp("power_cap"), watchdog: NoWatchdog };
    ports.protect(true);
    let mut app = App::boot(Memory::<SLOT>::new(), clock());
    while !ports.line.ended {
        app.pass(clock(), &mut ports);
        let due = app.due().unwrap_or_default();
        std::thread::sleep(Duration::from_micros(due.since(clock()).micros().min(PERIOD.micros())));
    }
}
