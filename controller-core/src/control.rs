//! One turn of control: [`Controller::step`] before the batch, [`Controller::settle`] after it.

use crate::action::{Action, ActionSpace, ActionSpaceError, Decision, Setting};
use crate::governor::{Governor, Situation};
use crate::observation::{MAX_FEATURES, Observer};
use crate::record::StepRecord;
#[cfg(feature = "published")]
use crate::reward::early_exit::EarlyExit;
#[cfg(feature = "published")]
use crate::reward::published::Outcome;
use crate::reward::service::Service;
#[cfg(feature = "published")]
use crate::reward::step::Step;
#[cfg(feature = "published")]
use crate::reward::unified::Unified;
use crate::reward::{Reward, RewardError, Variant};
use crate::supervisor::{Fallback, FallbackError, FallbackRule, Limits, LimitsError, Supervisor};
use crate::telemetry::{Measurement, Telemetry};
use crate::time::Instant;
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The reward that a controller settles its turns with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RewardRule {
    /// The service reward.
    Service(Service),
    /// The published reward.
    #[cfg(feature = "published")]
    Unified(Unified),
    /// The reward of the published training logs.
    #[cfg(feature = "published")]
    Step(Step),
    /// The reward of the published early-exit code.
    #[cfg(feature = "published")]
    EarlyExit(EarlyExit),
}

wire!(enum RewardRule {
    0 => Service(rule),
    #[cfg(feature = "published")] 1 => Unified(rule),
    #[cfg(feature = "published")] 2 => Step(rule),
    #[cfg(feature = "published")] 3 => EarlyExit(rule),
});

impl RewardRule {
    /// Which variant this is.
    #[must_use]
    pub const fn variant(&self) -> Variant {
        match self {
            Self::Service(_) => Variant::Service,
            #[cfg(feature = "published")]
            Self::Unified(_) => Variant::Unified,
            #[cfg(feature = "published")]
            Self::Step(_) => Variant::Step,
            #[cfg(feature = "published")]
            Self::EarlyExit(_) => Variant::EarlyExit,
        }
    }

    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        match self {
            Self::Service(service) => service.check(),
            #[cfg(feature = "published")]
            Self::Unified(unified) => unified.check(),
            #[cfg(feature = "published")]
            Self::Step(step) => step.check(),
            #[cfg(feature = "published")]
            Self::EarlyExit(early_exit) => early_exit.check(),
        }
    }

    /// The reward of a turn.
    pub fn settle(&self, setting: Setting, measurement: &Measurement) -> Result<Reward, RewardError> {
        match self {
            Self::Service(service) => service.settle(setting, measurement),
            #[cfg(feature = "published")]
            Self::Unified(unified) => unified.settle(&Outcome::of(setting, measurement)?),
            #[cfg(feature = "published")]
            Self::Step(step) => step.settle(&Outcome::of(setting, measurement)?),
            #[cfg(feature = "published")]
            Self::EarlyExit(early_exit) => early_exit.settle(&Outcome::of(setting, measurement)?),
        }
    }
}

/// Why a controller cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerError {
    /// The action space is unusable.
    Actions(ActionSpaceError),
    /// The limits are unusable.
    Limits(LimitsError),
    /// The reward is unusable.
    Reward(RewardError),
    /// The fallback is unusable.
    Fallback(FallbackError),
}

impl fmt::Display for ControllerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actions(error) => write!(f, "action space: {error}"),
            Self::Limits(error) => write!(f, "limits: {error}"),
            Self::Reward(error) => write!(f, "reward: {error}"),
            Self::Fallback(error) => write!(f, "fallback: {error}"),
        }
    }
}

impl core::error::Error for ControllerError {}

/// A governor under a supervisor, with the memory that both need.
///
/// ```
/// use controller_core::action::ActionSpace;
/// use controller_core::control::{Controller, RewardRule};
/// use controller_core::governor::Fixed;
/// use controller_core::reward::service::Service;
/// use controller_core::supervisor::Limits;
/// use controller_core::telemetry::{Measurement, Reading, Telemetry};
/// use controller_core::time::{Duration, Instant};
/// use controller_core::units::MilliCelsius;
/// use heapless::Vec;
///
/// let actions = ActionSpace {
///     prefill_khz: Vec::from_slice(&[306_000, 1_300_500]).unwrap(),
///     decode_khz: Vec::from_slice(&[306_000, 1_300_500]).unwrap(),
///     batch: Vec::from_slice(&[1, 8]).unwrap(),
///     depth: Vec::from_slice(&[16]).unwrap(),
///     fan_pwm: Vec::from_slice(&[0, 255]).unwrap(),
/// };
/// let reward = RewardRule::Service(Service {
///     reference_uj_per_token: 100_000,
///     response_limit: Duration::from_secs(10),
///     soft_temperature: MilliCelsius::from_degrees(85),
///     hard_temperature: MilliCelsius::from_degrees(95),
///     quality: Vec::from_slice(&[(16, 1000)]).unwrap(),
///     quality_floor: 980,
///     response_weight: 500,
///     temperature_weight: 1000,
///     quality_weight: 2000,
/// });
/// let governor = Fixed::max(&actions);
/// let mut controller = Controller::new(governor, actions, Limits::agx_orin(), reward)?;
///
/// let now = Instant::from_micros(0);
/// let telemetry = Telemetry { temperature: Reading::at(MilliCelsius(45_000), now), ..Telemetry::UNKNOWN };
/// let decision = controller.step(now, &telemetry);
/// assert!(!decision.hold);
/// let record = controller.settle(Measurement::default()).expect("a turn was open");
/// assert_eq!(record.sequence, 0);
/// # Ok::<(), controller_core::control::ControllerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Controller<G> {
    governor: G,
    turns: Turns,
}

impl<G: Governor> Controller<G> {
    /// Puts a governor under a supervisor with these limits.
    pub fn new(governor: G, actions: ActionSpace, limits: Limits, reward: RewardRule) -> Result<Self, ControllerError> {
        Ok(Self { governor, turns: Turns::new(actions, limits, reward)? })
    }

    /// The same with [`Turns::set_fallback`].
    pub fn with_fallback(mut self, rule: FallbackRule) -> Result<Self, ControllerError> {
        self.turns.set_fallback(rule)?;
        Ok(self)
    }

    /// [`Turns::step`] under the governor.
    pub fn step(&mut self, now: Instant, telemetry: &Telemetry) -> Decision {
        self.turns.step(&mut self.governor, now, telemetry)
    }

    /// [`Turns::settle`].
    pub fn settle(&mut self, measurement: Measurement) -> Option<&StepRecord> {
        self.turns.settle(measurement)
    }

    /// The values of every knob.
    #[must_use]
    pub const fn actions(&self) -> &ActionSpace {
        self.turns.actions()
    }

    /// The governor.
    #[must_use]
    pub const fn governor(&self) -> &G {
        &self.governor
    }

    /// The safety layer.
    #[must_use]
    pub const fn supervisor(&self) -> &Supervisor {
        self.turns.supervisor()
    }

    /// The reward that turns are settled with.
    #[must_use]
    pub const fn reward(&self) -> &RewardRule {
        self.turns.reward()
    }
}

/// All of a controller but its governor, who may be another one in every turn: firmware takes its
/// policy from memory that an upload may write, and keeps no reference to it between turns.
#[derive(Clone, Debug)]
pub struct Turns {
    actions: ActionSpace,
    supervisor: Supervisor,
    reward: RewardRule,
    observer: Observer,
    /// The present turn while it is `open`, else the last one. Records are made where they stay,
    /// because each move of one would cost a microcontroller more than the turn's reward.
    record: Option<StepRecord>,
    open: bool,
    sequence: u32,
}

impl Turns {
    /// A supervisor with these limits, and no past.
    pub fn new(actions: ActionSpace, limits: Limits, reward: RewardRule) -> Result<Self, ControllerError> {
        actions.check().map_err(ControllerError::Actions)?;
        let supervisor = Supervisor::new(limits).map_err(ControllerError::Limits)?;
        reward.check().map_err(ControllerError::Reward)?;
        let observer = match &reward {
            RewardRule::Service(service) => Observer::with_response_limit(service.response_limit),
            #[cfg(feature = "published")]
            _ => Observer::default(),
        };
        Ok(Self { actions, supervisor, reward, observer, record: None, open: false, sequence: 0 })
    }

    /// Adds a static setting that the governor must never be worse than. Comparing costs turns: now
    /// and then the static setting is tried, and a governor that has been measured to be worse is
    /// replaced by it.
    pub fn set_fallback(&mut self, rule: FallbackRule) -> Result<(), ControllerError> {
        let fallback = Fallback::new(rule, &self.actions).map_err(ControllerError::Fallback)?;
        self.supervisor.set_fallback(fallback);
        Ok(())
    }

    /// Decides what the board does next. Pure computation in bounded time: no clock, no I/O.
    /// A turn that was never settled is forgotten.
    pub fn step(&mut self, governor: &mut impl Governor, now: Instant, telemetry: &Telemetry) -> Decision {
        self.observer.watch(telemetry);
        let requested = governor.decide(&Situation { telemetry, observer: &self.observer, actions: &self.actions });
        self.decide(requested, governor.observation(), now, telemetry)
    }

    /// The part of a step that is the same for all governors.
    fn decide(&mut self, requested: Action, observation: &[i16], now: Instant, telemetry: &Telemetry) -> Decision {
        let slope = self.observer.slope_mk_per_s();
        let decision = self.supervisor.supervise(now, telemetry, slope, requested, &self.actions);
        self.open = false;
        // The supervisor hands out clamped actions only, so the setting always exists.
        let Some(setting) = self.actions.setting(decision.applied) else { return decision };
        self.record = Some(StepRecord {
            sequence: self.sequence,
            decided_at: now,
            telemetry: *telemetry,
            observation: observation.iter().copied().take(MAX_FEATURES).collect(),
            state: self.supervisor.state(),
            decision,
            setting,
            measurement: Measurement::default(),
            reward: None,
        });
        self.open = true;
        decision
    }

    /// Takes in what the turn cost and returns its record; `None` when no turn is open.
    pub fn settle(&mut self, measurement: Measurement) -> Option<&StepRecord> {
        let record = self.record.as_mut().filter(|_| self.open)?;
        self.open = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.observer.remember(record.decision.applied, record.setting, measurement);
        if !record.decision.hold {
            record.reward = self.reward.settle(record.setting, &measurement).ok();
        }
        record.measurement = measurement;
        self.supervisor.settle(measurement.requests, record.reward.map(|reward| reward.total));
        Some(record)
    }

    /// When the last turn was begun; `None` before the first.
    #[must_use]
    pub fn decided_at(&self) -> Option<Instant> {
        self.record.as_ref().map(|record| record.decided_at)
    }

    /// The values of every knob.
    #[must_use]
    pub const fn actions(&self) -> &ActionSpace {
        &self.actions
    }

    /// The safety layer.
    #[must_use]
    pub const fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The reward that turns are settled with.
    #[must_use]
    pub const fn reward(&self) -> &RewardRule {
        &self.reward
    }
}

#[cfg(all(test, feature = "published"))]
mod tests {
    use super::*;
    use crate::action::tests::small_space;
    use crate::governor::Fixed;
    use crate::reward::Fixed as Fp;
    use crate::reward::published::{Limit, Published, Range};
    use crate::supervisor::State;
    use crate::telemetry::Reading;
    use crate::units::MilliCelsius;

    /// A governor from outside decides as one that stays, and all that is remembered stays in the turns.
    #[test]
    fn a_governor_may_come_for_the_decision_only() {
        let actions = small_space();
        let published = Published {
            throughput: range(),
            edp_efficiency: range(),
            temperature: range(),
            headroom_weight: Fp::ONE,
            latency_limit: limit(),
            temperature_limit: limit(),
            power_limit: limit(),
            steepness: Fp::ONE,
        };
        let unified = Unified { published, entropy_full: Fp::ONE, entropy_weight: Fp::ONE };
        let mut max = Fixed::max(&actions);
        let mut changing = Turns::new(actions, Limits::agx_orin(), RewardRule::Unified(unified)).unwrap();
        let mut one = Controller { governor: max, turns: changing.clone() };
        for turn in 0..40u32 {
            let now = Instant::from_micros(u64::from(turn) * 5_000_000);
            let hot = Reading::at(MilliCelsius(80_000 + 400 * i32::try_from(turn).unwrap()), now);
            let telemetry = Telemetry { temperature: hot, ..Telemetry::UNKNOWN };
            assert_eq!(changing.step(&mut max, now, &telemetry), one.step(now, &telemetry));
            assert_eq!(changing.settle(Measurement::default()), one.settle(Measurement::default()));
            assert!(changing.settle(Measurement::default()).is_none(), "a turn is settled once");
        }
        assert_eq!(one.supervisor().state(), State::Critical, "the turns went through the states");
    }

    fn range() -> Range {
        Range { low: Fp::ZERO, high: Fp::ONE }
    }

    fn limit() -> Limit {
        Limit { limit: Fp::ZERO, full: Fp::ONE, weight: Fp::ONE }
    }
}
