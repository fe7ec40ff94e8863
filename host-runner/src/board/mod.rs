//! Real boards: what is there, what it reads, and what can be set.
//!
//! | module | role |
//! |---|---|
//! | [`tree`] | the files of a board, behind a trait with an injected root |
//! | [`attribute`] | one value in one file |
//! | [`discover`] | what a Jetson has, found by content and never by index |
//!
//! The facts, per board and release, are in docs/jetson.md.

pub mod attribute;
pub mod discover;
pub mod tree;
