//! How fast llama.cpp runs on a board, and what it draws, from the board's data sheet: energy and time of a model,
//! quantization and power mode that nobody measured.
//!
//! A decode step must do two things at once, and the slower one sets the pace:
//!
//! - *memory*: read every weight and the cache once, at the bandwidth of the memory clock times an efficiency;
//! - *issue*: unpack and multiply every weight in the GPU's multiprocessors, at a cost per weight that depends on the
//!   quantization, and start the small kernels of every layer; both shrink with the GPU clock, the first with the number of
//!   multiprocessors that the power mode leaves on.
//!
//! `step = (memory^q + issue^q)^(1/q) + host`, where *host* is what the CPU does between two tokens (sampling).
//!
//! Prefill is arithmetic: `2 x weights x tokens` plus attention, at a rate per multiprocessor and clock that depends on the
//! quantization, but never faster than reading the weights once per 512 tokens.
//!
//! Power is a sum of what is there anyway, one busy CPU core, the memory clock, every byte moved, and the GPU:
//! `busy x multiprocessors x f x (a + b f)`, where `a + b f` stands for the square of its voltage. `a` and `b` come from the
//! published grid of an AGX Orin, and per multiprocessor they carry over to the smaller board, which is the same silicon.
//!
//! A power mode of NVIDIA's is thus four numbers: GPU clock, multiprocessors that are on, memory clock, CPU clock.
//!
//! | module | role |
//! |---|---|
//! | [`board`] | the numbers of a board, its modes and its engine |
//! | [`model`] | what a model makes the board read and compute |
//! | [`predict`](mod@predict) | time and power of one request |
//! | [`points`] | files of measured or asked-for points, errors and rankings |
//! | [`plant`] | the same as coefficients of the simulated board |
//! | [`engine_fit`] | the engine's numbers from measured points |

pub mod board;
pub mod engine_fit;
pub mod model;
pub mod plant;
pub mod points;
pub mod predict;
pub mod report;

pub use board::{Roofline, RooflineError};
pub use model::{Quantization, Shape};
pub use predict::{Prediction, predict};
