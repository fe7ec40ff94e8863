//! The self-test as a normal program.

use std::process::ExitCode;

/// Prints the lines; a failure goes to stderr and into the exit code.
pub fn main() -> ExitCode {
    let mut lines = String::new();
    let result = crate::selftest(&mut lines);
    print!("{lines}");
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("selftest: {failure}");
            ExitCode::FAILURE
        }
    }
}
