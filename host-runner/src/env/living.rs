//! A board that training goes on upon: it is looked at and acted upon turn by turn, and nobody ever sets it back.
//!
//! What it looks like is measured, always; no temperature and no last action is assumed, and there are no resets between
//! episodes. The supervisor stands between every action and the board.

use crate::grpo::rollout::{Context, World};
use controller_core::action::{Action, Decision, Setting};
use controller_core::telemetry::{Measurement, Telemetry};
use firmware_sim::plant::Conditions;

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

/// The simulated board at work.
#[derive(Clone, Debug)]
pub struct Simulated {
    world: World,
    context: Context,
}

impl Simulated {
    /// A board in these surroundings with so many requests per second.
    #[must_use]
    pub fn new(world: World, conditions: Conditions, rate: f64) -> Self {
        Self { context: Context::lasting(&world, conditions, rate), world }
    }
}

impl LivingBoard for Simulated {
    fn look(&mut self) -> Result<Seen, LivingError> {
        if self.context.is_over() {
            return Err(LivingError::Off);
        }
        let (telemetry, observation) = self.context.observe(&self.world);
        Ok(Seen { telemetry, observation })
    }

    fn act(&mut self, seen: &Seen, action: Action) -> Result<Done, LivingError> {
        let (decision, measurement) = self.context.decide_and_act(&self.world, &seen.telemetry, action);
        let setting = self.world.profile.actions.setting(decision.applied);
        let setting = setting.expect("the supervisor applies actions of the space only");
        Ok(Done { decision, setting, measurement })
    }

    fn set_fan_working(&mut self, working: bool) -> Result<(), LivingError> {
        self.context.set_fan_working(working);
        Ok(())
    }
}
