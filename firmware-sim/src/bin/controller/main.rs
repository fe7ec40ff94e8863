//! The controller as a program of its own: [`firmware_sim::app::App`] on a board. Built for a
//! Cortex-M4 it is the firmware of an MPS2 board with application note AN386, as QEMU models it;
//! built for this machine the same application speaks over standard input and output, a TCP port or a
//! pseudo-terminal.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

#[cfg(not(target_os = "none"))]
mod host;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "registers have no other name than their addresses")]
mod mps2;
#[cfg(not(target_os = "none"))]
mod pty;
#[cfg(not(target_os = "none"))]
mod stdio;
#[cfg(target_os = "none")]
mod target;
#[cfg(not(target_os = "none"))]
mod tcp;
mod trace;

/// Bytes of a slot for policy images.
const SLOT: usize = 64 * 1024;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    host::main()
}
