//! What measures and trains: the library behind the `energyllm` program.
//!
//! | module | role |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`run`] | the main job: answer prompts under a governor |
//! | [`link`](mod@link) | the line to a microcontroller that decides |
//! | [`llm`] | early-exit Llama on llama.cpp |
//! | [`roofline`] | time and power of llama.cpp on a board it was not measured on |
//! | [`sweep`] | grid search on a board into a CSV |
//! | [`calibrate`] | a board profile from a sweep |
//! | [`fit`] | least squares with intervals |
//! | [`env`](mod@env) | requests, boards, turns |
//! | [`grpo`] | training |
//! | [`import`] | policies of the published prototype |
//! | [`board`] | real boards: what is there and what it reads |
//! | [`baseline`] | searches and policies to beat |
//! | [`search`] | finding a good setting in few pulls |
//! | [`quantize`] | the only door from floats to integers |
//! | [`eval`] | governors and policies side by side |
//! | [`verify`] | conformance against files of cases |
//! | [`measure`] | energy out of samples of power, percentiles |
//! | [`bench`](mod@bench) | what our own code costs on a machine |
//! | [`dataset`] | prompts and grids: statistics, conversion, synthetic columns |
//! | [`plot`] | figures drawn from CSV files |
//! | [`overhead`] | what control costs |
//! | [`report`] | tables and figures |
//! | [`resources`] | CPU time and memory of this process |
//! | [`input_file`] | reading what a user points at |
//! | [`atomic_file`] | files that exist whole or not at all |

pub mod atomic_file;
pub mod baseline;
pub mod bench;
pub mod board;
pub mod calibrate;
pub mod cli;
pub mod dataset;
pub mod env;
pub mod eval;
pub mod fit;
pub mod grpo;
pub mod import;
pub mod input_file;
pub mod link;
pub mod llm;
pub mod measure;
pub mod overhead;
pub mod plot;
pub mod quantize;
pub mod report;
pub mod resources;
pub mod roofline;
pub mod run;
pub mod search;
pub mod sweep;
pub mod verify;
