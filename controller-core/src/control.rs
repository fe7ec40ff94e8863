//! One turn of control: [`Controller::step`] before the batch, [`Controller::settle`] after it.

use crate::action::{ActionSpace, ActionSpaceError, Decision, Setting};
use crate::governor::{Governor, Situation};
use crate::observation::{MAX_FEATURES, Observation, Observer};
use crate::record::StepRecord;
use crate::reward::early_exit::EarlyExit;
use crate::reward::published::Outcome;
use crate::reward::service::Service;
use crate::reward::step::Step;
use crate::reward::unified::Unified;
use crate::reward::{Reward, RewardError, Variant};
use crate::supervisor::{Fallback, FallbackError, FallbackRule, Limits, LimitsError, State, Supervisor};
use crate::telemetry::{Measurement, Reading, Telemetry};
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
    Unified(Unified),
    /// The reward of the published training logs.
    Step(Step),
    /// The reward of the published early-exit code.
    EarlyExit(EarlyExit),
}

wire!(enum RewardRule { 0 => Service(rule), 1 => Unified(rule), 2 => Step(rule), 3 => EarlyExit(rule) });

impl RewardRule {
    /// Which variant this is.
    #[must_use]
    pub const fn variant(&self) -> Variant {
        match self {
            Self::Service(_) => Variant::Service,
            Self::Unified(_) => Variant::Unified,
            Self::Step(_) => Variant::Step,
            Self::EarlyExit(_) => Variant::EarlyExit,
        }
    }

    /// Checks that no range is empty.
    pub fn check(&self) -> Result<(), RewardError> {
        match self {
            Self::Service(service) => service.check(),
            Self::Unified(unified) => unified.check(),
            Self::Step(step) => step.check(),
            Self::EarlyExit(early_exit) => early_exit.check(),
        }
    }

    /// The reward of a turn.
    pub fn settle(&self, setting: Setting, measurement: &Measurement) -> Result<Reward, RewardError> {
        match self {
            Self::Service(service) => service.settle(setting, measurement),
            Self::Unified(unified) => unified.settle(&Outcome::of(setting, measurement)?),
            Self::Step(step) => step.settle(&Outcome::of(setting, measurement)?),
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

/// What [`Controller::step`] remembers until the turn is settled.
#[derive(Clone, Debug)]
struct Turn {
    decided_at: Instant,
    telemetry: Telemetry,
    observation: Observation,
    state: State,
    decision: Decision,
    setting: Setting,
}

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
    actions: ActionSpace,
    supervisor: Supervisor,
    reward: RewardRule,
    observer: Observer,
    turn: Option<Turn>,
    sequence: u32,
}

impl<G: Governor> Controller<G> {
    /// Puts a governor under a supervisor with these limits.
    pub fn new(governor: G, actions: ActionSpace, limits: Limits, reward: RewardRule) -> Result<Self, ControllerError> {
        actions.check().map_err(ControllerError::Actions)?;
        let supervisor = Supervisor::new(limits).map_err(ControllerError::Limits)?;
        reward.check().map_err(ControllerError::Reward)?;
        let observer = match &reward {
            RewardRule::Service(service) => Observer::with_response_limit(service.response_limit),
            _ => Observer::default(),
        };
        Ok(Self { governor, actions, supervisor, reward, observer, turn: None, sequence: 0 })
    }

    /// The same with a static setting that the governor must never be worse than. Comparing costs
    /// turns: now and then the static setting is tried, and a governor that has been measured to be
    /// worse is replaced by it.
    pub fn with_fallback(mut self, rule: FallbackRule) -> Result<Self, ControllerError> {
        let fallback = Fallback::new(rule, &self.actions).map_err(ControllerError::Fallback)?;
        self.supervisor = self.supervisor.with_fallback(fallback);
        Ok(self)
    }

    /// Decides what the board does next. Pure computation in bounded time: no clock, no I/O.
    /// A turn that was never settled is forgotten.
    pub fn step(&mut self, now: Instant, telemetry: &Telemetry) -> Decision {
        if let Reading::Present { value, taken_at } = telemetry.temperature {
            self.observer.watch(value, taken_at);
        }
        let situation = Situation { telemetry, observer: &self.observer, actions: &self.actions };
        let requested = self.governor.decide(&situation);
        let slope = self.observer.slope_mk_per_s();
        let decision = self.supervisor.supervise(now, telemetry, slope, requested, &self.actions);
        // The supervisor hands out clamped actions only, so the setting always exists.
        self.turn = self.actions.setting(decision.applied).map(|setting| Turn {
            decided_at: now,
            telemetry: *telemetry,
            observation: self.governor.observation().iter().copied().take(MAX_FEATURES).collect(),
            state: self.supervisor.state(),
            decision,
            setting,
        });
        decision
    }

    /// Takes in what the turn cost and returns its record; `None` when no turn is open.
    pub fn settle(&mut self, measurement: Measurement) -> Option<StepRecord> {
        let turn = self.turn.take()?;
        self.observer.remember(turn.decision.applied, turn.setting, measurement);
        let reward = if turn.decision.hold { None } else { self.reward.settle(turn.setting, &measurement).ok() };
        self.supervisor.settle(measurement.requests, reward.map(|reward| reward.total));
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        Some(StepRecord {
            sequence,
            decided_at: turn.decided_at,
            telemetry: turn.telemetry,
            observation: turn.observation,
            state: turn.state,
            decision: turn.decision,
            setting: turn.setting,
            measurement,
            reward,
        })
    }

    /// The values of every knob.
    #[must_use]
    pub const fn actions(&self) -> &ActionSpace {
        &self.actions
    }

    /// The governor.
    #[must_use]
    pub const fn governor(&self) -> &G {
        &self.governor
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

impl<G> Controller<G> {
    /// The same controller, in the middle of whatever it does, under another governor.
    pub fn with_governor<H>(self, governor: H) -> Controller<H> {
        let Self { governor: _, actions, supervisor, reward, observer, turn, sequence } = self;
        Controller { governor, actions, supervisor, reward, observer, turn, sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;
    use crate::governor::Fixed;
    use crate::reward::Fixed as Fp;
    use crate::reward::published::{Limit, Published, Range};
    use crate::units::MilliCelsius;

    /// Governors come and go: supervisor, observer, open turn and numbers stay.
    #[test]
    fn another_governor_changes_nothing_else() {
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
        let max = Fixed::max(&actions);
        let start = Controller::new(max, actions, Limits::agx_orin(), RewardRule::Unified(unified)).unwrap();
        let (mut one, mut other) = (start.clone(), Some(start));
        for turn in 0..40u32 {
            let now = Instant::from_micros(u64::from(turn) * 5_000_000);
            let hot = Reading::at(MilliCelsius(80_000 + 400 * i32::try_from(turn).unwrap()), now);
            let telemetry = Telemetry { temperature: hot, ..Telemetry::UNKNOWN };
            let decision = one.step(now, &telemetry);
            let mut changing = other.take().unwrap().with_governor(max);
            assert_eq!(changing.step(now, &telemetry), decision);
            let mut changing = changing.with_governor(max);
            assert_eq!(changing.settle(Measurement::default()), one.settle(Measurement::default()));
            other = Some(changing);
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
