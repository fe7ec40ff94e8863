//! One turn, with everything needed to replay it.

use crate::action::{Decision, Setting};
use crate::observation::Observation;
use crate::reward::Reward;
use crate::supervisor::State;
use crate::telemetry::{Measurement, Telemetry};
use crate::time::Instant;
use crate::wire::wire;
use serde::{Deserialize, Serialize};

/// The record of one turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the turn, from 0.
    pub sequence: u32,
    /// When the decision was made.
    #[serde(rename = "decided_at_us")]
    pub decided_at: Instant,
    /// What was known then.
    pub telemetry: Telemetry,
    /// The policy's input; empty when the governor uses none.
    pub observation: Observation,
    /// The state of the supervisor.
    pub state: State,
    /// What was asked for and what was applied.
    pub decision: Decision,
    /// The applied action as physical values.
    pub setting: Setting,
    /// What the turn cost.
    pub measurement: Measurement,
    /// What it was worth, in millionths; `None` when it cannot be scored: a hold, no temperature,
    /// or a depth whose quality is unknown.
    pub reward: Option<Reward>,
}

wire!(struct StepRecord {
    sequence,
    decided_at,
    telemetry,
    observation,
    state,
    decision,
    setting,
    measurement,
    reward,
});
