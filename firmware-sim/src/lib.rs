//! Simulated board.
#![no_std]
