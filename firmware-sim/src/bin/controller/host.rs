//! The application on this machine, in real time. Its line is standard input and output, a TCP port
//! or a pseudo-terminal; its outputs are told on standard error.

use crate::SLOT;
use crate::pty::Pty;
use crate::stdio::Stdio;
use crate::tcp::Tcp;
use crate::trace::{HeardLine, Pass, TracedPin};
use controller_core::time::Instant;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::ports::{Line, NoWatchdog, Ports};
use firmware_sim::app::storage::Memory;
use firmware_sim::app::{App, PERIOD};
use std::convert::Infallible;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: controller [--listen HOST:PORT | --pty]

The EnergyLLM controller as a process that stands in for a microcontroller. It speaks the protocol of
docs/wire-format.md over standard input and output and ends with its input; or over a TCP port or a
pseudo-terminal, where it outlives its hosts. Its safety outputs are told on standard error, with the
time of its own clock.

  --listen HOST:PORT   one host at a time; a new connection takes the place of the one before.
                       Port 0 takes a free one; standard error says which
  --pty                a serial port for hosts on this machine; standard error says where

Examples:
  controller --listen 127.0.0.1:7070 &  energyllm run --controller tcp:127.0.0.1:7070
  controller --pty &                    energyllm firmware status --link serial:/dev/pts/5";

pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => serve(Stdio::open(), |line| line.ended),
        ["--listen", address] => match Tcp::listen(address) {
            Ok((port, address)) => {
                tell(&format!("listening on tcp:{address}"));
                serve(port, |_| false);
            }
            Err(error) => return fail(&format!("cannot listen on {address}: {error}; give HOST:PORT")),
        },
        ["--pty"] => match Pty::open() {
            Ok((port, path)) => {
                tell(&format!("listening on serial:{path}"));
                serve(port, |_| false);
            }
            Err(error) => return fail(&format!("there is no pseudo-terminal: {error}")),
        },
        ["-h" | "--help"] => tell(USAGE),
        _ => return fail(USAGE),
    }
    ExitCode::SUCCESS
}

/// Runs the application until the line has ended.
fn serve<L: Line>(line: L, ended: impl Fn(&L) -> bool) {
    let started = std::time::Instant::now();
    let clock = || Instant::from_micros(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    let pass = Pass::default();
    let pin = |name| TracedPin::new(name, Nowhere, Stderr, &pass);
    let line = HeardLine { line, pass: &pass };
    let mut ports = Ports { line, fan_full: pin("fan_full"), power_cap: pin("power_cap"), watchdog: NoWatchdog };
    ports.protect(true);
    let mut app = App::boot(Memory::<SLOT>::new(), clock());
    while !ended(&ports.line.line) {
        let now = clock();
        pass.begin(now, app.due());
        app.pass(now, &mut ports);
        let due = app.due().unwrap_or_default();
        std::thread::sleep(Duration::from_micros(due.since(clock()).micros().min(PERIOD.micros())));
    }
}

/// A pin of a machine that has none.
struct Nowhere;

impl ErrorType for Nowhere {
    type Error = Infallible;
}

impl OutputPin for Nowhere {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Standard error; it may be closed.
struct Stderr;

impl embedded_io::ErrorType for Stderr {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        std::io::stderr().write(bytes).map_err(|_| embedded_io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn fail(text: &str) -> ExitCode {
    tell(&format!("controller: {text}"));
    ExitCode::from(2)
}
