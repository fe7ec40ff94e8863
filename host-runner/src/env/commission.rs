//! Trial batches on a board that is being commissioned: full batches of equal requests at settings that a search wants to
//! know about, under the supervisor.

use super::replay::{Arm, Outcome};
use controller_core::action::{Action, ActionSpace, Knob};
use controller_core::control::{Controller, ControllerError, RewardRule};
use controller_core::governor::{Governor, Situation};
use controller_core::reward::service::Service;
use controller_core::supervisor::{Limits, Paces};
use controller_core::units::MilliRequestsPerSecond;
use firmware_sim::board::SimulatedBoard;
use std::cell::Cell;
use std::rc::Rc;

/// Tokens of an answer and of a prompt.
pub const ANSWER_TOKENS: u16 = 100;
const PROMPT_TOKENS: u32 = 17;
/// Time between two batches, s.
const GAP_S: f64 = 0.5;
/// Time to cool before a setting is tried again that the supervisor did not let through, s.
const COOL_S: f64 = 30.0;
/// Longest time to cool, s; after that the board is too hot to be commissioned.
const LONGEST_COOL_S: f64 = 3600.0;

/// A governor that asks for what the search wants to know.
#[derive(Clone, Debug)]
struct Trial(Rc<Cell<Action>>);

impl Governor for Trial {
    fn decide(&mut self, _: &Situation<'_>) -> Action {
        self.0.get()
    }
}

/// A board on trial.
#[derive(Debug)]
pub struct Trials {
    board: SimulatedBoard,
    controller: Controller<Trial>,
    wanted: Rc<Cell<Action>>,
    energy_j: f64,
    batches: u32,
    overruled: u32,
}

/// The board never got cool enough for a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the supervisor has not let a trial through for an hour; the board is too hot, let it cool or improve its cooling"
)]
pub struct TooHot;

impl Trials {
    /// A board with its supervisor.
    pub fn new(
        board: SimulatedBoard,
        actions: ActionSpace,
        limits: Limits,
        reward: Service,
    ) -> Result<Self, ControllerError> {
        let wanted = Rc::new(Cell::new(actions.safest()));
        // Pace keeps a board in service from flickering; a trial wants the setting now. Heat and power bind as ever.
        let limits = Limits { pace: Paces::FREE, ..limits };
        let controller = Controller::new(Trial(Rc::clone(&wanted)), actions, limits, RewardRule::Service(reward))?;
        Ok(Self { board, controller, wanted, energy_j: 0.0, batches: 0, overruled: 0 })
    }

    /// Energy spent so far, J: rails and fan, waiting and cooling included.
    #[must_use]
    pub const fn energy_j(&self) -> f64 {
        self.energy_j
    }

    /// Batches run so far.
    #[must_use]
    pub const fn batches(&self) -> u32 {
        self.batches
    }

    /// Trials that the supervisor did not let through.
    #[must_use]
    pub const fn overruled(&self) -> u32 {
        self.overruled
    }

    /// Highest true temperature so far, °C.
    #[must_use]
    pub const fn peak_c(&self) -> f64 {
        self.board.peak_c()
    }

    /// One full batch at a setting; waits for the board to cool while the supervisor does not allow it.
    pub fn run(&mut self, action: Action) -> Result<Outcome, TooHot> {
        self.wanted.set(action);
        let mut cooled_s = 0.0;
        loop {
            self.board.idle(GAP_S);
            let telemetry = self.board.telemetry(0, MilliRequestsPerSecond(0));
            let decision = self.controller.step(self.board.now(), &telemetry);
            let setting = self.controller.actions().setting(decision.applied);
            let setting = setting.expect("the supervisor applies actions of the space only");
            let same = |knob: Knob| decision.applied.get(knob) == action.get(knob);
            let allowed =
                !decision.hold && [Knob::Prefill, Knob::Decode, Knob::Batch, Knob::Depth].into_iter().all(same);
            if allowed {
                self.board.prefill(&setting, setting.batch, PROMPT_TOKENS * u32::from(setting.batch));
                self.board.decode(&setting, &vec![setting.batch; usize::from(ANSWER_TOKENS)]);
            } else {
                self.overruled += 1;
                self.board.set_fan(setting.fan_pwm);
                self.board.idle(COOL_S);
                cooled_s += COOL_S;
            }
            let measurement = self.board.measure();
            self.energy_j += measurement.energy.0 as f64 / 1e6;
            self.controller.settle(measurement);
            if allowed {
                self.batches += 1;
                return Ok(Outcome {
                    energy_j: measurement.active_energy.0 as f64 / 1e6,
                    latency_s: (measurement.prefill.micros() + measurement.decode.micros()) as f64 / 1e6,
                });
            }
            if cooled_s >= LONGEST_COOL_S || self.board.is_off() {
                return Err(TooHot);
            }
        }
    }
}

/// Every clock with every batch of an action space, as arms and as actions; prefill and decode run at the same clock, at the
/// smallest depth that keeps `min_depth`, with the fan at the board's own curve.
#[must_use]
pub fn arms(actions: &ActionSpace, min_depth: u16) -> (Vec<Arm>, Vec<Action>) {
    let index = |place: usize| u8::try_from(place).unwrap_or(u8::MAX);
    let depth = index(actions.depth.iter().position(|depth| *depth >= min_depth).unwrap_or(0));
    let clocks = actions.decode_khz.iter().enumerate().filter_map(|(decode, khz)| {
        let prefill = actions.prefill_khz.iter().position(|prefill| prefill == khz)?;
        Some((index(prefill), index(decode), f64::from(*khz) / 1e6))
    });
    let batches = |(prefill, decode, clock_ghz)| {
        actions.batch.iter().enumerate().map(move |(place, batch)| {
            let arm = Arm { clock_ghz, batch: f64::from(*batch) };
            (arm, Action { prefill, decode, batch: index(place), depth, fan: 0 })
        })
    };
    clocks.flat_map(batches).unzip()
}
