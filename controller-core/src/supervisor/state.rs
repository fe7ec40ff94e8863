//! The states of the safety layer and the way from one to the next.

use super::Supervisor;
use super::sensors::{Outlook, PowerOutlook};
use crate::action::{ActionSpace, Knob, Reason};
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// The state of the safety layer.
///
/// ```text
///            first fresh temperature
///   Boot ───────────────────────────▶ Running ◀──────────────┐
///                                        │                   │ cap back at the top
///              predicted ≥ soft limit,   ▼                   │
///              or power at its limit    Throttled ───────────┘
///              or lost                   │    ▲
///              predicted ≥ hold limit    ▼    │ predicted < hold limit - hysteresis, cap 0
///                                      Critical
///
///   Running, Throttled ── temperature missing, too old or stuck ──▶ Failsafe ── fresh again ──▶ Throttled, cap 0
/// ```
///
/// Without a fresh temperature Boot and Critical stay what they are: nobody knows that the board is
/// cool.
/// Whatever the state, a prediction at or above the hold limit leads to Critical, and Boot goes
/// straight to Throttled when the first temperature asks for it. In Throttled the cap falls one
/// step a turn while the prediction is at or above the soft limit or power at its limit or lost,
/// rises one step a turn while both are below by their hysteresis, and stays in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// No temperature yet: safest action.
    Boot,
    /// The governor decides.
    Running,
    /// Clocks capped and fan full; the governor decides below the cap.
    Throttled,
    /// Too hot for any batch: hold, with the safest action.
    Critical,
    /// Blind: safest action.
    Failsafe,
}

wire!(enum State { 0 => Boot, 1 => Running, 2 => Throttled, 3 => Critical, 4 => Failsafe });

impl Supervisor {
    /// Moves on to the state that the outlook calls for, and the cap with it.
    pub(super) fn assess(&mut self, outlook: &Outlook, actions: &ActionSpace) {
        let top = actions.last(Knob::Prefill).max(actions.last(Knob::Decode));
        let predicted = match outlook.temperature {
            Ok(predicted) => predicted,
            Err(cause) => {
                // A board that was too hot has cooled when a sensor says so, not when it says nothing.
                if !matches!(self.state, State::Boot | State::Critical) {
                    self.state = State::Failsafe;
                    self.cause = cause;
                }
                return;
            }
        };
        let hysteresis = i32::from(self.limits.hysteresis_mk);
        let hot = predicted >= self.limits.soft();
        let cool = predicted < self.limits.soft().saturating_sub(hysteresis) && outlook.power == PowerOutlook::Low;
        let cause = match outlook.power {
            _ if hot => Some(Reason::ThermalCap),
            PowerOutlook::Over => Some(Reason::PowerCap),
            PowerOutlook::Lost => Some(Reason::StaleTelemetry),
            PowerOutlook::Low | PowerOutlook::Near => None,
        };
        self.state = match (self.state, cause) {
            _ if predicted >= self.limits.hold() => State::Critical,
            (State::Critical, _) if predicted >= self.limits.hold().saturating_sub(hysteresis) => State::Critical,
            (State::Critical, _) => {
                self.cap = 0;
                self.cause = Reason::ThermalCap;
                State::Throttled
            }
            (State::Failsafe, _) => {
                self.cap = 0;
                State::Throttled
            }
            (State::Boot | State::Running, None) => State::Running,
            (before @ (State::Boot | State::Running | State::Throttled), Some(cause)) => {
                // Step down from what really ran, which may lie below the cap already.
                let ran = self.pacer.applied().map_or(top, |applied| applied.decode.min(top));
                let step = ran.saturating_sub(1);
                self.cap = if before == State::Throttled { self.cap.min(step) } else { step };
                self.cause = cause;
                State::Throttled
            }
            (State::Throttled, None) if cool => {
                self.cap = self.cap.saturating_add(1);
                if self.cap >= top { State::Running } else { State::Throttled }
            }
            (State::Throttled, None) => State::Throttled,
        };
    }
}
