//! The figures of a run, collected turn by turn.

use super::{Ending, Finished, TurnRecord};
use crate::env::answers::DecodeWork;
use crate::measure::percentile::percentile;
use controller_core::action::Reason;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Collects turns.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    energy_uj: u128,
    active_energy_uj: u128,
    tokens: u64,
    requests: u64,
    /// Of the turns whose energy is known.
    billed: Billed,
    turns: u64,
    holds: u64,
    span_us: u64,
    responses_s: Vec<f64>,
    depth_tokens: u64,
    entropy: (f64, u64),
    reward: (f64, u64),
    overruled: BTreeMap<Reason, u64>,
    right: (u64, u64),
    work: Option<DecodeWork>,
}

/// What the energy of a run was spent on: turns whose power nobody measured are not among it.
#[derive(Clone, Copy, Debug, Default)]
struct Billed {
    tokens: u64,
    requests: u64,
    span_us: u64,
    turns: u64,
}

/// The figures of a run. Energies are those of the module's rails and the fan, idle included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How the run ended.
    pub ending: Ending,
    /// Requests answered.
    pub requests: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Length of the run on the board's clock, s.
    pub duration_s: f64,
    /// Energy per generated token, J.
    pub energy_per_token_j: Option<f64>,
    /// The part of it spent while a batch ran, J.
    pub active_energy_per_token_j: Option<f64>,
    /// Energy per request, J.
    pub energy_per_request_j: Option<f64>,
    /// Mean power, W.
    pub mean_power_w: f64,
    /// Generated tokens per second of the run.
    pub throughput_tokens_per_s: f64,
    /// Median response, s.
    pub response_p50_s: Option<f64>,
    /// 95th percentile of responses, s.
    pub response_p95_s: Option<f64>,
    /// Mean batch.
    pub mean_batch: Option<f64>,
    /// Mean depth, weighted by tokens, layers.
    pub mean_depth_layers: Option<f64>,
    /// Mean entropy, weighted by tokens, nats.
    pub mean_entropy_nats: Option<f64>,
    /// Mean reward of the turns that have one.
    pub mean_reward: Option<f64>,
    /// Share of right answers among the prompts that tell what is right.
    pub right_answers_share: Option<f64>,
    /// Highest temperature, °C.
    pub max_temperature_c: f64,
    /// Time above the limit, s.
    pub above_limit_s: f64,
    /// Turns decided.
    pub decisions: u64,
    /// Turns that waited for the board to cool.
    pub holds: u64,
    /// How often the governor was measured to be worse than the static setting and replaced by it.
    pub fallbacks: u32,
    /// Decisions changed by the supervisor, by reason.
    pub overruled: BTreeMap<String, u64>,
    /// In a run with drafts or a gate: layers that ran per decoded token, of the model's own layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_layers_per_token: Option<f64>,
    /// In a run with drafts or a gate: runs of the model, over some or all layers, per decoded token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_runs_per_token: Option<f64>,
    /// Tokens drafted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drafted_tokens: Option<u64>,
    /// Share of the drafts that all layers chose too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_drafts_share: Option<f64>,
    /// Share of the decoded tokens that left at a probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_early_share: Option<f64>,
    /// On a real board: turns whose power nobody measured; they count in no energy, power or reward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns_of_unknown_energy: Option<u64>,
}

impl Summary {
    /// The numbers by name, the unit at the end; what has no value is left out.
    #[must_use]
    pub fn figures(&self) -> Map<String, Value> {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else { return Map::new() };
        let mut figures: Map<String, Value> = fields.into_iter().filter(|(_, value)| value.is_number()).collect();
        for (reason, count) in &self.overruled {
            figures.insert(format!("overruled_{}", reason.replace([' ', ','], "_")), (*count).into());
        }
        figures
    }
}

impl Collector {
    /// Takes in a turn.
    pub fn add(&mut self, turn: &TurnRecord) {
        let m = &turn.step.measurement;
        self.turns += 1;
        let span_us = m.idle.micros() + m.prefill.micros() + m.decode.micros();
        self.span_us += span_us;
        let tokens = u64::from(m.generated_tokens);
        if !turn.energy_unknown {
            self.energy_uj += u128::from(m.energy.0);
            self.active_energy_uj += u128::from(m.active_energy.0);
            self.billed.tokens += tokens;
            self.billed.requests += u64::from(m.requests);
            self.billed.span_us += span_us;
            self.billed.turns += 1;
        }
        self.tokens += tokens;
        self.requests += u64::from(m.requests);
        self.depth_tokens += tokens * u64::from(turn.step.setting.depth);
        self.holds += u64::from(turn.step.decision.hold);
        if let Some(entropy) = m.entropy {
            self.entropy.0 += f64::from(entropy.0) / 1000.0 * tokens as f64;
            self.entropy.1 += tokens;
        }
        if let Some(reward) = turn.step.reward.filter(|_| !turn.energy_unknown) {
            self.reward.0 += f64::from(reward.total) / 1e6;
            self.reward.1 += 1;
        }
        if turn.step.decision.reason != Reason::AsRequested {
            *self.overruled.entry(turn.step.decision.reason).or_default() += 1;
        }
        if let Some(work) = turn.decode_work {
            self.work = Some(self.work.unwrap_or_default().and(work));
        }
        for answer in &turn.answers {
            self.responses_s.push(answer.response_s);
            if let Some(right) = answer.right {
                self.right.0 += u64::from(right);
                self.right.1 += 1;
            }
        }
    }

    /// Energy per generated token so far, J.
    #[must_use]
    pub fn energy_per_token_j(&self) -> Option<f64> {
        per(self.energy_uj as f64 / 1e6, self.billed.tokens)
    }

    /// Requests answered so far.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// The figures.
    #[must_use]
    pub fn finish(mut self, finished: &Finished) -> Summary {
        self.responses_s.sort_by(f64::total_cmp);
        let duration_s = self.span_us as f64 / 1e6;
        let by = |value: f64, seconds: f64| if seconds > 0.0 { value / seconds } else { 0.0 };
        let unknown = self.turns - self.billed.turns;
        let work = self.work;
        Summary {
            ending: finished.ending,
            requests: self.requests,
            generated_tokens: self.tokens,
            duration_s,
            energy_per_token_j: self.energy_per_token_j(),
            active_energy_per_token_j: per(self.active_energy_uj as f64 / 1e6, self.billed.tokens),
            energy_per_request_j: per(self.energy_uj as f64 / 1e6, self.billed.requests),
            mean_power_w: by(self.energy_uj as f64 / 1e6, self.billed.span_us as f64 / 1e6),
            throughput_tokens_per_s: by(self.tokens as f64, duration_s),
            response_p50_s: percentile(&self.responses_s, 50.0),
            response_p95_s: percentile(&self.responses_s, 95.0),
            mean_batch: per(self.requests as f64, self.turns - self.holds),
            mean_depth_layers: per(self.depth_tokens as f64, self.tokens),
            mean_entropy_nats: per(self.entropy.0, self.entropy.1),
            mean_reward: per(self.reward.0, self.reward.1),
            right_answers_share: per(self.right.0 as f64, self.right.1),
            max_temperature_c: finished.peak_c,
            above_limit_s: finished.above_limit_s,
            decisions: self.turns,
            holds: self.holds,
            fallbacks: finished.fallbacks,
            overruled: self.overruled.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
            decode_layers_per_token: work.and_then(|work| per(work.layer_runs as f64, work.tokens)),
            decode_runs_per_token: work.and_then(|work| per(work.runs as f64, work.tokens)),
            drafted_tokens: work.map(|work| work.drafted).filter(|drafted| *drafted > 0),
            accepted_drafts_share: work.and_then(|work| per(work.accepted as f64, work.drafted)),
            left_early_share: work
                .filter(|work| work.left_early > 0)
                .and_then(|work| per(work.left_early as f64, work.tokens)),
            turns_of_unknown_energy: (unknown > 0).then_some(unknown),
        }
    }
}

fn per(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// What decisions cost on this machine, wall-clock nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionCost {
    /// Mean.
    pub mean_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 95th percentile.
    pub p95_ns: u64,
}

impl DecisionCost {
    /// Of these times; `None` when nothing was decided.
    #[must_use]
    pub fn of(times_ns: &[u64]) -> Option<Self> {
        let mut sorted = times_ns.to_vec();
        sorted.sort_unstable();
        let (p50_ns, p95_ns) = (percentile(&sorted, 50.0)?, percentile(&sorted, 95.0)?);
        Some(Self { mean_ns: sorted.iter().sum::<u64>() / sorted.len() as u64, p50_ns, p95_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_decided_has_no_cost() {
        assert_eq!(DecisionCost::of(&[9, 1, 2]), Some(DecisionCost { mean_ns: 4, p50_ns: 2, p95_ns: 9 }));
        assert_eq!(DecisionCost::of(&[]), None);
    }
}
