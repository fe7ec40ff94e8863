//! Host library.

pub mod verify;
