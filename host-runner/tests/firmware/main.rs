//! The program and a microcontroller that is another process: over TCP, over a pseudo-terminal and
//! in QEMU, with hosts that are killed, lines that are cut, and a main loop that hangs.

mod board;
mod commands;
mod killed_hosts;
mod links;
