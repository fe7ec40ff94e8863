//! What a method needs of a board, and what a batch earns under the published reward.

use super::Step;
use super::ledger::Ledger;
use controller_core::action::{Action, Setting};
use controller_core::reward::published::{Limit, Outcome, Published, Range};
use controller_core::reward::reference;
use controller_core::reward::step::Step as StepReward;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;

/// New tokens of a sequence, as in the published runs.
pub const ANSWER_TOKENS: u16 = 100;
/// Prompt tokens of a sequence.
pub const PROMPT_TOKENS: u32 = 17;
/// Pause between two batches, s.
pub const GAP_S: f64 = 0.325;

/// The published reward of the training log, with the ranges of its data set.
#[must_use]
pub fn published_reward() -> StepReward<f64> {
    StepReward {
        published: Published {
            throughput: Range { low: 7.707_851_057_374_813, high: 920.960_054_059_606_3 },
            edp_efficiency: Range { low: 1.175_312_708_607_989_4e-4, high: 2.150_846_451_480_048_3e-3 },
            temperature: Range { low: 40.0, high: 100.0 },
            headroom_weight: 1.0,
            latency_limit: Limit { limit: 15.0, full: 22.5, weight: 1.0 },
            temperature_limit: Limit { limit: 100.0, full: 120.0, weight: 1.5 },
            power_limit: Limit { limit: 60.0, full: 78.0, weight: 1.0 },
            steepness: 5.0,
        },
        energy: Range { low: 108.524_687_75, high: 432.197_717_24 },
    }
}

/// The published reward of a batch: `tokens` of prompt and answer in `latency_s` for `energy_j`.
#[must_use]
pub fn reward_of(
    rule: &StepReward<f64>,
    tokens: f64,
    latency_s: f64,
    energy_j: f64,
    temperature_c: f64,
) -> Option<f64> {
    let outcome = Outcome {
        throughput: tokens / latency_s,
        edp_efficiency: 1.0 / (energy_j * latency_s),
        energy: Some(energy_j),
        latency: latency_s,
        power: energy_j / latency_s,
        temperature: temperature_c,
        entropy: None,
        depth: None,
    };
    reference::step(rule, &outcome).ok().map(|reward| reward.total())
}

/// A board with a ledger.
pub trait Rig {
    /// Why it does not go on.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Time and energy so far.
    fn ledger(&mut self) -> &mut Ledger;

    /// The board's clock.
    fn now(&self) -> Instant;

    /// Samples the sensors; belongs to telemetry.
    fn telemetry(&mut self) -> Telemetry;

    /// Waits for the gap, then runs one batch; `None` when the user has stopped it. `published`: the setting is one that the
    /// published reward knows.
    fn run(&mut self, action: Action, setting: &Setting, published: bool) -> Result<Option<Step>, Self::Error>;

    /// What the last batch cost.
    fn last(&self) -> Measurement;

    /// Closes the ledger: the rest of the time is `other`.
    fn close(self) -> Ledger;
}
