//! The methods that are compared.

use super::ledger::{Ledger, Part};
use super::rig::{Rig, published_reward};
use super::{Account, Step};
use crate::env::profile::BoardProfile;
use crate::eval::prototype::learner::{Plan, TemperaturePolicy, train};
use crate::eval::prototype::table::Table;
use crate::grpo::group::Group;
use crate::grpo::loss::{Coefficients, Divergence};
use crate::grpo::update::Passes;
use controller_core::action::{Action, ActionSpace, Setting};
use controller_core::observation::Observer;
use controller_core::policy::{ImageError, Policy, PolicyImage};
use controller_core::supervisor::{Limits, Supervisor};
use std::collections::VecDeque;

/// The published best setting: clock of prefill and decode in kHz, batch.
const PUBLISHED_BEST: (u32, u32, u16) = (1_020_000, 918_000, 32);

/// What all methods share.
pub struct Comparison {
    /// The board.
    pub profile: BoardProfile,
    /// Its limits, with the floor of the depth.
    pub limits: Limits,
    /// Every clock for prefill and decode, batches from 1 on, full depth: what is searched and learnt on.
    pub actions: ActionSpace,
    /// Evaluations of every method but the grid search.
    pub evaluations: usize,
    /// Every how many settings of the published grid one is run; 1 is the whole grid.
    pub grid_stride: usize,
    /// Actions drawn at once.
    pub group: usize,
}

/// Why a method cannot run.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The policy is unusable.
    #[error("the policy image is refused: {0}")]
    Image(#[from] ImageError),
    /// Its action does not exist on this board.
    #[error("the policy was made for another board than {0}")]
    OtherBoard(String),
    /// The limits are unusable.
    #[error("the limits of the profile are refused: {0}")]
    Limits(#[from] controller_core::supervisor::LimitsError),
    /// A real board failed.
    #[error("the board failed: {0}")]
    Board(Box<dyn std::error::Error + Send + Sync>),
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> MethodError {
    MethodError::Board(Box::new(error))
}

/// Asked before every batch, with what was run so far and its time and energy; false ends the method.
pub type GoOn<'a> = dyn FnMut(&[Step], &Ledger) -> bool + 'a;

impl Comparison {
    fn account<R: Rig>(method: &'static str, rig: R, steps: Vec<Step>, wanted: usize) -> Account {
        let complete = steps.len() >= wanted;
        Account { method, steps, ledger: rig.close(), group: 0, groups: 0, updates: 0, complete }
    }

    /// The published best setting, or the nearest that this board has: the highest clocks and batch that are no higher.
    fn best(&self) -> Action {
        let (prefill, decode, batch) = PUBLISHED_BEST;
        #[expect(clippy::cast_possible_truncation, reason = "a knob has at most 255 values")]
        let place = |count: usize| count.saturating_sub(1) as u8;
        let below = |clocks: &[u32], khz: u32| place(clocks.iter().filter(|clock| **clock <= khz).count());
        Action {
            prefill: below(&self.actions.prefill_khz, prefill),
            decode: below(&self.actions.decode_khz, decode),
            batch: place(self.actions.batch.iter().filter(|sequences| **sequences <= batch).count()),
            depth: 0,
            fan: 0,
        }
    }

    /// The settings of a grid search.
    fn grid(&self) -> Vec<(Action, Setting)> {
        let actions = (0..self.actions.count()).step_by(self.grid_stride.max(1));
        let actions = actions.filter_map(|index| self.actions.action(index));
        actions.filter_map(|action| Some((action, self.actions.setting(action)?))).collect()
    }

    /// Batches that a grid search runs.
    #[must_use]
    pub fn grid_len(&self) -> usize {
        self.actions.count().div_ceil(self.grid_stride.max(1))
    }

    /// One setting, over and over: what inference costs by itself. `done` was run before.
    pub fn inference<R: Rig>(&self, mut rig: R, done: Vec<Step>, go_on: &mut GoOn) -> Result<Account, MethodError> {
        let (best, mut steps) = (self.best(), done);
        if let Some(setting) = self.actions.setting(best) {
            while steps.len() < self.evaluations && go_on(&steps, rig.ledger()) {
                let Some(step) = rig.run(best, &setting, true).map_err(failed)? else { break };
                steps.push(step);
            }
        }
        Ok(Self::account("inference", rig, steps, self.evaluations))
    }

    /// Every setting of the grid once, in the order of its indices. `done` was run before.
    pub fn grid_search<R: Rig>(&self, mut rig: R, done: Vec<Step>, go_on: &mut GoOn) -> Result<Account, MethodError> {
        let grid = self.grid();
        let mut steps = done;
        for (action, setting) in grid.iter().skip(steps.len()) {
            if !go_on(&steps, rig.ledger()) {
                break;
            }
            let (action, setting) = rig.ledger().measure(Part::Actuation, || (*action, *setting));
            let Some(step) = rig.run(action, &setting, true).map_err(failed)? else { break };
            steps.push(step);
        }
        Ok(Self::account("grid search", rig, steps, grid.len()))
    }

    /// A frozen policy under the supervisor. `done` was run before.
    pub fn deployed<R: Rig>(
        &self,
        mut rig: R,
        image: &[u8],
        done: Vec<Step>,
        go_on: &mut GoOn,
    ) -> Result<Account, MethodError> {
        let policy = Policy::new(PolicyImage::new_checked(image)?)?;
        let layout = policy.image().header().observation.clone();
        let actions = &self.profile.actions;
        let mut supervisor = Supervisor::new(self.limits)?;
        let mut observer = Observer::default();
        let mut steps = done;
        while steps.len() < self.evaluations && go_on(&steps, rig.ledger()) {
            let telemetry = rig.telemetry();
            let observation = rig.ledger().measure(Part::Observation, || {
                observer.watch(&telemetry);
                observer.observe(&layout, &telemetry)
            });
            let now = rig.now();
            let decision = rig.ledger().measure(Part::Decision, || {
                let requested = policy.decide(&observation);
                supervisor.supervise(now, &telemetry, observer.slope_mk_per_s(), requested, actions)
            });
            let setting = rig.ledger().measure(Part::Actuation, || actions.setting(decision.applied));
            let setting = setting.ok_or_else(|| MethodError::OtherBoard(self.profile.plant.name.to_string()))?;
            let Some(step) = rig.run(decision.applied, &setting, false).map_err(failed)? else { break };
            steps.push(step);
            let last = rig.last();
            rig.ledger().measure(Part::Observation, || observer.remember(decision.applied, setting, last));
        }
        Ok(Self::account("frozen policy", rig, steps, self.evaluations))
    }

    /// A policy that learns on the board, group by group.
    pub fn learning<R: Rig>(
        &self,
        mut rig: R,
        start: Start,
        seed: u64,
        go_on: &mut GoOn,
    ) -> Result<Account, MethodError> {
        let actions = &self.actions;
        let mut policy = match start {
            Start::Nothing => TemperaturePolicy::new(actions.clone(), seed),
            Start::Simulation => rig.ledger().measure(Part::Pretraining, || {
                let table = Table::new(&self.profile.plant, 1.0, published_reward());
                train(&table, &Plan { seed, ..Plan::default() }, || ())
            }),
        };
        let mut steps = Vec::with_capacity(self.evaluations);
        let mut recent: VecDeque<Group> = VecDeque::with_capacity(RECENT);
        let (mut groups, mut updates) = (0, 0);
        'board: while steps.len() < self.evaluations {
            let left = 1.0 - steps.len() as f64 / self.evaluations as f64;
            let telemetry = rig.telemetry();
            let sensed_c = telemetry.temperature.value().map_or(40.0, |value| f64::from(value.0) / 1000.0);
            let observation = rig.ledger().measure(Part::Observation, || TemperaturePolicy::observe(sensed_c));
            let mut group = rig.ledger().measure(Part::Sampling, || policy.draw(observation, self.group));
            groups += 1;
            for action in &group.actions {
                if !go_on(&steps, rig.ledger()) {
                    break 'board;
                }
                let setting = rig.ledger().measure(Part::Actuation, || actions.setting(*action));
                let setting = setting.expect("the policy chooses among the published actions");
                let Some(step) = rig.run(*action, &setting, true).map_err(failed)? else { break 'board };
                group.rewards.push(step.reward.unwrap_or(0.0));
                steps.push(step);
            }
            // A policy that is sure draws one action, which has nothing to compare itself with.
            if group.actions.len() > 1 {
                rig.ledger().measure(Part::Update, || {
                    recent.truncate(RECENT - 1);
                    recent.push_front(group);
                    policy.learn(recent.make_contiguous(), &start.passes(left));
                });
                updates += 1;
            }
        }
        let account = Self::account(start.method(), rig, steps, self.evaluations);
        Ok(Account { group: self.group, groups, updates, ..account })
    }
}

/// Groups that an update learns from, the youngest first: a few batches say too little by themselves.
const RECENT: usize = 8;

/// What a policy knows before it learns on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    Nothing,
    /// What a training on the plant of the board's profile has taught it.
    Simulation,
}

impl Start {
    const fn method(self) -> &'static str {
        match self {
            Self::Nothing => "learning policy",
            Self::Simulation => "pretrained policy",
        }
    }

    /// How it learns while this share of the evaluations is left.
    fn passes(self, left: f64) -> Passes {
        let learning_rate = match self {
            Self::Nothing => 1e-2,
            Self::Simulation => 1e-3,
        };
        let coefficients =
            Coefficients { clip: 0.2, kl: 0.02, divergence: Divergence::Exact, entropy: 0.005 * left, log_shift: 0.0 };
        Passes {
            epochs: 4,
            minibatches: 1,
            learning_rate: learning_rate * (0.1 + 0.9 * left),
            coefficients,
            only: None,
        }
    }
}
