//! Governors and policies side by side.
//!
//! | module | role |
//! |---|---|
//! | [`closed_loop`] | on the simulated board, scenario by scenario |
//! | [`fan_off`] | batch after batch, with a fan that stops for good |
//! | [`freezing`] | a policy before and after it was frozen |
//! | [`prototype`] | on the temperatures of a published training log, under its own reward |

pub mod closed_loop;
pub mod fan_off;
pub mod freezing;
pub mod prototype;
