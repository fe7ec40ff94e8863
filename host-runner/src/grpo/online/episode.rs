//! An episode as it went: its turns, and what was learned from them.

use super::stop::Rule;
use crate::env::living::{Done, Seen};
use crate::grpo::update::Losses;
use controller_core::action::Action;
use controller_core::reward::{MICRO, Reward};

/// What kind of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member of a group.
    Member {
        /// Its number in the group.
        number: usize,
        /// First or second run.
        run: u8,
    },
    /// The policy by itself.
    Greedy,
    /// The supervisor let no batch start.
    Hold,
}

/// A turn as it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What kind.
    pub role: Role,
    /// The action that was asked for.
    pub action: Action,
    /// Its log-probability under the policy at the time.
    pub log_probability: f64,
    /// What was seen.
    pub seen: Seen,
    /// What was done.
    pub done: Done,
    /// Its reward; none for a hold.
    pub reward: Option<Reward>,
    /// The fan works.
    pub fan_working: bool,
}

impl Turn {
    pub(super) fn value(&self) -> f64 {
        self.reward.map_or(0.0, |reward| f64::from(reward.total) / f64::from(MICRO))
    }
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Its number, from 0.
    pub number: u32,
    /// Losses.
    pub losses: Losses,
    /// Mean reward of the members.
    pub mean_reward: f64,
    /// Mean of the best of each group.
    pub best_reward: f64,
    /// Share of members that passed the temperature limit.
    pub violations: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Noise floor that the advantages were scaled with.
    pub noise_floor: f64,
}

/// What an episode did.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its number, from 0.
    pub number: u32,
    /// Its turns in order.
    pub turns: Vec<Turn>,
    /// Drift of the reward over the group, per turn.
    pub drift: f64,
    /// Noise of a member's mean reward, as known so far.
    pub noise: f64,
    /// Mean reward of the greedy turns.
    pub greedy_reward: Option<f64>,
    /// Seconds that drawing the group took.
    pub sampling_s: f64,
    /// Confidence in the actions, in the loss, and both together.
    pub confidence: [f64; 3],
    /// Loss of the update before, and its distance from the one before that.
    pub loss: (Option<f64>, Option<f64>),
    /// The update at its end.
    pub update: Option<Update>,
    /// The rule that ends the training here.
    pub stop: Option<Rule>,
}
