//! The self-test as a normal program. With `--million` it prints one digest over a million
//! observations instead, which would take an emulator too long.

use crate::{Failure, IMAGE, SEED};
use controller_core::policy::{Policy, PolicyImage};
use firmware_sim::digest::decision_digest;
use std::process::ExitCode;

/// Prints the lines; a failure goes to stderr and into the exit code.
pub fn main() -> ExitCode {
    let mut lines = String::new();
    let result = match std::env::args().nth(1).as_deref() {
        None => crate::selftest(&mut lines),
        Some("--million") => million().map(|digest| lines = format!("{digest:016x}\n")),
        Some(_) => {
            eprintln!("usage: selftest [--million]");
            return ExitCode::from(2);
        }
    };
    print!("{lines}");
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("selftest: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn million() -> Result<u64, Failure> {
    let policy = Policy::new(PolicyImage::new_checked(IMAGE)?)?;
    Ok(decision_digest(&policy, SEED, 1_000_000))
}
