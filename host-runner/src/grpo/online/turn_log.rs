//! Every turn as a row, under the column names of the published logs, so that scripts made for those go on working.
//!
//! First the 38 columns of the published training log, then those that only its deployment and early-exit logs have, then ours.
//! What they mean here is in docs/training.md; where the published logs had a defect, ours is the quantity that the name
//! says: power is energy by time, a setting is the one that was applied, and the ranges of normalized columns stay as
//! they are.

use super::{Episode, Role, Turn};
use crate::report::csv_log::cell;
use controller_core::action::{ActionSpace, Knob};
use controller_core::control::RewardRule;
use controller_core::reward::MICRO;
use controller_core::reward::published::Range;
use controller_core::supervisor::Limits;

/// Names of the columns.
pub const COLUMNS: [&str; 65] = [
    "episode",
    "step",
    "action_idx",
    "prefill_freq",
    "decode_freq",
    "batch",
    "log_prob",
    "action_prob",
    "reward",
    "group_sampling_time_ms",
    "action_prob_confidence",
    "loss_convergence_confidence",
    "overall_confidence",
    "loss",
    "loss_change",
    "energy",
    "per_token_latency",
    "end_to_end_latency",
    "temperature",
    "power",
    "power_headroom",
    "slo_violation",
    "temp_violation",
    "power_violation",
    "throughput_raw",
    "edp_efficiency_raw",
    "performance_metric",
    "throughput_normalized",
    "edp_efficiency_normalized",
    "inverse_energy_normalized",
    "headroom_threshold_met",
    "constraint_penalty",
    "throughput_min",
    "throughput_max",
    "edp_efficiency_min",
    "edp_efficiency_max",
    "energy_min",
    "energy_max",
    "prefill_latency",
    "decode_latency",
    "entropy",
    "latency",
    "num_layers",
    "entropy_penalty",
    "batch_size",
    "max_temp",
    "role",
    "member",
    "run",
    "requested_idx",
    "reason",
    "fan_working",
    "fan_pwm",
    "requests",
    "generated_tokens",
    "idle_s",
    "response_s",
    "energy_with_idle",
    "energy_per_token",
    "sensed_temperature",
    "queue",
    "offered_load",
    "drift_per_turn",
    "noise",
    "reward_variant",
];

/// Ranges of the published fan-on training, which normalize columns where the reward itself has none.
const THROUGHPUT: Range<f64> = Range { low: 7.707_851_057_374_813, high: 920.960_054_059_606_3 };
const EDP_EFFICIENCY: Range<f64> = Range { low: 0.000_117_531_270_860_798_94, high: 0.002_150_846_451_480_048_3 };
const ENERGY: Range<f64> = Range { low: 108.524_687_75, high: 432.197_717_24 };
/// Headroom at and below which the published code counted a board as hot.
const HOT: f64 = 0.33;
/// Temperatures of full headroom and of none, °C, as published.
const HEADROOM_C: Range<f64> = Range { low: 40.0, high: 100.0 };

/// What all rows of a training share.
#[derive(Clone, Debug)]
pub struct TurnLog<'a> {
    /// The action table.
    pub actions: &'a ActionSpace,
    /// The supervisor's limits.
    pub limits: &'a Limits,
    /// The reward.
    pub rule: &'a RewardRule,
}

/// Quantities of a turn in SI units; none where no batch ran.
#[derive(Clone, Copy, Debug, Default)]
struct Si {
    energy_j: Option<f64>,
    latency_s: Option<f64>,
    tokens: f64,
}

impl Si {
    fn of(turn: &Turn) -> Self {
        let m = &turn.done.measurement;
        let latency_s = (m.prefill.micros() + m.decode.micros()) as f64 / 1e6;
        let ran = m.requests > 0;
        Self {
            energy_j: ran.then_some(m.active_energy.0 as f64 / 1e6),
            latency_s: ran.then_some(latency_s),
            tokens: f64::from(m.prompt_tokens + m.generated_tokens),
        }
    }

    /// A quotient of two quantities that are there and not zero.
    fn by(above: Option<f64>, below: Option<f64>) -> Option<f64> {
        Some(above? / below.filter(|value| *value > 0.0)?)
    }
}

fn place(value: Option<f64>, range: Range<f64>) -> Option<f64> {
    Some(((value? - range.low) / (range.high - range.low)).clamp(0.0, 1.0))
}

/// As Python writes it.
fn truth(value: bool) -> String {
    if value { "True".into() } else { "False".into() }
}

impl TurnLog<'_> {
    /// The ranges of the reward, or the published ones.
    fn ranges(&self) -> [Range<f64>; 3] {
        match self.rule {
            RewardRule::Step(step) => {
                let step = step.map(&|value| value.to_num::<f64>());
                [step.published.throughput, step.published.edp_efficiency, step.energy]
            }
            _ => [THROUGHPUT, EDP_EFFICIENCY, ENERGY],
        }
    }

    /// A response or latency above this is a violation, s.
    fn slo_s(&self) -> f64 {
        match self.rule {
            RewardRule::Service(service) => service.response_limit.micros() as f64 / 1e6,
            RewardRule::Unified(unified) => unified.published.latency_limit.limit.to_num(),
            RewardRule::Step(step) => step.published.latency_limit.limit.to_num(),
            RewardRule::EarlyExit(early_exit) => early_exit.published.latency_limit.limit.to_num(),
        }
    }

    /// The rows of an episode.
    #[must_use]
    pub fn rows(&self, episode: &Episode) -> Vec<Vec<String>> {
        episode.turns.iter().enumerate().map(|(step, turn)| self.row(episode, step, turn)).collect()
    }

    fn row(&self, episode: &Episode, step: usize, turn: &Turn) -> Vec<String> {
        let (m, setting, decision) = (&turn.done.measurement, &turn.done.setting, &turn.done.decision);
        let Si { energy_j, latency_s, tokens } = Si::of(turn);
        let power_w = Si::by(energy_j, latency_s);
        let throughput = Si::by(Some(tokens), latency_s);
        let edp_efficiency = Si::by(Si::by(Some(1.0), energy_j), latency_s);
        let temperature_c = m.peak_temperature.map(|peak| f64::from(peak.0) / 1000.0);
        let sensed_c = turn.seen.telemetry.temperature.value().map(|t| f64::from(t.0) / 1000.0);
        let (limit_c, limit_w) =
            (f64::from(self.limits.temperature.0) / 1000.0, f64::from(self.limits.power.0) / 1000.0);
        let response_s = (m.requests > 0).then_some(m.response.micros() as f64 / 1e6);
        let judged_s = if matches!(self.rule, RewardRule::Service(_)) { response_s } else { latency_s };
        let headroom = place(temperature_c, HEADROOM_C).map(|used| 1.0 - used);
        let millionths = |value: i32| f64::from(value) / f64::from(MICRO);
        let reward = turn.reward.map(|reward| millionths(reward.total));
        let efficiency = turn.reward.map(|reward| millionths(reward.components.efficiency));
        let quality = turn.reward.map(|reward| 0.0 - millionths(reward.components.quality));
        let penalty = reward.zip(efficiency).map(|(reward, efficiency)| efficiency - reward);
        let [throughput_range, edp_range, energy_range] = self.ranges();
        let number = |value: f64| cell(Some(value));
        let (role, member, run) = match turn.role {
            Role::Member { number, run } => ("member", number.to_string(), run.to_string()),
            Role::Greedy => ("greedy", String::new(), String::new()),
            Role::Hold => ("hold", String::new(), String::new()),
        };
        let index = |action| self.actions.index(action).map_or_else(String::new, |index| index.to_string());
        let prefill_s = (m.requests > 0).then_some(m.prefill.micros() as f64 / 1e6);
        let decode_s = (m.requests > 0).then_some(m.decode.micros() as f64 / 1e6);
        vec![
            episode.number.to_string(),
            step.to_string(),
            index(decision.applied),
            decision.applied.get(Knob::Prefill).to_string(),
            decision.applied.get(Knob::Decode).to_string(),
            setting.batch.to_string(),
            number(turn.log_probability),
            number(libm::exp(turn.log_probability)),
            cell(reward),
            number(episode.sampling_s * 1e3),
            number(episode.confidence[0]),
            number(episode.confidence[1]),
            number(episode.confidence[2]),
            cell(episode.loss.0),
            cell(episode.loss.1),
            cell(energy_j),
            cell(Si::by(latency_s, Some(tokens))),
            cell(latency_s),
            cell(temperature_c),
            cell(power_w),
            cell(power_w.map(|w| ((limit_w - w) / limit_w).max(0.0))),
            truth(judged_s.is_some_and(|s| s > self.slo_s())),
            truth(temperature_c.is_some_and(|c| c > limit_c)),
            truth(power_w.is_some_and(|w| w > limit_w)),
            cell(throughput),
            cell(edp_efficiency),
            cell(efficiency),
            cell(place(throughput, throughput_range)),
            cell(place(edp_efficiency, edp_range)),
            cell(place(energy_j, energy_range).map(|used| 1.0 - used)),
            truth(headroom.is_some_and(|headroom| headroom <= HOT)),
            cell(penalty),
            number(throughput_range.low),
            number(throughput_range.high),
            number(edp_range.low),
            number(edp_range.high),
            number(energy_range.low),
            number(energy_range.high),
            cell(prefill_s),
            cell(decode_s),
            cell(m.entropy.map(|nats| f64::from(nats.0) / 1000.0)),
            cell(latency_s),
            setting.depth.to_string(),
            cell(quality),
            setting.batch.to_string(),
            number(limit_c),
            role.to_owned(),
            member,
            run,
            index(turn.action),
            decision.reason.to_string().replace(',', ";"),
            truth(turn.fan_working),
            setting.fan_pwm.to_string(),
            m.requests.to_string(),
            m.generated_tokens.to_string(),
            number(m.idle.micros() as f64 / 1e6),
            cell(response_s),
            number(m.energy.0 as f64 / 1e6),
            cell(Si::by(Some(m.energy.0 as f64 / 1e6), Some(f64::from(m.generated_tokens)))),
            cell(sensed_c),
            turn.seen.telemetry.queue.to_string(),
            number(f64::from(turn.seen.telemetry.offered_load.0) / 1000.0),
            number(episode.drift),
            number(episode.noise),
            self.rule.variant().to_string(),
        ]
    }
}
