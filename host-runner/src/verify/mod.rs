//! Conformance against recorded truth: `energyllm verify ...`.

pub mod grpo;
pub mod plant;
pub mod reward;
pub mod table;
