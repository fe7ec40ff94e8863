//! The door to llama.cpp's insides, and the only unsafe code of this crate.
//!
//! `llama-cpp-2` covers models, vocabularies, batches and the KV cache. It cannot look at a running graph. This module
//! adds that: a callback that stops the graph behind a chosen layer ([`hook`]) or goes on behind one ([`resume`]), the
//! model's own head applied to the hidden states found there ([`head`]), a context that carries both and knows which part
//! of its cache is exact ([`context`]), and the log ([`log`]).
//!
//! What the unsafe code relies on, and who keeps it:
//! - Tensors handed to the callback live for the length of that call: llama.cpp's scheduler keeps them.
//! - The head weights belong to the model, and [`TappedContext`] borrows the model: the lifetime keeps it.
//! - The hook outlives the context that points to it: the field order of [`TappedContext`] keeps it.
//! - The hook is never borrowed while llama.cpp runs: only `TappedContext::run_each` starts llama.cpp, with `&mut self`.
//! - Flags of graph nodes are changed for one decode only: `TappedContext::run_each` sets them again behind it.
//! - Node names and operators are llama.cpp internals: the exact version pin keeps them, the survey at start-up checks.

mod context;
mod fault;
mod head;
mod hook;
mod log;
mod node;
mod resume;
mod shape;

pub(super) use context::{RunError, TappedContext};
pub use fault::GraphError;
pub(super) use log::{last_error, or_first_error, route_logs};
pub(super) use resume::Hidden;
pub use shape::Precision;
pub(super) use shape::{ContextShape, threads};
