//! Made-up policies and turns, to measure what the controller costs on any machine.

mod policy;
mod turn;

pub use policy::{Room, Shape};
pub use turn::{Turn, comparison, fallback, reward};
