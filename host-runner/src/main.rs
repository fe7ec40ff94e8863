//! The `energyllm` program; everything is in the library.

fn main() -> std::process::ExitCode {
    host_runner::cli::main()
}
