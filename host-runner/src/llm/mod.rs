//! Runs Llama models on llama.cpp, as deep as the caller likes, and other models as a whole.
//!
//! ```text
//! Model::load ──> Engine::new ──> prefill(requests, depth) ──> Prefilled ──> decode        ──> DecodeReport
//!                 (self-check) │  one clock of the board                 ├─> speculate          another clock
//!                              │                                         └─> decode_gated  ──> GateReport
//!                              └> session() ──> submit, step, cancel, ...
//! ```
//! A prompt is read in one go (prefill) and the answer comes token by token (decode). The two load a GPU so differently
//! that the controller sets a clock for each, so they are two calls, with [`Prefilled`] between them.
//!
//! **Depth.** With `Depth::Layers(k)` the graph stops behind layer `k`, and the model's own output head is applied to
//! the hidden states there: the result is that of a model that has only its first `k` layers. llama.cpp is not patched
//! and no weight is copied. What this takes from llama.cpp's insides is checked when an [`Engine`] is made, so an update
//! that changes them fails there and never gives wrong text.
//!
//! **Batches.** Every sequence has its own KV stream. Sequences leave when they are done, and the batch shrinks. In a
//! [`Session`] others take their place, each at its own depth.
//!
//! **Exactness.** A token that left early has no keys and values in the layers above. `cache` keeps the account of that,
//! and a run that would read what is not there is refused. `speculate` and `gate` finish such tokens later, from
//! saved hidden states. [`conformance`] proves exits against truncated files, [`mod@bench`] and [`depths`] measure them.

mod batch;
pub mod bench;
mod cache;
mod check;
pub mod conformance;
mod decode;
pub mod depths;
mod engine;
mod error;
mod fence;
mod ffi;
mod gate;
pub mod gguf;
mod model;
mod native;
mod pair;
mod payoff;
mod prefill;
pub mod prompt;
pub mod random;
mod request;
mod rows;
mod sampling;
mod sequence;
mod session;
mod speculate;

pub use check::CheckError;
pub use decode::{Answer, DecodeReport};
pub use engine::{ChosenToken, Engine, EngineOptions, Pass, Rows};
pub use error::EngineError;
pub use ffi::{GraphError, Precision};
pub use gate::{Deeper, Gate, GateReport};
pub use model::{Model, ModelError, ModelOptions, NoExits};
pub use prefill::{PrefillReport, Prefilled};
pub use request::{Depth, Prompt, Request, Sampling, TokenId};
pub use sequence::StopReason;
pub use session::{Session, Ticket};
pub use speculate::{Drafter, Price, Speculation, Statistics};
