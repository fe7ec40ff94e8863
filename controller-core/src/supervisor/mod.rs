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

mod fallback;
mod limits;
mod pace;
mod sensors;

pub use fallback::{Fallback, FallbackError, FallbackRule, Standing};
pub use limits::{Limits, LimitsError};
pub use pace::{Pace, PaceError, Paces};
pub use sensors::STUCK_POWER_MW;

use crate::action::{Action, ActionSpace, Decision, Knob, Reason};
use crate::telemetry::Telemetry;
use crate::time::Instant;
use crate::wire::wire;
use fallback::Arm;
use pace::Pacer;
use sensors::{Outlook, PowerOutlook, Sensors};
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

    /// The same with a static setting to fall back to.
    #[must_use]
    pub fn with_fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = Some(fallback);
        self
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

    fn assess(&mut self, outlook: &Outlook, actions: &ActionSpace) {
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

    fn limit(&mut self, now: Instant, requested: Action, actions: &ActionSpace) -> Decision {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;
    use crate::telemetry::{Absence, Reading};
    use crate::time::Duration;
    use crate::units::{MilliCelsius, MilliWatts};

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
    fn a_hot_board_that_goes_blind_goes_on_holding() {
        let trace = run(&[Some(60_000), Some(93_100), None, None, Some(92_000), Some(80_000)]);
        assert!(trace[1..5].iter().all(|(state, decision)| *state == State::Critical && decision.hold));
        assert_eq!(trace[5].0, State::Throttled);
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

    #[test]
    fn a_lost_power_sensor_caps_the_clocks_and_one_that_never_was_does_not() {
        let actions = small_space();
        let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
        let mut turn = |number: u32, power| {
            let now = Instant::ZERO + Duration::from_secs(5 * number);
            let telemetry = Telemetry { power, ..at(50_000 + i32::try_from(number).unwrap(), now) };
            let decision = supervisor.supervise(now, &telemetry, 0, actions.fastest(), &actions);
            (decision.applied.decode, decision.reason)
        };
        let failed = Reading::Absent(Absence::ReadFailed);
        assert_eq!(turn(0, failed), (3, Reason::AsRequested));
        assert_eq!(turn(1, Reading::at(MilliWatts(20_000), Instant::from_micros(5_000_000))), (3, Reason::AsRequested));
        assert_eq!([turn(2, failed), turn(3, failed)], [(2, Reason::StaleTelemetry), (1, Reason::StaleTelemetry)]);
        assert_eq!(turn(4, Reading::Absent(Absence::NoSensor)).1, Reason::StaleTelemetry, "it comes back slowly");
    }

    #[test]
    fn a_stuck_sensor_is_none() {
        let actions = small_space();
        let mut supervisor = Supervisor::new(Limits::agx_orin()).unwrap();
        let mut stuck = None;
        for second in 0..200 {
            let now = Instant::ZERO + Duration::from_secs(second);
            let power = Reading::at(MilliWatts(if second < 20 { 20_000 } else { 30_000 }), now);
            let telemetry = Telemetry { power, ..at(50_000, now) };
            let decision = supervisor.supervise(now, &telemetry, 0, actions.fastest(), &actions);
            if decision.reason == Reason::StuckSensor {
                assert_eq!((supervisor.state(), decision.applied), (State::Failsafe, actions.safest()));
                stuck = stuck.or(Some(second));
            }
        }
        assert_eq!(stuck, Some(80), "a minute after power has moved");
    }

    #[test]
    fn the_static_setting_is_named_as_the_reason_and_made_safe_like_any_other() {
        let actions = small_space();
        let setting = actions.setting(Action { depth: 0, ..actions.fastest() }).unwrap();
        let rule = FallbackRule {
            setting,
            block_turns: 1,
            warm_up_turns: 0,
            margin: 0,
            scale: 1,
            false_alarm_pairs: 10,
            longest_gap_turns: 0,
            probation_pairs: 1,
            first_pause_turns: 100,
            longest_pause_turns: 100,
        };
        let limits = Limits { min_depth: 10, pace: Paces::FREE, ..Limits::agx_orin() };
        let fallback = Fallback::new(rule, &actions).unwrap();
        let mut supervisor = Supervisor::new(limits).unwrap().with_fallback(fallback);
        let mut reasons = std::vec::Vec::new();
        for turn in 0..40u32 {
            let now = Instant::ZERO + Duration::from_secs(turn);
            let degrees = if turn < 30 { 50_000 } else { 92_000 };
            let decision = supervisor.supervise(
                now,
                &at(degrees + i32::try_from(turn).unwrap(), now),
                0,
                actions.safest(),
                &actions,
            );
            reasons.push(decision.reason);
            match decision.reason {
                Reason::StaticProbe | Reason::StaticFallback => {
                    assert_eq!(decision.applied, Action { depth: 1, ..actions.fastest() }, "raised to the floor");
                    supervisor.settle(1, Some(2));
                }
                _ => supervisor.settle(1, Some(1)),
            }
        }
        // Governor and static, then the other way round.
        let pairs = [Reason::AsRequested, Reason::StaticProbe, Reason::StaticProbe, Reason::AsRequested];
        assert_eq!(reasons[..4], pairs);
        assert!(reasons[20..30].iter().all(|reason| *reason == Reason::StaticFallback), "{reasons:?}");
        assert!(reasons[30..].iter().all(|reason| *reason == Reason::ThermalCap), "{reasons:?}");
    }
}
