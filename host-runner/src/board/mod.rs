//! Real boards: what is there, what it reads, and what can be set.
//!
//! | module | role |
//! |---|---|
//! | [`tree`] | the files of a board, behind a trait with an injected root |
//! | [`attribute`] | one value in one file |
//! | [`discover`] | what a Jetson has, found by content and never by index |
//! | [`session`] | a board under our control: locked, its state kept, given back however it ends |
//! | [`lock`], [`baseline`], [`snapshot`], [`restore`] | its parts: one controller, what was there, taking it down, giving it back |
//! | [`gate`] | the one door through which a board is written |
//! | [`actuator`] | GPU clock and fan, by a thread of their own |
//! | [`fan_curve`], [`power_mode`], [`services`] | the vendor's fan table, clock limits and daemons |
//! | [`jetson`] | all of it as the controller meets it; [`fit`] brings a profile to a board |
//! | [`notify`] | word to systemd |
//! | [`pins`] | GPIO lines, and a power sensor over I2C |
//! | [`moved`] | chips whose number has changed |
//! | [`doctor`] | what a run would miss, and what mends it |
//! | [`desktop`] | machines that are no Jetson: plain Linux, NVIDIA GPUs |
//! | [`survey`] | what kind of board this is, and the meter for it |
//! | [`telemetry`] | what a board says while it works, sampled in threads of its own |
//! | [`tegrastats`] | the lines of NVIDIA's program, of every release, and the program as a source |
//!
//! The facts, per board and release, are in docs/jetson.md.

pub mod actuator;
pub mod attribute;
pub mod baseline;
pub mod desktop;
pub mod discover;
pub mod doctor;
pub mod fan_curve;
pub mod fit;
pub mod gate;
pub mod jetson;
mod kept_files;
pub mod lock;
pub mod moved;
pub mod notify;
pub mod pins;
pub mod power_mode;
pub mod restore;
pub mod services;
pub mod session;
pub mod snapshot;
pub mod survey;
pub mod tegrastats;
pub mod telemetry;
pub mod tree;
