//! The firmware's application in this process, and a line inside it.

use super::Wire;
use controller_core::time::Instant;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::Memory;
use firmware_sim::app::{App, PERIOD};
use firmware_sim::line::{End, Pipe};
use std::convert::Infallible;
use std::io;
use std::time::Duration;

/// Bytes of a slot: ten times the shipped policy.
const SLOT: usize = 64 * 1024;

/// The application as a new microcontroller: its slots are empty. Its clock runs while it is waited
/// for, one period for every pass of its loop.
#[derive(Debug)]
pub struct InProcess {
    app: Box<App<Memory<SLOT>>>,
    down: Pipe,
    up: Pipe,
    now: Instant,
}

impl Default for InProcess {
    fn default() -> Self {
        let app = Box::new(App::boot(Memory::new(), Instant::ZERO));
        Self { app, down: Pipe::default(), up: Pipe::default(), now: Instant::ZERO }
    }
}

impl InProcess {
    /// Turns the power off and on: what the slots hold is left.
    pub fn reset(&mut self) {
        let storage = self.app.storage().clone();
        *self = Self { app: Box::new(App::boot(storage, Instant::ZERO)), ..Self::default() };
    }

    /// Lets time pass without a host.
    pub fn sleep(&mut self, time: controller_core::time::Duration) {
        let until = self.now + time;
        while self.now < until {
            self.pass();
        }
    }

    fn pass(&mut self) {
        self.now = self.now + PERIOD;
        let line = End { incoming: &mut self.down, outgoing: &mut self.up };
        let mut ports = Ports { line, fan_full: NoPin, power_cap: NoPin, watchdog: NoWatchdog };
        self.app.pass(self.now, &mut ports);
    }
}

impl Wire for InProcess {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.down.put(bytes);
        Ok(())
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        self.pass();
        bytes.extend(std::iter::from_fn(|| self.up.take()));
        Ok(Duration::from_micros(PERIOD.micros()))
    }

    fn runs_alone(&self) -> bool {
        false
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
