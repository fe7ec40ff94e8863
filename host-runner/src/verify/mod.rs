//! Conformance against recorded truth: `energyllm verify ...`.

pub mod plant;
