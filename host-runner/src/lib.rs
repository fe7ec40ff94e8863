//! Host library.

pub mod llm;
