//! The application on the bare board.

use crate::SLOT;
use crate::mps2::{Clock, CmsdkWatchdog, Led, TraceUart, Uart};
use crate::trace::{HeardLine, Pass, TracedPin};
use core::panic::PanicInfo;
use cortex_m::Peripherals;
use firmware_sim::app::App;
use firmware_sim::app::ports::Ports;
use firmware_sim::app::storage::Memory;

#[cortex_m_rt::entry]
fn main() -> ! {
    if let Some(peripherals) = Peripherals::take() {
        run(Clock::start(peripherals.SYST));
    }
    reset()
}

/// The slots are plain memory here: they are empty after a reset, and the host fills them.
fn run(mut clock: Clock) -> ! {
    let pass = Pass::default();
    let mut ports = Ports {
        line: HeardLine { line: Uart::start(), pass: &pass },
        fan_full: TracedPin::new("fan_full", Led::new(0), TraceUart::start(), &pass),
        power_cap: TracedPin::new("power_cap", Led::new(1), TraceUart::start(), &pass),
        watchdog: CmsdkWatchdog::start(),
    };
    ports.protect(true);
    let mut app = App::boot(Memory::<SLOT>::new(), clock.now());
    loop {
        ports.line.line.poll();
        let now = clock.now();
        if app.due().is_none_or(|due| now >= due) {
            pass.begin(now, app.due());
            app.pass(now, &mut ports);
        }
    }
}

fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

/// Linked only if something can panic. A reset makes the outputs active.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    reset()
}
