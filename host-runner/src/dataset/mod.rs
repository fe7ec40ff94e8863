//! Grids and prompts.
//!
//! | module | role |
//! |---|---|
//! | [`grid`] | a grid search as settings and what they cost |
//! | [`entropy`] | synthetic depth and entropy for a grid that has none |
//! | [`table`] | any CSV file with a header, by its columns |
//! | [`convert`] | prompts out of published data sets, Arrow only where its lengths are the file's |
//! | [`foreign`] | decoders of others, which may panic |

mod arrow_lengths;
pub mod convert;
pub mod entropy;
pub mod foreign;
pub mod grid;
pub mod table;
