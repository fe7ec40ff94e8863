//! Counts instructions with the system timer. Under `-icount shift=0` the emulator gives every
//! instruction one virtual nanosecond and the board's timer ticks at 25 MHz; on silicon the same
//! ticks would mean something else.

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

/// What a count may be off by, too.
pub const INSTRUCTIONS_PER_TICK: u32 = 40;

const TIMER_TOP: u32 = 0x00FF_FFFF;

/// The running system timer.
pub struct Counter(SYST);

impl Counter {
    /// `None` when the timer is already taken.
    pub fn start() -> Option<Self> {
        let mut timer = Peripherals::take()?.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TIMER_TOP);
        timer.clear_current();
        timer.enable_counter();
        Some(Self(timer))
    }

    /// Instructions that `work` takes, at most 671 million.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> u32 {
        let before = self.0.cvr.read();
        core::hint::black_box(work());
        let after = self.0.cvr.read();
        // It counts down, in 24 bits.
        (before.wrapping_sub(after) & TIMER_TOP) * INSTRUCTIONS_PER_TICK
    }
}
