//! Conformance against recorded truth: `energyllm verify ...`.

pub mod board;
pub mod grpo;
pub mod plant;
pub mod policy;
pub mod reward;
pub mod table;
