//! GRPO on one living board: groups are tried one member after the other, and nothing is ever reset.
//!
//! An *episode* is one group: the board is looked at, different actions are drawn from the policy, and each runs in
//! a random order and once more in the mirrored order ([`design`]), for a few turns each; then the policy plays some *greedy* turns by itself,
//! which is what it is judged by. Every few episodes the policy learns from their groups, with the exact divergence
//! from the policy that it came with as a leash. The supervisor stands between every action and the board; the pace of the
//! knobs alone is free, as in commissioning: a trial wants its setting now.
//!
//! | module | role |
//! |---|---|
//! | [`design`] | the order of a group, drift, and measured noise |
//! | [`episode`] | the record of an episode |
//! | [`fan`] | when the fan works |
//! | [`place`] | where it happens, as data |
//! | [`plan`] | what is tried, learned, and when it ends |
//! | [`stop`] | when enough has been learned |
//! | [`turn_log`] | every turn under the published column names |

pub mod design;
pub mod episode;
pub mod fan;
pub mod place;
pub mod plan;
pub mod stop;
pub mod turn_log;

pub use episode::{Episode, Role, Turn, Update};
pub use plan::Plan;

use super::checkpoint::{Checkpoint, Content, Training};
use super::group::Group;
use super::heads::Heads;
use super::loss::{Coefficients, Divergence};
use super::network::Network;
use super::update::{Learner, Passes, Policy, members};
use crate::env::living::{LivingBoard, LivingError, Seen};
use crate::quantize::{FakeQuantizer, FreezeError};
use controller_core::action::{Action, Knob};
use controller_core::control::RewardRule;
use controller_core::reward::RewardError;
use controller_core::rng::Pcg32;
use design::{Noise, judge, order};
use place::{Place, PlaceError};
use serde::{Deserialize, Serialize};
use std::time::Instant;
use stop::{Convergence, Rule};

/// Holds on end after which a board counts as too hot: an hour.
const MOST_HOLDS: u32 = 720;

/// Why a training does not go on.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// The board stopped.
    #[error(transparent)]
    Board(#[from] LivingError),
    /// It cannot be built again.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The supervisor has not let a batch through for an hour.
    #[error(
        "the supervisor has not let a batch through for an hour; the board is too hot: improve its cooling, or train at a lower load"
    )]
    TooHot,
    /// A turn has no reward.
    #[error("a turn has no reward: {0}")]
    Reward(RewardError),
    /// Training as the image will decide does not work for this network.
    #[error(transparent)]
    Quantize(#[from] FreezeError),
    /// The checkpoint is of another training.
    #[error("this checkpoint is not one of an online training")]
    OtherTraining,
}

/// Everything of a training that is not in its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineState {
    place: Place,
    rule: RewardRule,
    plan: Plan,
    rng: Pcg32,
    episode: u32,
    updates: u32,
    turns: u64,
    requests: u64,
    /// Groups that wait for the next update.
    pending: Vec<Group>,
    noise: Noise,
    convergence: Convergence,
    /// Everything that was done to the board: the index of the action, and whether the fan worked. A simulated board is
    /// made of seeds, so living through it again leads to the same moment, bit for bit.
    past: Vec<(usize, bool)>,
}

/// A training in progress.
pub struct OnlineTrainer {
    board: Box<dyn LivingBoard>,
    content: Content,
    learner: Learner,
    reference: Network,
    state: OnlineState,
}

impl std::fmt::Debug for OnlineTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnlineTrainer").field("episode", &self.state.episode).finish_non_exhaustive()
    }
}

impl OnlineTrainer {
    /// Starts from a policy, which becomes the reference as well.
    pub fn new(policy: Checkpoint, place: Place, rule: RewardRule, plan: Plan) -> Result<Self, OnlineError> {
        let board = place.build(&policy.content.actions, &policy.content.observation)?;
        Ok(Self::on(board, policy, place, rule, plan))
    }

    /// The same on a board that is there already.
    #[must_use]
    pub fn on(board: Box<dyn LivingBoard>, policy: Checkpoint, place: Place, rule: RewardRule, plan: Plan) -> Self {
        let content = Content {
            reward: rule.variant(),
            environment: place.name(),
            seed: plan.seed,
            optimizer_steps: 0,
            training: None,
            ..policy.content
        };
        let mut learner = Learner::new(policy.network.clone());
        if plan.quantized {
            learner.quantizer = content.activation_peaks.clone().map(FakeQuantizer::with_peaks);
        }
        let state = OnlineState {
            place,
            rule,
            rng: Pcg32::new(plan.seed),
            plan,
            episode: 0,
            updates: 0,
            turns: 0,
            requests: 0,
            pending: Vec::new(),
            noise: Noise::default(),
            convergence: Convergence::default(),
            past: Vec::new(),
        };
        Self { board, content, learner, reference: policy.network, state }
    }

    /// Goes on where a checkpoint was written.
    pub fn resume(checkpoint: Checkpoint) -> Result<Self, OnlineError> {
        let Checkpoint { mut content, network, optimizer, reference, .. } = checkpoint;
        let (Some(Training::Online(state)), Some(reference)) = (content.training.take(), reference) else {
            return Err(OnlineError::OtherTraining);
        };
        let mut board = state.place.build(&content.actions, &content.observation)?;
        for &(index, fan_working) in &state.past {
            let action = content.actions.action(index).ok_or(OnlineError::OtherTraining)?;
            if state.plan.fan.is_scheduled() {
                board.set_fan_working(fan_working)?;
            }
            let seen = board.look()?;
            board.act(&seen, action)?;
        }
        let quantizer = content.activation_peaks.clone().filter(|_| state.plan.quantized);
        let learner = Learner { network, optimizer, quantizer: quantizer.map(FakeQuantizer::with_peaks) };
        Ok(Self { board, content, learner, reference, state: *state })
    }

    /// How the training goes.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// Where it happens.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.state.place
    }

    /// The reward.
    #[must_use]
    pub const fn rule(&self) -> &RewardRule {
        &self.state.rule
    }

    /// What stands in its checkpoints.
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Convergence so far.
    #[must_use]
    pub const fn convergence(&self) -> &Convergence {
        &self.state.convergence
    }

    /// Episodes, updates, turns and requests so far.
    #[must_use]
    pub const fn counts(&self) -> (u32, u32, u64, u64) {
        (self.state.episode, self.state.updates, self.state.turns, self.state.requests)
    }

    /// All episodes or requests of the plan are done, or a rule ends the training.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let OnlineState { plan, episode, requests, .. } = &self.state;
        *episode >= plan.episodes || plan.requests.is_some_and(|most| *requests >= most) || self.stop().is_some()
    }

    fn stop(&self) -> Option<Rule> {
        let Plan { stop_at_reward, stop_when_converged, .. } = self.state.plan;
        self.state.convergence.rule(stop_at_reward, stop_when_converged)
    }

    /// One episode: a group, greedy turns, and every so often an update.
    pub fn episode(&mut self) -> Result<Episode, OnlineError> {
        let number = self.state.episode;
        let fan_working = self.state.plan.fan.is_working(number);
        if self.state.plan.fan.is_scheduled() {
            self.board.set_fan_working(fan_working)?;
        }
        let mut seen = Some(self.board.look()?);
        let observation = seen.as_ref().map(|seen| seen.observation.clone()).unwrap_or_default();
        self.calibrate(&observation);
        let started = Instant::now();
        let heads = self.learner.policy()?.heads(&observation, &self.content.actions);
        let idle_knob = (!fan_working).then_some(Knob::Fan);
        let group = Group::choose(observation, &heads, self.state.plan.grouping, idle_knob, &mut self.state.rng);
        let actions = &group.actions;
        let sampling_s = started.elapsed().as_secs_f64();
        let sure = heads.log_probability(heads.greedy());
        self.state.convergence.probability(libm::exp(sure));

        let order = order(actions.len(), &mut self.state.rng);
        let (mut turns, mut rewards) = (Vec::new(), Vec::new());
        let mut violations = 0;
        for (place, &member) in order.iter().enumerate() {
            let role = Role::Member { number: member, run: if place < actions.len() { 1 } else { 2 } };
            let log_probability = group.log_probabilities[member];
            let mut run = Vec::new();
            for _ in 0..self.state.plan.turns.max(1) {
                let turn = self.turn(role, actions[member], log_probability, seen.take(), fan_working, &mut turns)?;
                let limit = Some(self.state.place.limits().temperature);
                violations += usize::from(turn.done.measurement.peak_temperature > limit);
                run.push(turn.value());
                turns.push(turn);
            }
            let counted = run.get(1..).filter(|rest| !rest.is_empty()).unwrap_or(&run);
            rewards.push(counted.iter().sum::<f64>() / counted.len() as f64);
        }
        let judged = judge(&order, &rewards);
        self.state.noise.add(&judged);
        self.content.evaluations += actions.len() as u64;
        // In units of members, each of which had as many turns.
        let violations = violations.div_ceil(2 * self.state.plan.turns.max(1) as usize);
        let rewards = judged.rewards.clone();
        self.state.pending.push(Group { rewards, violations, ..group });

        let greedy_reward = self.play(fan_working, &mut turns)?;
        self.state.episode += 1;
        let convergence = &self.state.convergence;
        let confidence =
            [convergence.action_confidence(), convergence.loss_confidence(), convergence.overall_confidence()];
        let loss = convergence.last_loss();
        let due = self.state.pending.len() >= self.state.plan.episodes_per_update.max(1) as usize;
        let update = if due { Some(self.update()?) } else { None };
        Ok(Episode {
            number,
            turns,
            drift: judged.drift,
            noise: self.state.noise.deviation(),
            greedy_reward,
            sampling_s,
            confidence,
            loss,
            update,
            stop: self.stop(),
        })
    }

    /// Greedy turns; their mean reward.
    fn play(&mut self, fan_working: bool, turns: &mut Vec<Turn>) -> Result<Option<f64>, OnlineError> {
        let mut sum = 0.0;
        for _ in 0..self.state.plan.greedy_turns {
            let seen = self.board.look()?;
            let heads = self.learner.policy()?.heads(&seen.observation, &self.content.actions);
            let action = heads.greedy();
            let log_probability = heads.log_probability(action);
            let turn = self.turn(Role::Greedy, action, log_probability, Some(seen), fan_working, turns)?;
            sum += turn.value();
            self.state.convergence.reward(turn.value());
            turns.push(turn);
        }
        let count = f64::from(self.state.plan.greedy_turns);
        Ok((count > 0.0).then(|| sum / count))
    }

    /// One batch under an action. Holds before it are the supervisor's, not the action's; they go into `before`.
    fn turn(
        &mut self,
        role: Role,
        action: Action,
        log_probability: f64,
        seen: Option<Seen>,
        fan_working: bool,
        before: &mut Vec<Turn>,
    ) -> Result<Turn, OnlineError> {
        let mut seen = match seen {
            Some(seen) => seen,
            None => self.board.look()?,
        };
        let index = self.content.actions.index(action).ok_or(OnlineError::OtherTraining)?;
        for _ in 0..MOST_HOLDS {
            let done = self.board.act(&seen, action)?;
            self.state.past.push((index, fan_working));
            self.state.turns += 1;
            self.state.requests += u64::from(done.measurement.requests);
            let turn = Turn { role, action, log_probability, seen, done, reward: None, fan_working };
            if !done.decision.hold {
                let reward = self.state.rule.settle(done.setting, &done.measurement).map_err(OnlineError::Reward)?;
                return Ok(Turn { reward: Some(reward), ..turn });
            }
            before.push(Turn { role: Role::Hold, ..turn });
            seen = self.board.look()?;
        }
        Err(OnlineError::TooHot)
    }

    /// In quantization-aware training, scales follow what the policy meets.
    fn calibrate(&mut self, observation: &[i16]) {
        if self.state.plan.quantized {
            let (network, met) = (&self.learner.network, [observation.to_vec()]);
            match &mut self.learner.quantizer {
                None => self.learner.quantizer = Some(FakeQuantizer::new(network, &met)),
                Some(quantizer) => quantizer.watch(network, &met),
            }
        }
    }

    /// Learns from the groups that wait.
    fn update(&mut self) -> Result<Update, OnlineError> {
        let groups = std::mem::take(&mut self.state.pending);
        let plan = &self.state.plan;
        let left = (1.0 - f64::from(self.state.episode - 1) / f64::from(plan.episodes.max(1))).max(0.0);
        let noise_floor = plan.noise_floor.max(self.state.noise.deviation());
        let passes = Passes {
            epochs: plan.epochs,
            minibatches: plan.minibatches,
            learning_rate: plan.learning_rate * (0.1 + 0.9 * left),
            only: None,
            coefficients: Coefficients {
                clip: plan.clip,
                kl: plan.kl,
                divergence: Divergence::Exact,
                entropy: plan.entropy * left,
                log_shift: 0.0,
            },
        };
        let members = members(&groups, |group| group.advantages(noise_floor));
        let reference = Policy::of(&self.reference);
        let references: Vec<Heads> =
            groups.iter().map(|group| reference.heads(&group.observation, &self.content.actions)).collect();
        let rng = &mut self.state.rng;
        let losses = self.learner.update(&self.content.actions, &groups, &references, &members, &passes, rng)?;
        self.content.updates += losses.updates;
        self.state.convergence.loss(losses.loss);
        let number = self.state.updates;
        self.state.updates += 1;
        let rewards: Vec<f64> = groups.iter().flat_map(|group| group.rewards.iter().copied()).collect();
        let mean = |sum: f64| sum / rewards.len().max(1) as f64;
        Ok(Update {
            number,
            losses,
            mean_reward: mean(rewards.iter().sum()),
            best_reward: groups.iter().map(Group::best_reward).sum::<f64>() / groups.len() as f64,
            violations: mean(groups.iter().map(|group| group.violations).sum::<usize>() as f64),
            learning_rate: passes.learning_rate,
            noise_floor,
        })
    }

    /// What the training has come to.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let Learner { network, optimizer, quantizer } = self.learner.clone();
        let peaks = quantizer.map(|quantizer| quantizer.peaks().to_vec());
        Checkpoint {
            content: Content {
                optimizer_steps: optimizer.steps,
                // Peaks of an earlier training say nothing about a network that has moved since.
                activation_peaks: peaks,
                training: Some(Training::Online(Box::new(self.state.clone()))),
                ..self.content.clone()
            },
            network,
            optimizer,
            reference: Some(self.reference.clone()),
            mean: None,
        }
    }
}
