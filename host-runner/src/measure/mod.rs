//! Measuring: energy out of samples of power, power out of counters of energy, percentiles out of samples of anything.

pub mod counter;
pub mod energy;
pub mod percentile;
