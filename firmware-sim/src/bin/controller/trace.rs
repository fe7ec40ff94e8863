//! What an observer sees of the dead man's switch: a line of text whenever a safety output changes,
//! with times of the microcontroller's own clock. It is no part of the protocol and nobody needs it
//! to run: on this machine it goes to standard error, on the MPS2 board to its second UART.
//!
//! ```text
//! fan_full active 8123456 us, 1000412 us after the last byte, pass late by 35 us
//! ```
//!
//! Nothing here formats with `core::fmt`, which would bring a way to panic into the image.

use controller_core::time::{Duration, Instant};
use core::cell::Cell;
use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_io::{Read, ReadReady, Write, WriteReady};

/// The present pass of the loop, as the line and the pins around it know it.
#[derive(Debug, Default)]
pub struct Pass {
    now: Cell<Instant>,
    late: Cell<Duration>,
    heard: Cell<Instant>,
}

impl Pass {
    /// A pass that was due at `due` begins.
    pub fn begin(&self, now: Instant, due: Option<Instant>) {
        self.now.set(now);
        self.late.set(due.map_or(Duration::ZERO, |due| now.since(due)));
    }
}

/// A line of which is remembered when it last brought a byte.
#[derive(Debug)]
pub struct HeardLine<'p, L> {
    pub line: L,
    pub pass: &'p Pass,
}

impl<L: embedded_io::ErrorType> embedded_io::ErrorType for HeardLine<'_, L> {
    type Error = L::Error;
}

impl<L: ReadReady> ReadReady for HeardLine<'_, L> {
    fn read_ready(&mut self) -> Result<bool, L::Error> {
        self.line.read_ready()
    }
}

impl<L: Read> Read for HeardLine<'_, L> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, L::Error> {
        let count = self.line.read(buffer)?;
        if count > 0 {
            self.pass.heard.set(self.pass.now.get());
        }
        Ok(count)
    }
}

impl<L: WriteReady> WriteReady for HeardLine<'_, L> {
    fn write_ready(&mut self) -> Result<bool, L::Error> {
        self.line.write_ready()
    }
}

impl<L: Write> Write for HeardLine<'_, L> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, L::Error> {
        self.line.write(bytes)
    }

    fn flush(&mut self) -> Result<(), L::Error> {
        self.line.flush()
    }
}

/// A safety output whose changes are told to `out`.
#[derive(Debug)]
pub struct TracedPin<'p, P, W> {
    pin: P,
    out: W,
    name: &'static str,
    pass: &'p Pass,
    active: Option<bool>,
}

impl<'p, P, W: Write> TracedPin<'p, P, W> {
    pub const fn new(name: &'static str, pin: P, out: W, pass: &'p Pass) -> Self {
        Self { pin, out, name, pass, active: None }
    }

    fn tell(&mut self, active: bool) {
        if self.active.replace(active) == Some(active) {
            return;
        }
        let Pass { now, late, heard } = self.pass;
        let silent = now.get().since(heard.get());
        self.say(self.name.as_bytes());
        self.say(if active { b" active " } else { b" quiet " });
        self.say(decimal(now.get().micros(), &mut [0; DIGITS]));
        self.say(b" us, ");
        self.say(decimal(silent.micros(), &mut [0; DIGITS]));
        self.say(b" us after the last byte, pass late by ");
        self.say(decimal(late.get().micros(), &mut [0; DIGITS]));
        self.say(b" us\n");
    }

    fn say(&mut self, part: &[u8]) {
        // An observer that is gone must not disturb the output.
        let _ = self.out.write_all(part);
    }
}

impl<P: ErrorType, W> ErrorType for TracedPin<'_, P, W> {
    type Error = P::Error;
}

impl<P: OutputPin, W: Write> OutputPin for TracedPin<'_, P, W> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        self.pin.set_low()?;
        self.tell(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        self.pin.set_high()?;
        self.tell(true);
        Ok(())
    }
}

/// Digits of the largest u64.
const DIGITS: usize = 20;

/// The decimal digits of a number.
fn decimal(mut number: u64, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut first = DIGITS;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        let [value, ..] = (number % 10).to_le_bytes();
        *digit = b'0' + value;
        number /= 10;
        first = place;
        if number == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}
