//! What a board brings: a serial line, two pins and a watchdog. The line and the pins are those of
//! embedded-io and embedded-hal, so that the published HAL of a chip fits without a shim.

use embedded_hal::digital::OutputPin;
use embedded_io::{Read, ReadReady, Write, WriteReady};

/// A watchdog that resets the chip when it is not fed in time. It must run from a clock of its
/// own, and time out after several periods of the loop.
pub trait Watchdog {
    /// Everything is well.
    fn feed(&mut self);
}

/// A board without a watchdog, for simulations.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatchdog;

impl Watchdog for NoWatchdog {
    fn feed(&mut self) {}
}

/// A serial line that never makes its user wait.
pub trait Line: Read + ReadReady + Write + WriteReady {}

impl<T: Read + ReadReady + Write + WriteReady> Line for T {}

/// The ports of a board.
#[derive(Debug)]
pub struct Ports<L, F, P, W> {
    /// To the host and back.
    pub line: L,
    /// High: fan at full speed, whatever anybody else wants.
    pub fan_full: F,
    /// High: the module caps its power.
    pub power_cap: P,
    /// The chip's watchdog.
    pub watchdog: W,
}

impl<L: Line, F: OutputPin, P: OutputPin, W: Watchdog> Ports<L, F, P, W> {
    /// Drives both safety outputs. A program calls it with `true` before it boots the application,
    /// whose self-test takes its time; the application calls it in every pass, so that a pin that
    /// was disturbed, or failed once, is right again at the next.
    pub fn protect(&mut self, active: bool) {
        let state = active.into();
        // A pin that cannot be driven is tried again in the next pass; there is nobody to tell.
        let _ = self.fan_full.set_state(state);
        let _ = self.power_cap.set_state(state);
    }
}
