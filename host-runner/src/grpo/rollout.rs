//! Contexts and what actions are worth in them: what training in the simulator looks at.
//!
//! A context is a simulated board in the middle of its work. A group tries different actions from
//! one context: for each member the board is cloned and the action held for a while under the
//! supervisor, then the reward settles everything that happened. Because the clones share the
//! noise and the arrivals that are still to come, members differ by their action alone.

use super::group::{Group, Grouping};
use super::surroundings::{Surroundings, log_uniform};
use super::update::Policy;
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
use controller_core::telemetry::Telemetry;
use firmware_sim::board::SimulatedBoard;
use serde::{Deserialize, Serialize};

/// What stays the same over a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    fan_fails_at_s: Option<f64>,
    ends_s: f64,
    /// Mean arrival rate over all of its load.
    requests_per_s: f64,
}

/// What came of an action that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// As the evaluation would settle the stretch.
    pub reward: f64,
    /// The temperature limit was passed.
    pub too_hot: bool,
    /// Requests that came in the time for which it was held.
    pub requests: u64,
}

/// Reward that an action costs whose every turn the supervisor changes: less than anything that matters, enough that the
/// policy does not ask for what it cannot get.
const OVERRULED: f64 = 0.001;
/// Least and highest weight of a stretch in its episode.
const WEIGHTS: (f64, f64) = (0.1, 5.0);
/// A fan's duty is held so much longer than the other knobs: the heat sink takes minutes to follow.
const FAN_HOLD: f64 = 12.0;
/// How long the board goes on as usual after an action was held, in response limits of its users: time to answer who waits.
const SETTLE: f64 = 4.0;

impl Context {
    /// A board in random surroundings.
    ///
    /// # Panics
    /// When the world's limits are unusable; the profile has been checked before.
    #[must_use]
    pub fn random(world: &World, rng: &mut Pcg32) -> Self {
        Self::new(world, Surroundings::random(rng), rng)
    }

    fn new(world: &World, surroundings: Surroundings, rng: &mut Pcg32) -> Self {
        let requests_per_s = surroundings.requests_per_s();
        let Surroundings { conditions, fan_fails_at_s, load, prompt_tokens, answer_tokens, patience, ends_s } =
            surroundings;
        let board = SimulatedBoard::new(&world.profile.plant, conditions);
        let queue = Queue::with_load(&load, usize::MAX, u64::from(rng.next_u32()));
        let answers = DrawnLengths::new(prompt_tokens, answer_tokens, u64::from(rng.next_u32()));
        let terms = Terms::patient(&world.reward, patience, world.limits);
        Self {
            service: Service::new(board, queue, answers),
            observer: Observer::with_response_limit(terms.reward.response_limit),
            supervisor: Supervisor::new(world.limits).expect("the limits were checked with the profile"),
            terms,
            fan_fails_at_s,
            ends_s,
            requests_per_s,
        }
    }

    /// The context has run its time or its board has shut down.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.service.now_s() > self.ends_s || self.service.board().is_off()
    }

    /// Waits for work and looks.
    pub fn observe(&mut self, world: &World) -> (Telemetry, Vec<i16>) {
        let telemetry = self.look();
        let observation = self.observer.observe(&world.layout, &telemetry).to_vec();
        (telemetry, observation)
    }

    fn look(&mut self) -> Telemetry {
        let Ok(_) = self.service.wait_for_work();
        if self.fan_fails_at_s.is_some_and(|at_s| self.service.now_s() >= at_s) {
            self.fan_fails_at_s = None;
            self.service.board_mut().set_fan_working(false);
        }
        let telemetry = self.service.telemetry();
        self.observer.watch(&telemetry);
        telemetry
    }

    /// Carries out an action once, as far as the supervisor lets it.
    pub fn act(&mut self, world: &World, telemetry: &Telemetry, action: Action) {
        self.act_on_account(world, telemetry, action, f64::INFINITY, &mut Account::default());
    }

    /// The same, and books it; of the answers, those to requests that came by `until_s`.
    fn act_on_account(
        &mut self,
        world: &World,
        telemetry: &Telemetry,
        action: Action,
        until_s: f64,
        account: &mut Account,
    ) {
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

    /// What comes of holding `action` for some seconds, from here; the context itself is not changed.
    ///
    /// Then the board goes back to `usual` for four response limits, and on until everybody who came in all that time
    /// has an answer, or as long again; what they still wait for then, counts. A slow setting leaves more people waiting
    /// than a fast one, and neither their answers nor their waits may be lost. It is settled as the evaluation settles an
    /// episode.
    #[must_use]
    pub fn value_of(&self, world: &World, telemetry: &Telemetry, action: Action, usual: Action, hold_s: f64) -> Tried {
        let mut trial = self.clone();
        let mut account = Account::default();
        let held_until_s = trial.service.now_s() + hold_s;
        let until_s = held_until_s + SETTLE * self.terms.limit_s();
        let at_most_s = until_s + hold_s;
        trial.act_on_account(world, telemetry, action, until_s, &mut account);
        while trial.is_owed(until_s) && trial.service.now_s() < at_most_s && !trial.service.board().is_off() {
            let telemetry = trial.look();
            let action = if trial.service.now_s() < held_until_s { action } else { usual };
            trial.act_on_account(world, &telemetry, action, until_s, &mut account);
        }
        let now_s = trial.service.now_s();
        for wait_s in trial.service.queue().waits_s(now_s).filter(|wait_s| now_s - wait_s <= until_s) {
            account.response(&self.terms, wait_s);
        }
        let limit_c = f64::from(world.limits.temperature.0) / 1000.0;
        let reward = account.reward(&self.terms) - OVERRULED * account.overruled_share();
        Tried { reward, too_hot: account.max_temperature_c > limit_c, requests: account.requests() }
    }

    /// The time is not over, or somebody who came in it still waits.
    fn is_owed(&self, until_s: f64) -> bool {
        let now_s = self.service.now_s();
        let oldest = self.service.queue().waits_s(now_s).next();
        now_s < until_s || oldest.is_some_and(|wait_s| now_s - wait_s <= until_s)
    }

    /// Tries a group of actions.
    pub fn try_group(
        &mut self,
        world: &World,
        policy: &Policy<'_>,
        grouping: Grouping,
        rng: &mut Pcg32,
    ) -> (Telemetry, Group) {
        let (telemetry, observation) = self.observe(world);
        let heads = policy.heads(&observation, &world.profile.actions);
        let hold_s = log_uniform(rng, world.hold_s);
        // Every duty of a fan that stands still is worth the same, and a fan takes the longest to judge.
        let idle_knob = (!self.service.board().plant().conditions().fan_working).then_some(Knob::Fan);
        let group = Group::choose(observation, &heads, grouping, idle_knob, rng);
        let hold_s = if group.knob == Some(Knob::Fan) { hold_s * FAN_HOLD } else { hold_s };
        let tried = group.actions.iter().map(|action| self.value_of(world, &telemetry, *action, group.base, hold_s));
        let tried: Vec<Tried> = tried.collect();
        let rewards = tried.iter().map(|tried| tried.reward).collect();
        let violations = tried.iter().filter(|tried| tried.too_hot).count();
        // The reward of an episode is a ratio of sums: where more is served, a stretch counts for more of it. Those who came are
        // the same for all members.
        let came = tried.first().map_or(0, |tried| tried.requests);
        let weight = (came as f64 / (self.requests_per_s * hold_s)).clamp(WEIGHTS.0, WEIGHTS.1);
        (telemetry, Group { rewards, violations, weight, ..group })
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::*;
    use firmware_sim::plant::Conditions;
    use std::path::Path;

    fn world() -> World {
        let file = include_str!("../../../models/boards/agx-orin-hf.toml");
        let mut profile = BoardProfile::parse(file, Path::new("board.toml")).unwrap();
        profile.service.quality = profile.actions.depth.iter().map(|depth| (*depth, 1000)).collect();
        World {
            layout: layout::standard(),
            reward: profile.service.clone(),
            limits: profile.limits,
            hold_s: (30.0, 240.0),
            profile,
        }
    }

    #[test]
    fn leaving_requests_behind_does_not_pay() {
        let world = world();
        let last = |knob| world.profile.actions.last(knob);
        let one_by_one = Action { prefill: 5, decode: 5, batch: 0, depth: last(Knob::Depth), fan: last(Knob::Fan) };
        let together = Action { batch: last(Knob::Batch), ..one_by_one };
        for seed in 0..20 {
            let mut context = Context::random(&world, &mut Pcg32::new(seed));
            let (telemetry, _) = context.observe(&world);
            let of = |action| context.value_of(&world, &telemetry, action, together, 60.0).reward;
            // One by one is as good where few come, and never better: it saves nothing and nobody gets an answer sooner.
            assert!(of(one_by_one) <= of(together) + 0.01, "seed {seed}: {} and {}", of(one_by_one), of(together));
        }
    }

    #[test]
    fn a_trial_leaves_its_context_as_it_was() {
        let world = world();
        let mut context = Context::random(&world, &mut Pcg32::new(3));
        let (telemetry, _) = context.observe(&world);
        let of = |context: &Context| context.value_of(&world, &telemetry, Action::default(), Action::default(), 60.0);
        let (first, second) = (of(&context), of(&context));
        assert_eq!(first, second);
    }

    /// A board that has answered two requests of 100 tokens a second for a while, as `usual`.
    fn at_work(world: &World, usual: Action, patience: f64, seed: u64) -> Context {
        let surroundings = Surroundings {
            conditions: Conditions { seed, ..Conditions::default() },
            fan_fails_at_s: None,
            load: vec![(0.0, 2.0)],
            prompt_tokens: (12, 28),
            answer_tokens: (100, 100),
            patience,
            ends_s: f64::INFINITY,
        };
        let mut context = Context::new(world, surroundings, &mut Pcg32::new(seed));
        for _ in 0..60 {
            let (telemetry, _) = context.observe(world);
            context.act(world, &telemetry, usual);
        }
        context
    }

    /// Long trials are right, whatever they leave behind; they take too much time to learn from.
    #[test]
    fn short_trials_of_a_slow_clock_tell_what_long_ones_do() {
        const SEEDS: u64 = 60;
        let world = world();
        let last = |knob| world.profile.actions.last(knob);
        let usual = Action { prefill: 3, decode: 3, batch: last(Knob::Batch), depth: last(Knob::Depth), fan: 0 };
        let slow = Action { decode: 1, ..usual };
        let gain = |patience: f64, hold_s: f64| {
            let of_seed = |seed| {
                let mut context = at_work(&world, usual, patience, seed);
                let (telemetry, _) = context.observe(&world);
                let of = |action| context.value_of(&world, &telemetry, action, usual, hold_s).reward;
                (of(slow) - of(usual)) * (hold_s + SETTLE * context.terms.limit_s()) / hold_s
            };
            (0..SEEDS).map(of_seed).sum::<f64>() / SEEDS as f64
        };
        // For patient users it saves energy, for others it is late.
        for (patience, error) in [(7.0, 0.0018), (5.0, 0.006)] {
            let (short, long) = (gain(patience, 30.0), gain(patience, 960.0));
            assert!((short - long).abs() < error, "patience {patience}: {short} in 30 s, {long} in 960 s");
        }
    }
}
