//! What executes: the simulated board, and the controller as firmware.
//!
//! | module | role |
//! |---|---|
//! | [`app`] | the controller as firmware: loop, link, uploads, dead man's switch |
//! | [`board`] | the simulated board as the controller meets it |
//! | [`plant`] | its physics: latency, power, temperature, throttling |
//! | [`mod@line`] | a serial line inside one program |
//! | [`fault`] | seeded faults of line and sensors |
//! | [`digest`] | one number over many decisions, equal on every machine |
//! | [`synthetic`] | policies and turns made up to measure costs |
//!
//! The same source runs on the host and, emulated, on a Cortex-M4: no allocator, no clock, no
//! operating system, and floating point only through `libm`, whose results are the same
//! everywhere.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod app;
pub mod board;
pub mod digest;
pub mod fault;
pub mod line;
pub mod plant;
pub mod synthetic;
