//! Shared support for the cross-crate tests.

/// The README's Rust example, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

pub mod closed_loop;

use std::path::{Path, PathBuf};

/// A file of the workspace.
#[must_use]
pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
