//! The methods that are compared.

use super::ledger::Part;
use super::rig::{Optimum, Rig, published_reward};
use super::{Account, Step};
use crate::env::profile::BoardProfile;
use crate::eval::prototype::learner::{Plan, TemperaturePolicy, train};
use crate::eval::prototype::table::{Table, published_actions};
use crate::grpo::group::Group;
use crate::grpo::loss::{Coefficients, Divergence};
use crate::grpo::update::Passes;
use controller_core::action::{Action, Setting};
use controller_core::observation::Observer;
use controller_core::policy::{ImageError, Policy, PolicyImage};
use controller_core::supervisor::{Limits, Supervisor};
use controller_core::telemetry::Reading;
use firmware_sim::plant::Conditions;
use std::collections::VecDeque;

/// The published best setting: clock of prefill and decode by index, batch less one.
const PUBLISHED_BEST: Action = Action { prefill: 7, decode: 6, batch: 31, depth: 0, fan: 0 };

/// What all methods share.
pub struct Comparison {
    /// The board.
    pub profile: BoardProfile,
    /// Its limits, with the floor of the depth.
    pub limits: Limits,
    /// Room, noise and seed.
    pub conditions: Conditions,
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
}

impl Comparison {
    fn rig(&self, optimum: &Optimum) -> Rig {
        Rig::new(&self.profile.plant, self.conditions, optimum.clone())
    }

    fn account(method: &'static str, rig: Rig, steps: Vec<Step>, wanted: usize) -> Account {
        let complete = steps.len() >= wanted;
        let (ledger, _) = rig.close();
        Account { method, steps, ledger, group: 0, groups: 0, updates: 0, complete }
    }

    /// One setting, over and over: what inference costs by itself.
    pub fn inference(&self, optimum: &Optimum, go_on: &mut dyn FnMut() -> bool) -> Account {
        let actions = published_actions(&self.profile.plant);
        let mut rig = self.rig(optimum);
        let mut steps = Vec::with_capacity(self.evaluations);
        if let Some(setting) = actions.setting(PUBLISHED_BEST) {
            while steps.len() < self.evaluations && go_on() {
                steps.push(rig.run(PUBLISHED_BEST, &setting, true));
            }
        }
        Self::account("inference", rig, steps, self.evaluations)
    }

    /// Every setting of the published grid once, in the order of its indices.
    pub fn grid_search(&self, optimum: &Optimum, go_on: &mut dyn FnMut() -> bool) -> Account {
        let actions = published_actions(&self.profile.plant);
        let grid: Vec<(Action, Setting)> = (0..actions.count())
            .step_by(self.grid_stride.max(1))
            .filter_map(|index| actions.action(index))
            .filter_map(|action| Some((action, actions.setting(action)?)))
            .collect();
        let mut rig = self.rig(optimum);
        let mut steps = Vec::with_capacity(grid.len());
        for (action, setting) in &grid {
            if !go_on() {
                break;
            }
            let (action, setting) = rig.ledger.measure(Part::Actuation, || (*action, *setting));
            steps.push(rig.run(action, &setting, true));
        }
        Self::account("grid search", rig, steps, grid.len())
    }

    /// A frozen policy under the supervisor.
    pub fn deployed(
        &self,
        optimum: &Optimum,
        image: &[u8],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Account, MethodError> {
        let policy = Policy::new(PolicyImage::new_checked(image)?)?;
        let layout = policy.image().header().observation.clone();
        let actions = &self.profile.actions;
        let mut supervisor = Supervisor::new(self.limits)?;
        let mut observer = Observer::default();
        let mut rig = self.rig(optimum);
        let mut steps = Vec::with_capacity(self.evaluations);
        while steps.len() < self.evaluations && go_on() {
            let telemetry = rig.telemetry();
            let observation = rig.ledger.measure(Part::Observation, || {
                if let Reading::Present { value, taken_at } = telemetry.temperature {
                    observer.watch(value, taken_at);
                }
                observer.observe(&layout, &telemetry)
            });
            let now = rig.now();
            let decision = rig.ledger.measure(Part::Decision, || {
                let requested = policy.decide(&observation);
                supervisor.supervise(now, &telemetry, observer.slope_mk_per_s(), requested, actions)
            });
            let setting = rig.ledger.measure(Part::Actuation, || actions.setting(decision.applied));
            let setting = setting.ok_or_else(|| MethodError::OtherBoard(self.profile.plant.name.to_string()))?;
            steps.push(rig.run(decision.applied, &setting, false));
            let last = rig.last;
            rig.ledger.measure(Part::Observation, || observer.remember(decision.applied, setting, last));
        }
        Ok(Self::account("frozen policy", rig, steps, self.evaluations))
    }

    /// A policy that learns on the board, group by group.
    pub fn learning(&self, start: Start, optimum: &Optimum, seed: u64, go_on: &mut dyn FnMut() -> bool) -> Account {
        let actions = published_actions(&self.profile.plant);
        let mut rig = self.rig(optimum);
        let mut policy = match start {
            Start::Nothing => TemperaturePolicy::new(actions.clone(), seed),
            Start::Simulation => rig.ledger.measure(Part::Pretraining, || {
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
            let observation = rig.ledger.measure(Part::Observation, || TemperaturePolicy::observe(sensed_c));
            let mut group = rig.ledger.measure(Part::Sampling, || policy.draw(observation, self.group));
            groups += 1;
            for action in &group.actions {
                if !go_on() {
                    break 'board;
                }
                let setting = rig.ledger.measure(Part::Actuation, || actions.setting(*action));
                let setting = setting.expect("the policy chooses among the published actions");
                let step = rig.run(*action, &setting, true);
                group.rewards.push(step.reward.unwrap_or(0.0));
                steps.push(step);
            }
            // A policy that is sure draws one action, which has nothing to compare itself with.
            if group.actions.len() > 1 {
                rig.ledger.measure(Part::Update, || {
                    recent.truncate(RECENT - 1);
                    recent.push_front(group);
                    policy.learn(recent.make_contiguous(), &start.passes(left));
                });
                updates += 1;
            }
        }
        let account = Self::account(start.method(), rig, steps, self.evaluations);
        Account { group: self.group, groups, updates, ..account }
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
        Passes { epochs: 4, minibatches: 1, learning_rate: learning_rate * (0.1 + 0.9 * left), coefficients }
    }
}
