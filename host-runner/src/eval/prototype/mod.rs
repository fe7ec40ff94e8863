//! What would other policies have earned on the temperatures that a training log saw, under the reward of that log?
//!
//! Every row of the log is taken as a context, its temperature; every action is then scored by the plant at that
//! temperature, with the log's session scalar on the launch floor (`verify plant` fits it) and the recorder's lag of the
//! prefill power. The reward is `step` with the ranges of the log's *first* row: later rows have wider ones, which the
//! run widened by itself. That is how the published comparison (0.844, 0.906, 0.919, 0.932) was made.
//!
//! Ours is a policy of this program's GRPO ([`learner`]), trained on the plant of the profile (session scalar 1)
//! under the same reward at temperatures drawn uniformly from 40 to 100 °C. It never sees the log.
//!
//! | module | role |
//! |---|---|
//! | [`log`] | the columns of the log |
//! | [`table`] | what every action is worth at a temperature |
//! | [`learner`] | ours |

pub mod learner;
pub mod log;
pub mod table;

use crate::grpo::heads::Heads;
use crate::import::prototype::Prototype;
use controller_core::action::Action;
use learner::TemperaturePolicy;
use log::TrainingLog;
use table::Table;

/// Temperature up to which the two-rule policy takes the cool action, °C: headroom 0.33 of 40..100.
pub const HOT_FROM_C: f64 = 80.2;

/// Mean reward over the log, one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Name of the policy.
    pub policy: &'static str,
    /// Mean reward over all rows.
    pub mean_reward: f64,
    /// Mean reward of every row, for the figure.
    pub rewards: Vec<f64>,
}

impl Score {
    fn of(policy: &'static str, rewards: Vec<f64>) -> Self {
        let mean_reward = rewards.iter().sum::<f64>() / rewards.len().max(1) as f64;
        Self { policy, mean_reward, rewards }
    }
}

/// The action of clocks by index and a batch, in the published action space.
fn setting(prefill: u8, decode: u8, batch: u8) -> Action {
    Action { prefill, decode, batch: batch - 1, depth: 0, fan: 0 }
}

/// Scores every policy on a log. `table` is the plant in the log's session, `ours` the trained policy.
#[must_use]
pub fn scores(log: &TrainingLog, table: &Table, ours: &TemperaturePolicy) -> Vec<Score> {
    let best_static = setting(7, 6, 32);
    let cold = setting(6, 3, 1);
    let play = |name: &'static str, choose: &dyn Fn(f64) -> Action| {
        Score::of(name, log.rows.iter().map(|row| table.reward(choose(row.temperature_c), row.temperature_c)).collect())
    };
    let over_table = |name: &'static str, pick: &dyn Fn(&[f64]) -> f64| {
        Score::of(name, log.rows.iter().map(|row| pick(&table.rewards(row.temperature_c))).collect())
    };
    vec![
        Score::of("prototype", log.rows.iter().map(|row| row.reward).collect()),
        play("fixed", &|_| best_static),
        play("max", &|_| setting(10, 10, 32)),
        play("two-rule", &|t| if t <= HOT_FROM_C { best_static } else { cold }),
        play("ours", &|t| ours.decide(&TemperaturePolicy::observe(t))),
        over_table("oracle", &|rewards| rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        over_table("random", &|rewards| rewards.iter().sum::<f64>() / rewards.len() as f64),
    ]
}

/// Scores a policy of the published prototype (4 inputs) on a log's temperatures. What it sees of the last action is its own
/// last action, from the published start on: clocks 5 and 5, batch 17.
#[must_use]
pub fn imported_score(log: &TrainingLog, table: &Table, prototype: &Prototype) -> Score {
    let mut last = setting(5, 5, 17);
    let play = |row: &log::Row| {
        let index = |value: u8, span: f64| f64::from(value) / span;
        let headroom = ((100.0 - row.temperature_c) / 60.0).max(0.0);
        let state = [index(last.prefill, 10.0), index(last.decode, 10.0), index(last.batch, 31.0), headroom];
        last = Heads::new(&prototype.network.forward(&state).logits, table.actions()).greedy();
        table.reward(last, row.temperature_c)
    };
    Score::of("prototype-policy", log.rows.iter().map(play).collect())
}
