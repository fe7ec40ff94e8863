//! Measuring: energy out of samples of power, power out of counters of energy.

pub mod counter;
pub mod energy;
