//! Real boards: what is there, what it reads, and what can be set.
//!
//! | module | role |
//! |---|---|
//! | [`tree`] | the files of a board, behind a trait with an injected root |
//! | [`attribute`] | one value in one file |
//! | [`discover`] | what a Jetson has, found by content and never by index |
//! | [`desktop`] | machines that are no Jetson: plain Linux, NVIDIA GPUs |
//! | [`survey`] | what kind of board this is, and the meter for it |
//! | [`telemetry`] | what a board says while it works, sampled in threads of its own |
//! | [`tegrastats`] | the lines of NVIDIA's program, of every release, and the program as a source |
//!
//! The facts, per board and release, are in docs/jetson.md.

pub mod attribute;
pub mod desktop;
pub mod discover;
pub mod survey;
pub mod tegrastats;
pub mod telemetry;
pub mod tree;
