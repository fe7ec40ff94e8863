//! The safety layer: whatever a governor asks for, this decides what the board may do.
//!
//! # Terms
//!
//! - *predicted temperature*: the sampled temperature, but not lower than the board can have cooled
//!   to since the samples before, plus what it may have risen since the sample at the fastest rate
//!   physics allows, plus its present slope over the horizon of a turn.
//! - *soft limit*: `limit - soft_margin`; from there the clocks are capped, one step per turn.
//! - *hold limit*: `limit - hold_margin`; from there no batch starts until the board has cooled.
//! - *predicted power*: the sampled power, plus what it may have risen since, plus the rise between
//!   the last two samples once more. At its limit clocks are capped, one step per turn. A power
//!   reading that is lost counts as one at its limit; a board without the sensor has no power limit.
//! - *cap*: the highest clock index that prefill and decode may use.
//! - *pace*: how fast a knob may move away from its safe end ([`Pace`]). Safety is never slowed
//!   down by it.
//! - *fallback*: the static setting that takes over from a governor that has been measured to be
//!   worse ([`FallbackRule`]). It is asked for like a governor's action and limited like one.

mod apply;
mod fallback;
mod limits;
mod pace;
mod sensors;
mod state;

pub use fallback::{Fallback, FallbackError, FallbackRule, Standing};
pub use limits::{Limits, LimitsError};
pub use pace::{Pace, PaceError, Paces};
pub use sensors::STUCK_POWER_MW;
pub use state::State;

use crate::action::{Action, ActionSpace, Decision, Reason};
use crate::telemetry::Telemetry;
use crate::time::Instant;
use pace::Pacer;
use sensors::Sensors;

/// The safety layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisor {
    limits: Limits,
    state: State,
    cap: u8,
    /// What put the cap where it is, or made the board blind: the reason given with a decision.
    cause: Reason,
    sensors: Sensors,
    pacer: Pacer,
    fallback: Option<Fallback>,
}

impl Supervisor {
    /// A supervisor in state [`State::Boot`], without a fallback.
    pub fn new(limits: Limits) -> Result<Self, LimitsError> {
        limits.check()?;
        Ok(Self {
            limits,
            state: State::Boot,
            cap: u8::MAX,
            cause: Reason::ThermalCap,
            sensors: Sensors::default(),
            pacer: Pacer::default(),
            fallback: None,
        })
    }

    /// Gives it a static setting to fall back to.
    pub fn set_fallback(&mut self, fallback: Fallback) {
        self.fallback = Some(fallback);
    }

    /// The present state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The static setting and how the governor stands against it, where there is one.
    #[must_use]
    pub const fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// How often the governor was measured to be worse than the static setting and replaced by it.
    #[must_use]
    pub const fn replacements(&self) -> u32 {
        match &self.fallback {
            Some(fallback) => fallback.replacements(),
            None => 0,
        }
    }

    /// Judges the board, moves between states, and makes a request safe.
    pub fn supervise(
        &mut self,
        now: Instant,
        telemetry: &Telemetry,
        slope_mk_per_s: i32,
        requested: Action,
        actions: &ActionSpace,
    ) -> Decision {
        let outlook = self.sensors.foresee(now, telemetry, slope_mk_per_s, &self.limits);
        self.assess(&outlook, actions);
        let decision = self.limit(now, requested, actions);
        self.pacer.remember(now, decision.applied, &self.limits.pace, actions);
        decision
    }

    /// Takes in what the turn was worth: the requests it answered and its reward in millionths,
    /// `None` when it has none. Only the fallback looks at it.
    pub fn settle(&mut self, requests: u16, reward: Option<i32>) {
        // In the other states nobody's wish was applied.
        let judged = matches!(self.state, State::Running | State::Throttled);
        if let Some(fallback) = &mut self.fallback {
            fallback.settle(reward.filter(|_| judged).map(|reward| (reward, requests)));
        }
    }
}

#[cfg(test)]
mod tests;
