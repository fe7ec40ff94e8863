//! Contexts, groups and rewards: what training looks at.
//!
//! A context is a simulated board in the middle of its work. A group tries different actions from
//! one context: for each member the board is cloned and the action held for a while under the
//! supervisor, then the reward settles everything that happened. Because the clones share the
//! noise and the arrivals that are still to come, members differ by their action alone.

use super::heads::Heads;
use super::layout::real_input;
use super::network::Network;
use super::surroundings::{Surroundings, log_uniform};
use crate::env::account::{Account, Terms};
use crate::env::answers::DrawnLengths;
use crate::env::profile::BoardProfile;
use crate::env::queue::Queue;
use crate::env::service::Service;
use controller_core::action::{Action, Knob};
use controller_core::observation::{FeatureRange, Observer};
use controller_core::reward::service::Service as ServiceReward;
use controller_core::rng::Pcg32;
use controller_core::supervisor::{Limits, Supervisor};
use controller_core::telemetry::{Reading, Telemetry};
use firmware_sim::board::SimulatedBoard;

/// What stays the same over a training.
#[derive(Clone, Debug)]
pub struct World {
    /// The board.
    pub profile: BoardProfile,
    /// Features and ranges of the observation.
    pub layout: Vec<FeatureRange>,
    /// The reward, with the quality of every depth.
    pub reward: ServiceReward,
    /// The limits, with the quality floor.
    pub limits: Limits,
    /// How long a member's action is held, seconds: each group draws from this range, log-uniform.
    /// Short holds teach to follow the load, long ones to mind the heat.
    pub hold_s: (f64, f64),
}

/// A board at work, with what a controller would remember. A clone is a snapshot.
#[derive(Clone, Debug)]
pub struct Context {
    service: Service<DrawnLengths>,
    observer: Observer,
    supervisor: Supervisor,
    terms: Terms,
    ends_s: f64,
}

/// How the members of a group are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Different actions drawn from the policy.
    Drawn {
        /// Members.
        size: usize,
    },
    /// One knob, chosen by lot, over all its likely values, the others at an action of the policy; each member
    /// counts with its probability. For a factored policy.
    Knob,
}

/// Values of a knob less probable than this are not tried.
const LIKELY: f64 = 0.01;
/// A fan's duty is held so much longer than the other knobs: the heat sink takes minutes to follow.
const FAN_HOLD: f64 = 4.0;

/// One decision point: what was seen, and what each tried action was worth.
#[derive(Clone, Debug)]
pub struct Group {
    /// The normalized observation.
    pub observation: Vec<i16>,
    /// Different actions.
    pub actions: Vec<Action>,
    /// Probability of each within the group.
    pub weights: Vec<f64>,
    /// Log-probability of each under the policy that drew them.
    pub log_probabilities: Vec<f64>,
    /// Reward of each.
    pub rewards: Vec<f64>,
}

impl Context {
    /// A board in random surroundings.
    ///
    /// # Panics
    /// When the world's limits are unusable; the profile has been checked before.
    #[must_use]
    pub fn random(world: &World, rng: &mut Pcg32) -> Self {
        let Surroundings { conditions, load, prompt_tokens, answer_tokens, patience, ends_s } =
            Surroundings::random(rng);
        let board = SimulatedBoard::new(&world.profile.plant, conditions);
        let queue = Queue::with_load(&load, usize::MAX, u64::from(rng.next_u32()));
        let answers = DrawnLengths::new(prompt_tokens, answer_tokens, u64::from(rng.next_u32()));
        let terms = Terms::patient(&world.reward, patience, world.limits);
        Self {
            service: Service::new(board, queue, answers),
            observer: Observer::with_response_limit(terms.reward.response_limit),
            supervisor: Supervisor::new(world.limits).expect("the limits were checked with the profile"),
            terms,
            ends_s,
        }
    }

    /// The context has run its time or its board has shut down.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.service.now_s() > self.ends_s || self.service.board().is_off()
    }

    /// Waits for work and looks.
    pub fn observe(&mut self, world: &World) -> (Telemetry, Vec<i16>) {
        let Ok(_) = self.service.wait_for_work();
        let telemetry = self.service.telemetry();
        if let Reading::Present { value, taken_at } = telemetry.temperature {
            self.observer.watch(value, taken_at);
        }
        let observation = self.observer.observe(&world.layout, &telemetry).to_vec();
        (telemetry, observation)
    }

    /// Carries out an action once, as far as the supervisor lets it, and books it; of the answers, those to
    /// requests that came by `until_s`.
    pub fn act(&mut self, world: &World, telemetry: &Telemetry, action: Action, until_s: f64, account: &mut Account) {
        let actions = &world.profile.actions;
        let slope = self.observer.slope_mk_per_s();
        let decision = self.supervisor.supervise(self.service.now(), telemetry, slope, action, actions);
        let Some(setting) = actions.setting(decision.applied) else { return };
        let Ok(turn) = self.service.execute(&decision, &setting);
        self.observer.remember(decision.applied, setting, turn.measurement);
        account.turn(&self.terms, &setting, &turn.measurement, decision.reason, None);
        let counted = turn.answered.iter().filter(|(request, _)| request.arrived_s <= until_s);
        counted.for_each(|(_, response_s)| account.response(&self.terms, *response_s));
    }

    /// Reward of holding `action` for some seconds, from here; the context itself is not changed.
    ///
    /// The action is held on until everybody who came in that time has an answer, or as long again:
    /// who counted with the wait so far would make slow settings look punctual. What they still wait
    /// for then, counts. It is settled as the evaluation settles an episode.
    #[must_use]
    pub fn value_of(&self, world: &World, telemetry: &Telemetry, action: Action, hold_s: f64) -> f64 {
        let mut trial = self.clone();
        let mut account = Account::default();
        let now_s = trial.service.now_s();
        let (until_s, at_most_s) = (now_s + hold_s, now_s + 2.0 * hold_s);
        trial.act(world, telemetry, action, until_s, &mut account);
        while trial.is_owed(until_s) && trial.service.now_s() < at_most_s && !trial.service.board().is_off() {
            let (telemetry, _) = trial.observe(world);
            trial.act(world, &telemetry, action, until_s, &mut account);
        }
        let now_s = trial.service.now_s();
        for wait_s in trial.service.queue().waits_s(now_s).filter(|wait_s| now_s - wait_s <= until_s) {
            account.response(&self.terms, wait_s);
        }
        account.reward(&self.terms)
    }

    /// The time is not over, or somebody who came in it still waits.
    fn is_owed(&self, until_s: f64) -> bool {
        let now_s = self.service.now_s();
        now_s < until_s
            || self.service.queue().oldest_wait_s(now_s) >= now_s - until_s && !self.service.queue().is_empty()
    }

    /// Tries a group of actions.
    pub fn try_group(
        &mut self,
        world: &World,
        network: &Network,
        how: Grouping,
        rng: &mut Pcg32,
    ) -> (Telemetry, Group) {
        let (telemetry, observation) = self.observe(world);
        let logits = network.forward(&real_input(&observation)).logits;
        let heads = Heads::new(&logits, &world.profile.actions);
        let hold_s = log_uniform(rng, world.hold_s);
        let ((actions, weights), hold_s) = match how {
            Grouping::Drawn { size } => {
                let actions = heads.sample_group(size, rng);
                let weights = vec![1.0 / actions.len() as f64; actions.len()];
                ((actions, weights), hold_s)
            }
            Grouping::Knob => {
                // Mostly around what will be done when the policy is frozen, which takes the most probable.
                let base = if rng.below(4) == 0 { heads.sample(rng) } else { heads.greedy() };
                let knob = Knob::ALL[rng.below(5) as usize];
                let longer = if knob == Knob::Fan { FAN_HOLD } else { 1.0 };
                (heads.knob_group(base, knob, LIKELY), hold_s * longer)
            }
        };
        let log_probabilities = actions.iter().map(|action| heads.log_probability(*action)).collect();
        let rewards = actions.iter().map(|action| self.value_of(world, &telemetry, *action, hold_s)).collect();
        (telemetry, Group { observation, actions, weights, log_probabilities, rewards })
    }
}
