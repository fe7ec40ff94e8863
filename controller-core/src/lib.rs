//! What decides: the integer-only energy controller for LLM inference on edge boards.
//!
//! Before every batch of requests the controller looks at the board's [`telemetry`], lets a
//! [`governor`] choose an [`action`] (GPU clock for prefill, GPU clock for decode, batch size,
//! exit layer, fan), lets the [`supervisor`] overrule it when the board is in danger, and hands
//! out a [`action::Decision`]. When the batch is done, the [`telemetry::Measurement`] of it is
//! settled into a [`reward`].
//!
//! The crate has no clock, no I/O, no allocator, no floating point and no `unsafe`: time and
//! samples are arguments, so the same inputs give the same bits on x86, aarch64 and Cortex-M.
//!
//! # Modules, highest first; each uses only those below it
//!
//! | module | role |
//! |---|---|
//! | [`protocol`] | frames between a host and a microcontroller that decides for it |
//! | [`control`] | [`control::Controller`]: one turn, `step` then `settle` |
//! | [`record`] | [`record::StepRecord`]: everything needed to replay one turn |
//! | [`supervisor`] | the safety states that may overrule any governor |
//! | [`governor`] | who chooses: fixed settings, load, two-rule thermostat, learned policy |
//! | [`policy`] | observation to logits in integers, and the checked policy image |
//! | [`advantage`] | rewards of a group to advantages, in fixed point |
//! | [`reward`] | named components and their total, in fixed point |
//! | [`observation`] | telemetry to normalized integers |
//! | [`action`] | the action space, described by data |
//! | [`telemetry`] | readings with their time, or a named absence |
//! | [`units`], [`time`], [`rng`] | physical quantities, instants, a seeded generator |
//! | [`wire`] | values as bytes, for frames and image headers |
//!
//! # Features
//!
//! `published`, on by default, has the rewards of the published study; firmware that settles with
//! [`reward::service`] leaves them out.
//!
//! `reference` adds the rewards in `f64` through `libm`, as the oracle of the fixed-point ones
//! and for training. Firmware never enables it.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]
#![deny(clippy::float_arithmetic, clippy::disallowed_types)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

#[cfg(test)]
extern crate std;

pub mod action;
pub mod advantage;
mod checksum;
pub mod control;
mod division;
pub mod governor;
pub mod observation;
pub mod policy;
pub mod protocol;
pub mod record;
pub mod reward;
pub mod rng;
pub mod supervisor;
pub mod telemetry;
pub mod time;
pub mod units;
pub mod wire;
