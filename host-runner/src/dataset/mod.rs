//! Grids and prompts.
//!
//! | module | role |
//! |---|---|
//! | [`grid`] | a grid search as settings and what they cost |

pub mod grid;
