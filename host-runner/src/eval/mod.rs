//! Governors and policies side by side.
//!
//! | module | role |
//! |---|---|
//! | [`prototype`] | on the temperatures of a published training log, under its own reward |

pub mod prototype;
