//! The methods that are compared.

use super::learner::Learner;
use super::ledger::Part;
use super::rig::{Optimum, Rig};
use super::{Account, Step};
use crate::env::profile::BoardProfile;
use crate::eval::prototype::table::published_actions;
use controller_core::action::{Action, Setting};
use controller_core::observation::Observer;
use controller_core::policy::{ImageError, Policy, PolicyImage};
use controller_core::supervisor::{Limits, Supervisor};
use controller_core::telemetry::Reading;
use firmware_sim::plant::Conditions;

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

    /// A policy that starts from nothing and learns on the board, group by group.
    pub fn learning(&self, optimum: &Optimum, seed: u64, go_on: &mut dyn FnMut() -> bool) -> Account {
        let actions = published_actions(&self.profile.plant);
        let mut learner = Learner::new(actions.clone(), seed);
        let mut rig = self.rig(optimum);
        let mut steps = Vec::with_capacity(self.evaluations);
        let (mut groups, mut updates) = (0, 0);
        'board: while steps.len() < self.evaluations {
            let telemetry = rig.telemetry();
            let sensed = telemetry.temperature.value().map_or(40.0, |value| f64::from(value.0) / 1000.0);
            let group = learner.sample(sensed, self.group, &mut rig.ledger);
            groups += 1;
            let mut rewards = Vec::with_capacity(group.actions.len());
            for action in &group.actions {
                if !go_on() {
                    break 'board;
                }
                let setting = rig.ledger.measure(Part::Actuation, || actions.setting(*action));
                let Some(setting) = setting else { continue };
                let step = rig.run(*action, &setting, true);
                rewards.push(step.reward.unwrap_or(0.0));
                steps.push(step);
            }
            if rewards.len() == group.actions.len() {
                learner.update(&group, &rewards, &mut rig.ledger);
                updates += 1;
            }
        }
        let account = Self::account("learning policy", rig, steps, self.evaluations);
        Account { group: self.group, groups, updates, ..account }
    }
}
