//! What an online training does: how groups are tried, how it learns from them, and when it ends.

use super::fan::FanSchedule;
use crate::grpo::group::Grouping;
use serde::{Deserialize, Serialize};

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// Most episodes.
    pub episodes: u32,
    /// Most answered requests; `None` for no such limit.
    pub requests: Option<u64>,
    /// Which actions a group tries.
    pub grouping: Grouping,
    /// Turns of a run. Where there are several, the first one settles what the member before has left and does not count.
    pub turns: u32,
    /// Episodes between two updates.
    pub episodes_per_update: u32,
    /// Passes over the groups of an update.
    pub epochs: usize,
    /// Parameter updates per pass.
    pub minibatches: usize,
    /// Learning rate at the start; it falls linearly to a tenth over the episodes.
    pub learning_rate: f64,
    /// Weight of the entropy bonus at the start; it falls linearly to zero.
    pub entropy: f64,
    /// Weight of the divergence from the policy that the training began with.
    pub kl: f64,
    /// Clip range of the ratio.
    pub clip: f64,
    /// Least spread of a group's rewards that is not noise; the measured noise raises it.
    pub noise_floor: f64,
    /// Turns of the policy by itself after every group.
    pub greedy_turns: u32,
    /// When the fan works.
    pub fan: FanSchedule,
    /// Decide and learn as the policy's image will.
    pub quantized: bool,
    /// Mean reward of the last greedy turns that is enough.
    pub stop_at_reward: Option<f64>,
    /// Stop when the loss stands still or the policy is sure.
    pub stop_when_converged: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            episodes: 200,
            requests: None,
            grouping: Grouping::Knob,
            turns: 4,
            episodes_per_update: 4,
            epochs: 4,
            minibatches: 1,
            learning_rate: 1e-3,
            entropy: 0.005,
            kl: 0.05,
            clip: 0.2,
            noise_floor: 0.002,
            greedy_turns: 2,
            fan: FanSchedule::Always,
            quantized: false,
            stop_at_reward: None,
            stop_when_converged: false,
        }
    }
}
