//! The self-test on a bare Cortex-M: console and exit code go through semihosting. A panic ends
//! in `panic-semihosting`, which prints its message and fails the run.

use crate::{Failure, cost, selftest};
use core::fmt::Write;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
use cortex_m_semihosting::hio::{hstderr, hstdout};
use panic_semihosting as _;

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
