//! What our own code costs on this machine.

pub mod decide;
pub mod telemetry;
