//! Contexts, groups and rewards: what training looks at.
//!
//! A context is a simulated board in the middle of its work. A group tries different actions from
//! one context: for each member the board is cloned and the action held for a horizon under the
//! supervisor, then the reward settles everything that happened. Because the clones share the
//! noise and the arrivals that are still to come, members differ by their action alone.

use super::update::Policy;
use crate::env::answers::DrawnLengths;
use crate::env::profile::BoardProfile;
use crate::env::queue::Queue;
use crate::env::service::Service;
use controller_core::action::Action;
use controller_core::observation::{FeatureRange, Observer};
use controller_core::reward::MICRO;
use controller_core::reward::service::Service as ServiceReward;
use controller_core::rng::Pcg32;
use controller_core::supervisor::{Limits, Supervisor};
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::Duration;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;
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
    /// Lengths of prompts, tokens.
    pub prompt_tokens: (u32, u32),
    /// Lengths of answers, tokens.
    pub answer_tokens: (u32, u32),
    /// How long a member's action is held, seconds.
    pub horizon_s: f64,
}

/// A board at work, with what a controller would remember. A clone is a snapshot.
#[derive(Clone, Debug)]
pub struct Context {
    service: Service<DrawnLengths>,
    observer: Observer,
    supervisor: Supervisor,
    ends_s: f64,
}

/// One decision point: what was seen, and what each tried action was worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The normalized observation.
    pub observation: Vec<i16>,
    /// Different actions.
    pub actions: Vec<Action>,
    /// Log-probability of each under the policy that drew them.
    pub log_probabilities: Vec<f64>,
    /// Reward of each.
    pub rewards: Vec<f64>,
    /// Members that passed the temperature limit.
    pub violations: usize,
}

/// Uniform in `low..high`.
fn uniform(rng: &mut Pcg32, low: f64, high: f64) -> f64 {
    low + (high - low) * f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

impl Context {
    /// A board in random surroundings: ambient, start temperature, fan and offered load all vary,
    /// so that the policy meets cold starts, heat waves, dead fans, idling and overload.
    ///
    /// # Panics
    /// When the world's limits are unusable; the profile has been checked before.
    #[must_use]
    pub fn random(world: &World, rng: &mut Pcg32) -> Self {
        let ambient_c = uniform(rng, 10.0, 48.0);
        let conditions = Conditions {
            ambient_c,
            start_c: uniform(rng, ambient_c, 94.0),
            seed: u64::from(rng.next_u32()),
            fan_working: rng.below(2) == 0,
            floor_scale: uniform(rng, 0.96, 1.04),
            ..Conditions::default()
        };
        // Log-uniform: as many contexts between 0.3 and 1 request per second as between 3 and 10.
        let rate = libm::exp(uniform(rng, libm::log(0.3), libm::log(10.0)));
        let board = SimulatedBoard::new(&world.profile.plant, conditions);
        let queue = Queue::new(rate, usize::MAX, u64::from(rng.next_u32()));
        let answers = DrawnLengths::new(world.prompt_tokens, world.answer_tokens, u64::from(rng.next_u32()));
        Self {
            service: Service::new(board, queue, answers),
            observer: Observer::default(),
            supervisor: Supervisor::new(world.limits).expect("the limits were checked with the profile"),
            ends_s: uniform(rng, 200.0, 1200.0),
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

    /// Carries out an action once, as far as the supervisor lets it, and returns the bill.
    pub fn act(&mut self, world: &World, telemetry: &Telemetry, action: Action) -> Measurement {
        let actions = &world.profile.actions;
        let slope = self.observer.slope_mk_per_s();
        let decision = self.supervisor.supervise(self.service.now(), telemetry, slope, action, actions);
        let Some(setting) = actions.setting(decision.applied) else { return Measurement::default() };
        let Ok(turn) = self.service.execute(&decision, &setting);
        self.observer.remember(decision.applied, setting, turn.measurement);
        turn.measurement
    }

    /// Reward of holding `action` for the horizon, from here, and whether the temperature limit was passed on the way;
    /// the context itself is not changed.
    ///
    /// Energy, temperature and quality are settled as one long turn. Lateness is settled turn by
    /// turn and averaged over the requests, so that one unlucky batch does not decide; who still
    /// waits at the end counts too, so an action cannot look good by leaving requests behind.
    #[must_use]
    pub fn value_of(&self, world: &World, telemetry: &Telemetry, action: Action) -> (f64, bool) {
        let setting = world.profile.actions.setting(action).expect("sampled from the action space");
        let settle = |measurement: &Measurement| {
            let settled = world.reward.settle(setting, measurement);
            settled.expect("the simulator measures temperature, and the quality of every depth is known")
        };
        let mut trial = self.clone();
        let until = trial.service.now_s() + world.horizon_s;
        let mut whole = trial.act(world, telemetry, action);
        let mut lateness = Mean::default();
        lateness.add(settle(&whole).components.response, usize::from(whole.requests));
        while trial.service.now_s() < until && !trial.service.board().is_off() {
            let (telemetry, _) = trial.observe(world);
            let turn = trial.act(world, &telemetry, action);
            lateness.add(settle(&turn).components.response, usize::from(turn.requests));
            whole = merge(whole, turn);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let waited = (trial.service.queue().oldest_wait_s(trial.service.now_s()) * 1e6) as u64;
        let waiting = Measurement { response: Duration::from_micros(waited), ..whole };
        lateness.add(settle(&waiting).components.response, trial.service.queue().len());
        let punctual = Measurement { response: Duration::ZERO, ..whole };
        let reward = (f64::from(settle(&punctual).total) + lateness.value()) / f64::from(MICRO);
        (reward, whole.peak_temperature > Some(world.limits.temperature))
    }

    /// Tries a group of actions drawn from the policy.
    pub fn try_group(
        &mut self,
        world: &World,
        policy: &Policy<'_>,
        size: usize,
        rng: &mut Pcg32,
    ) -> (Telemetry, Group) {
        let (telemetry, observation) = self.observe(world);
        let heads = policy.heads(&observation, &world.profile.actions);
        let actions = heads.sample_group(size, rng);
        let log_probabilities = actions.iter().map(|action| heads.log_probability(*action)).collect();
        let tried: Vec<(f64, bool)> = actions.iter().map(|action| self.value_of(world, &telemetry, *action)).collect();
        let violations = tried.iter().filter(|(_, violated)| *violated).count();
        let rewards = tried.into_iter().map(|(reward, _)| reward).collect();
        (telemetry, Group { observation, actions, log_probabilities, rewards, violations })
    }
}

/// A weighted mean; 0 without weights.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: i32, weight: usize) {
        self.sum += f64::from(value) * weight as f64;
        self.weight += weight as f64;
    }

    fn value(self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }
}

/// Two turns as one.
fn merge(first: Measurement, second: Measurement) -> Measurement {
    let time = |a: Duration, b: Duration| Duration::from_micros(a.micros() + b.micros());
    Measurement {
        requests: first.requests.saturating_add(second.requests),
        prompt_tokens: first.prompt_tokens + second.prompt_tokens,
        generated_tokens: first.generated_tokens + second.generated_tokens,
        prefill: time(first.prefill, second.prefill),
        decode: time(first.decode, second.decode),
        idle: time(first.idle, second.idle),
        response: first.response.max(second.response),
        energy: first.energy.saturating_add(second.energy),
        active_energy: first.active_energy.saturating_add(second.active_energy),
        peak_temperature: first.peak_temperature.max(second.peak_temperature),
        entropy: second.entropy.or(first.entropy),
    }
}
