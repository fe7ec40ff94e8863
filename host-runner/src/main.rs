//! The `energyllm` program.
fn main() {}
