//! The safety layer: whatever a governor asks for, this decides what the board may do.
//!
//! # Terms
//!
//! - *predicted temperature*: the sampled temperature, plus what it may have risen since the
//!   sample at the fastest rate physics allows, plus its present slope over the horizon of a turn.
//! - *soft limit*: `limit - soft_margin`; from there the clocks are capped, one step per turn.
//! - *hold limit*: `limit - hold_margin`; from there no batch starts until the board has cooled.
//! - *cap*: the highest clock index that prefill and decode may use.

mod limits;

pub use limits::{Limits, LimitsError};

use crate::action::{Action, ActionSpace, Decision, Knob, Reason};
use crate::telemetry::Telemetry;
use crate::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

/// The state of the safety layer.
///
/// ```text
///            first fresh temperature
///   Boot ───────────────────────────▶ Running ◀──────────────┐
///                                        │                   │ cap back at the top
///              predicted ≥ soft limit,   ▼                   │
///              or power above its limit Throttled ───────────┘
///                                        │    ▲
///              predicted ≥ hold limit    ▼    │ predicted < hold limit - hysteresis
///                                      Critical
///
///   any state but Boot ── temperature missing or too old ──▶ Failsafe ── fresh again ──▶ Throttled, cap 0
/// ```
///
/// Whatever the state, a prediction at or above the hold limit leads to Critical, and Boot goes
/// straight to Throttled when the first temperature asks for it.
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

/// The safety layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisor {
    limits: Limits,
    state: State,
    cap: u8,
    last_decode: u8,
    /// What put the cap where it is, for the reason given with a decision.
    cap_reason: Reason,
}

impl Supervisor {
    /// A supervisor in state [`State::Boot`].
    pub fn new(limits: Limits) -> Result<Self, LimitsError> {
        limits.check()?;
        Ok(Self { limits, state: State::Boot, cap: u8::MAX, last_decode: u8::MAX, cap_reason: Reason::ThermalCap })
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

    /// Worst-case temperature at the end of the coming turn in milli-degrees; `None` without a
    /// fresh reading.
    fn predict(&self, now: Instant, telemetry: &Telemetry, slope_mk_per_s: i32) -> Option<i32> {
        let crate::telemetry::Reading::Present { value, taken_at } = telemetry.temperature else { return None };
        let age = now.since(taken_at);
        if age > self.limits.max_age {
            return None;
        }
        let rise = |rate: i64, span: Duration| {
            rate.saturating_mul(i64::try_from(span.micros()).unwrap_or(i64::MAX)) / 1_000_000
        };
        let since = rise(i64::from(self.limits.max_slew_mk_per_s), age);
        let ahead = rise(i64::from(slope_mk_per_s.max(0)), self.limits.horizon);
        let predicted = i64::from(value.0).saturating_add(since).saturating_add(ahead);
        Some(i32::try_from(predicted).unwrap_or(i32::MAX))
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
        let predicted = self.predict(now, telemetry, slope_mk_per_s);
        let power_over = telemetry.power.fresh(now, self.limits.max_age).is_some_and(|power| power > self.limits.power);
        self.assess(predicted, power_over, actions);
        let decision = self.limit(requested, actions);
        self.last_decode = decision.applied.decode;
        decision
    }

    fn assess(&mut self, predicted: Option<i32>, power_over: bool, actions: &ActionSpace) {
        let top = actions.last(Knob::Prefill).max(actions.last(Knob::Decode));
        let Some(predicted) = predicted else {
            if self.state != State::Boot {
                self.state = State::Failsafe;
                self.cap = 0;
            }
            return;
        };
        let hysteresis = i32::from(self.limits.hysteresis_mk);
        let hot = predicted >= self.limits.soft();
        let cool = predicted < self.limits.soft().saturating_sub(hysteresis);
        self.state = match self.state {
            _ if predicted >= self.limits.hold() => State::Critical,
            State::Critical if predicted >= self.limits.hold().saturating_sub(hysteresis) => State::Critical,
            State::Critical => {
                self.cap = 0;
                self.cap_reason = Reason::ThermalCap;
                State::Throttled
            }
            State::Failsafe => {
                self.cap = 0;
                self.cap_reason = Reason::StaleTelemetry;
                State::Throttled
            }
            State::Boot | State::Running if hot || power_over => {
                self.cap = self.last_decode.min(top).saturating_sub(1);
                self.cap_reason = if hot { Reason::ThermalCap } else { Reason::PowerCap };
                State::Throttled
            }
            State::Boot | State::Running => State::Running,
            State::Throttled if hot || power_over => {
                // Step down from what really ran, which may lie below the cap already.
                self.cap = self.cap.min(self.last_decode.saturating_sub(1));
                self.cap_reason = if hot { Reason::ThermalCap } else { Reason::PowerCap };
                State::Throttled
            }
            State::Throttled if cool => {
                self.cap = self.cap.saturating_add(1);
                if self.cap >= top { State::Running } else { State::Throttled }
            }
            State::Throttled => State::Throttled,
        };
    }

    /// The request inside the action space and not below the quality floor, and why it changed.
    fn allow(&self, requested: Action, actions: &ActionSpace) -> (Action, Reason) {
        let within = actions.clamp(requested);
        let deep_enough =
            |index: u8| actions.depth.get(usize::from(index)).is_some_and(|d| *d >= self.limits.min_depth);
        let last = actions.last(Knob::Depth);
        let depth = (within.depth..last).find(|&index| deep_enough(index)).unwrap_or(last);
        let reason = if within == requested { Reason::QualityFloor } else { Reason::OutOfRange };
        (Action { depth, ..within }, reason)
    }

    fn limit(&self, requested: Action, actions: &ActionSpace) -> Decision {
        let (within, allowed) = self.allow(requested, actions);
        let (applied, hold, overruled) = match self.state {
            State::Running => (within, false, allowed),
            State::Throttled => {
                let capped = Action {
                    prefill: within.prefill.min(self.cap),
                    decode: within.decode.min(self.cap),
                    fan: actions.last(Knob::Fan),
                    ..within
                };
                let slower = capped.prefill < within.prefill || capped.decode < within.decode;
                // The fan belongs to the cap, so a raised fan alone has the cap's reason as well.
                let reason = if slower || within == requested { self.cap_reason } else { allowed };
                (capped, false, reason)
            }
            State::Critical => (actions.safest(), true, Reason::ThermalHold),
            State::Boot => (actions.safest(), false, Reason::Boot),
            State::Failsafe => (actions.safest(), false, Reason::StaleTelemetry),
        };
        let reason = if applied == requested && !hold { Reason::AsRequested } else { overruled };
        Decision { requested, applied, hold, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;
    use crate::telemetry::{Absence, Reading};
    use crate::units::{MilliCelsius, MilliWatts};
    use proptest::prelude::*;

    fn at(temperature: i32, now: Instant) -> Telemetry {
        Telemetry { temperature: Reading::at(MilliCelsius(temperature), now), ..Telemetry::UNKNOWN }
    }

    /// Supervises one turn per entry, five seconds apart, with a governor that wants everything.
    fn run(temperatures: &[Option<i32>]) -> std::vec::Vec<(State, Decision)> {
        let actions = small_space();
        let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
        let turn = |(number, temperature): (usize, &Option<i32>)| {
            let now = Instant::from_micros(number as u64 * 5_000_000);
            let telemetry = temperature.map_or(Telemetry::UNKNOWN, |t| at(t, now));
            let decision = supervisor.supervise(now, &telemetry, 0, actions.fastest(), &actions);
            (supervisor.state(), decision)
        };
        temperatures.iter().enumerate().map(turn).collect()
    }

    #[test]
    fn heating_up_and_cooling_down_walks_the_diagram() {
        use State::{Boot, Critical, Running, Throttled};
        let trace = run(&[
            None,
            Some(60_000),
            Some(91_500),
            Some(91_500),
            Some(93_100),
            Some(92_000),
            Some(91_000),
            Some(90_000),
            Some(89_000),
            Some(89_000),
            Some(89_000),
        ]);
        let states: std::vec::Vec<State> = trace.iter().map(|(state, _)| *state).collect();
        assert_eq!(
            states,
            [
                Boot, Running, Throttled, Throttled, Critical, Critical, Throttled, Throttled, Throttled, Throttled,
                Running
            ]
        );
        let decode: std::vec::Vec<u8> = trace.iter().map(|(_, decision)| decision.applied.decode).collect();
        assert_eq!(decode, [0, 3, 2, 1, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(trace[2].1.reason, Reason::ThermalCap);
        assert!(trace[4].1.hold && trace[4].1.reason == Reason::ThermalHold);
        assert_eq!(trace[10].1.reason, Reason::AsRequested);
    }

    #[test]
    fn losing_the_sensor_fails_safe_and_comes_back_slowly() {
        let trace = run(&[Some(50_000), None, Some(50_000), Some(50_000), Some(50_000), Some(50_000)]);
        assert_eq!(trace[1].0, State::Failsafe);
        assert_eq!(trace[1].1.applied, small_space().safest());
        assert_eq!(trace[2].1.reason, Reason::StaleTelemetry);
        let decode: std::vec::Vec<u8> = trace.iter().map(|(_, decision)| decision.applied.decode).collect();
        assert_eq!(decode, [3, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn a_steep_rise_is_seen_before_the_limit() {
        let actions = small_space();
        let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
        let decision =
            supervisor.supervise(Instant::ZERO, &at(88_000, Instant::ZERO), 500, actions.fastest(), &actions);
        assert!(decision.hold, "88 °C and 0.5 K/s is 93 °C in ten seconds");
    }

    #[test]
    fn an_old_sample_counts_as_hotter() {
        let actions = small_space();
        let limits = Limits { max_age: Duration::from_secs(60), ..Limits::agx_orin() };
        let mut supervisor = Supervisor::new(limits).unwrap();
        let now = Instant::from_micros(10_000_000);
        let decision = supervisor.supervise(now, &at(87_100, Instant::ZERO), 0, actions.fastest(), &actions);
        assert!(decision.hold, "ten seconds at 0.6 K/s may have made 93.1 °C of it");
    }

    #[test]
    fn shallow_answers_are_deepened() {
        let actions = small_space();
        let mut supervisor = Supervisor::new(Limits { min_depth: 10, ..Limits::agx_orin() }).unwrap();
        for (asked, applied, reason) in [
            (0, 1, Reason::QualityFloor),
            (1, 1, Reason::AsRequested),
            (2, 2, Reason::AsRequested),
            (9, 2, Reason::OutOfRange),
        ] {
            let requested = Action { depth: asked, ..actions.fastest() };
            let decision = supervisor.supervise(Instant::ZERO, &at(50_000, Instant::ZERO), 0, requested, &actions);
            assert_eq!((decision.applied.depth, decision.reason), (applied, reason), "asked for {asked}");
        }
    }

    #[test]
    fn power_is_capped() {
        let actions = small_space();
        let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
        let hungry = Telemetry { power: Reading::at(MilliWatts(60_001), Instant::ZERO), ..at(50_000, Instant::ZERO) };
        let decision = supervisor.supervise(Instant::ZERO, &hungry, 0, actions.fastest(), &actions);
        assert_eq!((decision.applied.decode, decision.reason), (2, Reason::PowerCap));
    }

    #[test]
    fn impossible_limits_are_refused() {
        let good = Limits::agx_orin();
        for (limits, error) in [
            (Limits { soft_margin_mk: 1_000, ..good }, LimitsError::Margins),
            (Limits { hysteresis_mk: 0, ..good }, LimitsError::Hysteresis),
            (Limits { max_age: Duration::ZERO, ..good }, LimitsError::Age),
            (Limits { max_slew_mk_per_s: 0, ..good }, LimitsError::Slew),
            (Limits { horizon: Duration::from_secs(601), ..good }, LimitsError::Horizon),
            (Limits { power: MilliWatts(0), ..good }, LimitsError::Power),
            (Limits { temperature: MilliCelsius(300_000), ..good }, LimitsError::Temperature),
        ] {
            assert_eq!(Supervisor::new(limits).unwrap_err(), error);
        }
    }

    fn reading() -> impl Strategy<Value = Option<i32>> {
        prop_oneof![1 => Just(None), 8 => (-40_000i32..130_000).prop_map(Some)]
    }

    proptest! {
        /// Whatever the sensors say and the governor wants: the applied action is inside the
        /// space; at or above the hold limit nothing starts; blind means safest.
        #[test]
        fn no_sequence_leaves_the_safe_set(
            turns in proptest::collection::vec(
                (reading(), any::<[u8; 5]>(), -2000i32..2000, 0u64..8_000_000, 0u64..5_000_000, any::<u32>()), 1..80),
        ) {
            let actions = small_space();
            let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
            let mut now = Instant::from_micros(10_000_000);
            for (temperature, [prefill, decode, batch, depth, fan], slope, step, age, power) in turns {
                now = now + Duration::from_micros(step);
                let taken_at = Instant::from_micros(now.micros() - age);
                let telemetry = Telemetry {
                    temperature: temperature.map_or(Reading::Absent(Absence::ReadFailed), |t| Reading::at(MilliCelsius(t), taken_at)),
                    power: Reading::at(MilliWatts(power), taken_at),
                    ..Telemetry::UNKNOWN
                };
                let requested = Action { prefill, decode, batch, depth, fan };
                let decision = supervisor.supervise(now, &telemetry, slope, requested, &actions);
                prop_assert!(actions.setting(decision.applied).is_some());
                prop_assert_eq!(decision.requested, requested);
                prop_assert_eq!(decision.reason == Reason::AsRequested, decision.applied == requested && !decision.hold);
                let blind = temperature.is_none() || age > Limits::agx_orin().max_age.micros();
                if blind {
                    prop_assert_eq!(decision.applied, actions.safest());
                } else if temperature >= Some(93_000) {
                    prop_assert!(decision.hold);
                } else if temperature >= Some(91_000) {
                    prop_assert_eq!(decision.applied.fan, actions.last(Knob::Fan));
                }
            }
        }
    }
}
