//! What our own code costs on this machine.

pub mod decide;
pub mod simulate;
pub mod telemetry;
pub mod train_step;
