//! A board that training goes on upon: it is looked at and acted upon turn by turn, and nobody ever sets it back.
//!
//! What it looks like is measured, always; no temperature and no last action is assumed, and there are no resets between
//! episodes. The supervisor stands between every action and the board.

use super::answers::DrawnLengths;
use super::queue::Queue;
use super::service::Service;
use controller_core::action::{Action, ActionSpace, Decision, Setting};
use controller_core::observation::{FeatureRange, Observer};
use controller_core::supervisor::{Limits, Supervisor};
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Duration;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::{Conditions, Profile};
use serde::{Deserialize, Serialize};

/// What was seen before a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Sensors and queue.
    pub telemetry: Telemetry,
    /// The normalized observation.
    pub observation: Vec<i16>,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// What was asked for and what the supervisor made of it.
    pub decision: Decision,
    /// The setting that was applied.
    pub setting: Setting,
    /// What it cost.
    pub measurement: Measurement,
}

/// Why a board does not go on.
#[derive(Debug, thiserror::Error)]
pub enum LivingError {
    /// It has shut itself down.
    #[error("the board has shut itself down; let it cool and resume, with a working fan or a lower load")]
    Off,
    /// The user has stopped it.
    #[error("stopped")]
    Stopped,
    /// Something of a real board failed.
    #[error("the board failed: {0}")]
    Board(Box<dyn std::error::Error + Send + Sync>),
}

/// A board under the supervisor. Every call of [`LivingBoard::act`] follows one of [`LivingBoard::look`].
pub trait LivingBoard {
    /// Waits for work and reads everything.
    fn look(&mut self) -> Result<Seen, LivingError>;

    /// Carries out an action for one turn, as far as the supervisor lets it.
    fn act(&mut self, seen: &Seen, action: Action) -> Result<Done, LivingError>;

    /// Stops or repairs the fan: the disturbance of a schedule.
    fn set_fan_working(&mut self, working: bool) -> Result<(), LivingError>;
}

/// What a simulated board has to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Requests per second.
    pub rate: f64,
    /// Lengths of prompts, tokens.
    pub prompt_tokens: (u32, u32),
    /// Lengths of answers, tokens.
    pub answer_tokens: (u32, u32),
    /// Air around the board, °C.
    pub ambient_c: f64,
    /// Temperature at the start, °C.
    pub start_c: f64,
    /// Response that its users expect.
    pub response_limit: Duration,
    /// Seed of noise, arrivals and lengths.
    pub seed: u64,
}

/// The simulated board at work.
#[derive(Clone, Debug)]
pub struct Simulated {
    service: Service<DrawnLengths>,
    observer: Observer,
    supervisor: Supervisor,
    actions: ActionSpace,
    layout: Vec<FeatureRange>,
}

impl Simulated {
    /// A board with a policy's knobs and inputs.
    ///
    /// # Panics
    /// When the limits are unusable; the profile has been checked before.
    #[must_use]
    pub fn new(
        plant: &Profile,
        limits: Limits,
        workload: &Workload,
        actions: ActionSpace,
        layout: Vec<FeatureRange>,
    ) -> Self {
        let Workload { rate, prompt_tokens, answer_tokens, ambient_c, start_c, response_limit, seed } = *workload;
        let board = SimulatedBoard::new(plant, Conditions { ambient_c, start_c, seed, ..Conditions::default() });
        let answers = DrawnLengths::new(prompt_tokens, answer_tokens, seed);
        Self {
            service: Service::new(board, Queue::new(rate, usize::MAX, seed), answers),
            observer: Observer::with_response_limit(response_limit),
            supervisor: Supervisor::new(limits).expect("the limits were checked with the profile"),
            actions,
            layout,
        }
    }
}

impl LivingBoard for Simulated {
    fn look(&mut self) -> Result<Seen, LivingError> {
        if self.service.board().is_off() {
            return Err(LivingError::Off);
        }
        let Ok(_) = self.service.wait_for_work();
        let telemetry = self.service.telemetry();
        self.observer.watch(&telemetry);
        let observation = self.observer.observe(&self.layout, &telemetry).to_vec();
        Ok(Seen { telemetry, observation })
    }

    fn act(&mut self, seen: &Seen, action: Action) -> Result<Done, LivingError> {
        let slope = self.observer.slope_mk_per_s();
        let now = self.service.now();
        let decision = self.supervisor.supervise(now, &seen.telemetry, slope, action, &self.actions);
        let setting = self.actions.setting(decision.applied).expect("the supervisor applies actions of the space only");
        let Ok(turn) = self.service.execute(&decision, &setting);
        self.observer.remember(decision.applied, setting, turn.measurement);
        Ok(Done { decision, setting, measurement: turn.measurement })
    }

    fn set_fan_working(&mut self, working: bool) -> Result<(), LivingError> {
        self.service.board_mut().set_fan_working(working);
        Ok(())
    }
}
