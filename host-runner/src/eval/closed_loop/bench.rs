//! A board at work under a governor, with the disturbances of a scenario. A clone is a snapshot.

use super::account::{Account, Terms};
use super::scenario::{DURATION_S, Scenario, Surroundings};
use crate::env::answers::DrawnLengths;
use crate::env::profile::BoardProfile;
use crate::env::queue::Queue;
use crate::env::service::Service;
use controller_core::action::ActionSpace;
use controller_core::control::{Controller, ControllerError, RewardRule};
use controller_core::governor::Governor;
use controller_core::reward::service::Service as ServiceReward;
use controller_core::supervisor::Limits;
use controller_core::time::Duration;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;

/// Prompts are as long as those that the shipped policy was trained with, tokens.
const PROMPT_TOKENS: (u32, u32) = (12, 28);
/// A board that has worked before: this much above ambient at the start, K.
const WARM_K: f64 = 20.0;
/// A response is a miss at this many times the limit from which it costs something. With the engine of the shipped
/// profile a request that arrives during a batch waits for two batches, so the limit itself cannot be kept by anybody.
const DEADLINE: f64 = 2.0;

/// What all governors of a scenario share.
#[derive(Clone, Debug)]
pub struct Setup {
    profile: BoardProfile,
    surroundings: Surroundings,
    limits: Limits,
    terms: Terms,
}

impl Setup {
    /// A scenario on a board; `quality` belongs to the reward, `min_depth` to the limits, both come from the language
    /// model.
    #[must_use]
    pub fn new(profile: &BoardProfile, reward: &ServiceReward, limits: Limits, scenario: Scenario) -> Self {
        let surroundings = scenario.surroundings();
        let costless_s = reward.response_limit.micros() as f64 / 1e6 * surroundings.patience;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
        let response_limit = Duration::from_micros((costless_s * 1e6) as u64);
        let terms = Terms {
            reward: ServiceReward { response_limit, ..reward.clone() },
            deadline_s: DEADLINE * costless_s,
            limit_mc: limits.temperature.0,
        };
        Self { profile: profile.clone(), surroundings, limits, terms }
    }

    /// How accounts are settled.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What can be chosen.
    #[must_use]
    pub const fn actions(&self) -> &ActionSpace {
        &self.profile.actions
    }

    /// Fewest layers allowed.
    #[must_use]
    pub const fn min_depth(&self) -> u16 {
        self.limits.min_depth
    }
}

/// A board under a governor.
#[derive(Clone, Debug)]
pub struct Bench<G> {
    service: Service<DrawnLengths>,
    controller: Controller<G>,
    fan_fails_at_s: Option<f64>,
}

impl<G: Governor> Bench<G> {
    /// The start of an episode. The same seed gives the same requests and noise to every governor.
    pub fn new(setup: &Setup, governor: G, seed: u64) -> Result<Self, ControllerError> {
        let Setup { profile, surroundings, limits, terms } = setup;
        let conditions = Conditions {
            ambient_c: surroundings.ambient_c,
            start_c: surroundings.ambient_c + WARM_K,
            seed,
            limit_c: f64::from(limits.temperature.0) / 1000.0,
            ..Conditions::default()
        };
        let board = SimulatedBoard::new(&profile.plant, conditions);
        let queue = Queue::with_load(&surroundings.load, usize::MAX, seed);
        let answers = DrawnLengths::new(PROMPT_TOKENS, surroundings.answer_tokens, seed);
        let rule = RewardRule::Service(terms.reward.clone());
        Ok(Self {
            service: Service::new(board, queue, answers),
            controller: Controller::new(governor, profile.actions.clone(), *limits, rule)?,
            fan_fails_at_s: surroundings.fan_fails_at_s,
        })
    }

    /// The board's clock, seconds.
    #[must_use]
    pub fn now_s(&self) -> f64 {
        self.service.now_s()
    }

    /// The episode is over, or the board has shut itself down.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.now_s() >= DURATION_S || self.service.board().is_off()
    }

    /// Waits for work, decides, and does what was decided.
    ///
    /// # Panics
    /// Never: the supervisor applies actions of the space only, and every turn is settled.
    pub fn turn(&mut self, terms: &Terms, account: &mut Account) {
        let Ok(_) = self.service.wait_for_work();
        if self.fan_fails_at_s.is_some_and(|at_s| self.now_s() >= at_s) {
            self.fan_fails_at_s = None;
            self.service.board_mut().set_fan_working(false);
        }
        let telemetry = self.service.telemetry();
        let decision = self.controller.step(self.service.now(), &telemetry);
        let setting = self.controller.actions().setting(decision.applied).expect("an action of the space");
        let Ok(turn) = self.service.execute(&decision, &setting);
        self.controller.settle(turn.measurement).expect("a turn is open after a step");
        let sampled = telemetry.temperature.value().map(|sampled| sampled.0);
        account.turn(terms, &setting, &turn.measurement, decision.reason, sampled);
        turn.answered.iter().for_each(|(_, response_s)| account.response(terms, *response_s));
    }

    /// Counts who still waits, so that nobody looks good by leaving requests behind.
    pub fn close(&self, terms: &Terms, account: &mut Account) {
        let wait_s = self.service.queue().oldest_wait_s(self.now_s());
        (0..self.service.queue().len()).for_each(|_| account.response(terms, wait_s));
    }

    /// Works to the end of the episode.
    #[must_use]
    pub fn run(mut self, terms: &Terms) -> Account {
        let mut account = Account::default();
        while !self.is_over() {
            self.turn(terms, &mut account);
        }
        self.close(terms, &mut account);
        account
    }
}
