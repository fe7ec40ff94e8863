//! The self-test: what the shipped policy decides, in a few lines that must be the same on every
//! machine. One program for the host and for a Cortex-M4 in QEMU; `./x firmware` compares them.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

mod closed_loop;
#[cfg(target_os = "none")]
mod cost;
#[cfg(target_os = "none")]
mod counter;
#[cfg(not(target_os = "none"))]
mod host;
#[cfg(target_os = "none")]
mod loop_turn;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the unused part of the stack has no other name than its addresses")]
mod stack;
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the reset and fault vectors are unsafe by nature")]
mod target;

use controller_core::control::ControllerError;
use controller_core::governor::LearnedError;
use controller_core::policy::{ImageError, Policy, PolicyImage};
use core::fmt;
use firmware_sim::digest::decision_digest;

/// The policy that every board gets unless it is given another one.
const IMAGE: &[u8] = include_bytes!("../../../../models/policies/service.elp");

const SEED: u64 = 1;
const OBSERVATIONS: u32 = 20_000;

/// Runs everything and prints one line for each part.
fn selftest(out: &mut impl fmt::Write) -> Result<(), Failure> {
    let policy = Policy::new(PolicyImage::new_checked(IMAGE)?)?;
    let header = policy.image().header();
    write!(out, "policy {}: {} bytes, {} inputs, layers", header.name, IMAGE.len(), header.observation.len())?;
    for layer in &header.hidden {
        write!(out, " {}", layer.units)?;
    }
    writeln!(out, " {}, {} golden examples hold", header.logits(), header.goldens)?;

    let digest = decision_digest(&policy, SEED, OBSERVATIONS);
    writeln!(out, "decisions and rewards: {digest:016x} over {OBSERVATIONS} random observations")?;

    let trace = closed_loop::run(policy, SEED)?;
    writeln!(out, "closed loop: {trace}")?;
    Ok(())
}

/// Why the self-test cannot be run to its end.
#[derive(Debug)]
enum Failure {
    /// The shipped image is unusable on this machine.
    Image(ImageError),
    /// The policy does not fit its own action space.
    Learned(LearnedError),
    /// The controller refuses its limits or its reward.
    Controller(ControllerError),
    /// The output is gone.
    Output,
    /// A policy made up for measuring is refused.
    #[cfg(target_os = "none")]
    Synthetic(controller_core::policy::EncodeError),
    /// The firmware's application does not answer as it should.
    #[cfg(target_os = "none")]
    Firmware,
    /// Somebody else has the system timer.
    #[cfg(target_os = "none")]
    Timer,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "the shipped policy: {error}"),
            Self::Learned(error) => error.fmt(f),
            Self::Controller(error) => error.fmt(f),
            Self::Output => write!(f, "the output cannot be written"),
            #[cfg(target_os = "none")]
            Self::Synthetic(error) => write!(f, "a policy made up for measuring: {error}"),
            #[cfg(target_os = "none")]
            Self::Firmware => write!(f, "the firmware's application does not answer as it should"),
            #[cfg(target_os = "none")]
            Self::Timer => write!(f, "the system timer is already in use, so nothing can be counted"),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<LearnedError> for Failure {
    fn from(error: LearnedError) -> Self {
        Self::Learned(error)
    }
}

impl From<ControllerError> for Failure {
    fn from(error: ControllerError) -> Self {
        Self::Controller(error)
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    host::main()
}
