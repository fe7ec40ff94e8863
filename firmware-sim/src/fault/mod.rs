//! Faults on purpose, seeded: the same seed gives the same faults.
//!
//! | type | what fails |
//! |---|---|
//! | [`LineFaults`] | frames on their way: dropped, doubled, reordered, changed, delayed, cut in two |
//! | [`SensorFaults`] | readings: no value, the same value for ever, a value that never was |
//!
//! A reset of the microcontroller, at any byte that it writes, is
//! [`crate::app::storage::Memory::power_until`] and [`crate::app::App::power_off`].

mod line;
mod sensor;

pub use line::{LineCounts, LineFaults};
pub use sensor::{SensorFault, SensorFaults};
