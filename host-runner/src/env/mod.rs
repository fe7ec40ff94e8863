//! What the controller works in: requests arrive, are answered in batches, and cost time and
//! energy on a board.
//!
//! | module | role |
//! |---|---|
//! | [`quality`] | accuracy of a language model per depth |
//! | [`queue`] | requests arrive at an offered load and wait |
//! | [`answers`] | who produces the tokens: llama.cpp, or drawn lengths for training |
//! | [`board`] | what a turn needs of a board, simulated or real |
//! | [`service`] | one turn: wait, sample, answer a batch, measure |
//! | [`profile`] | a board's numbers: physics, knobs, limits, reward |
//! | [`account`] | what a stretch of work came to: energy, answers, heat, reward |
//! | [`replay`] | a logged grid as a bandit |
//! | [`living`] | a board that training goes on upon, never reset |
//! | [`logged`] | the same, answering from logged grids |
//! | [`commission`] | trial batches on a board, under the supervisor |

pub mod account;
pub mod answers;
pub mod board;
pub mod commission;
pub mod living;
pub mod logged;
pub mod profile;
pub mod quality;
pub mod queue;
pub mod replay;
pub mod service;
