//! From what is asked for to what is applied.

use super::fallback::Arm;
use super::{Standing, State, Supervisor};
use crate::action::{Action, ActionSpace, Decision, Knob, Reason};
use crate::time::Instant;

impl Supervisor {
    /// What is asked for: by the governor, or by the fallback in its place, and why then.
    fn ask(&mut self, requested: Action) -> (Action, Option<Reason>) {
        let calm = self.state == State::Running;
        let Some(fallback) = &mut self.fallback else { return (requested, None) };
        match (fallback.arm(calm), fallback.standing()) {
            (Arm::Governor, _) => (requested, None),
            (Arm::Static, Standing::Trusted) => (fallback.action(), Some(Reason::StaticProbe)),
            (Arm::Static, _) => (fallback.action(), Some(Reason::StaticFallback)),
        }
    }

    /// The wish inside the action space and not below the quality floor, and why it changed.
    fn allow(&self, wanted: Action, actions: &ActionSpace) -> (Action, Option<Reason>) {
        let within = actions.clamp(wanted);
        let deep_enough =
            |index: u8| actions.depth.get(usize::from(index)).is_some_and(|d| *d >= self.limits.min_depth);
        let last = actions.last(Knob::Depth);
        let depth = (within.depth..last).find(|&index| deep_enough(index)).unwrap_or(last);
        let reason = match within {
            _ if within != wanted => Some(Reason::OutOfRange),
            _ if within.depth != depth => Some(Reason::QualityFloor),
            _ => None,
        };
        (Action { depth, ..within }, reason)
    }

    /// What is applied in the present state.
    pub(super) fn limit(&mut self, now: Instant, requested: Action, actions: &ActionSpace) -> Decision {
        let (wanted, instead) = self.ask(requested);
        let (allowed, changed) = self.allow(wanted, actions);
        let paced = self.pacer.limit(now, allowed, &self.limits.pace, actions);
        let changed = instead.or(changed).unwrap_or(Reason::Pace);
        let (applied, hold, overruled) = match self.state {
            State::Running => (paced, false, changed),
            State::Throttled => {
                let capped = Action {
                    prefill: paced.prefill.min(self.cap),
                    decode: paced.decode.min(self.cap),
                    fan: actions.last(Knob::Fan),
                    ..paced
                };
                let slower = self.cap < allowed.prefill || self.cap < allowed.decode;
                // The fan belongs to the cap, so a raised fan alone has the cap's reason as well.
                let reason = if slower || paced == requested { self.cause } else { changed };
                (capped, false, reason)
            }
            State::Critical => (actions.safest(), true, Reason::ThermalHold),
            State::Boot => (actions.safest(), false, Reason::Boot),
            State::Failsafe => (actions.safest(), false, self.cause),
        };
        let reason = if applied == requested && !hold { Reason::AsRequested } else { overruled };
        Decision { requested, applied, hold, reason }
    }
}
