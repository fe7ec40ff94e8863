//! Simulated board.
#![no_std]
#![forbid(unsafe_code)]

pub mod plant;
