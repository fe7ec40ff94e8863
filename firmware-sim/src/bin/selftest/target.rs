//! The self-test on a bare Cortex-M: console and exit code go through semihosting.

use crate::{Failure, cost, selftest};
use core::fmt::Write;
use core::panic::PanicInfo;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
use cortex_m_semihosting::hio::{hstderr, hstdout};

#[entry]
fn main() -> ! {
    let status = match run() {
        Ok(()) => EXIT_SUCCESS,
        Err(failure) => {
            complain(format_args!("selftest: {failure}"));
            EXIT_FAILURE
        }
    };
    loop {
        exit(status);
    }
}

fn run() -> Result<(), Failure> {
    selftest(&mut hstdout().map_err(|()| Failure::Output)?)?;
    // Only this machine knows its costs, so they are no part of the lines that must agree.
    cost::report(&mut hstderr().map_err(|()| Failure::Output)?)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    complain(format_args!("selftest: {info}"));
    loop {
        exit(EXIT_FAILURE);
    }
}

/// Without this a fault would spin for ever and nobody would know.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    complain(format_args!("selftest: hard fault, {frame:?}"));
    loop {
        exit(EXIT_FAILURE);
    }
}

fn complain(sentence: core::fmt::Arguments<'_>) {
    if let Ok(mut stderr) = hstderr() {
        // Nothing is left to tell anybody when even this fails; the exit code still does.
        let _ = writeln!(stderr, "{sentence}");
    }
}
