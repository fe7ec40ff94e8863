//! Shared support for the cross-crate tests.

/// The README's Rust example, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
