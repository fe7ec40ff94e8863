//! The comparison and its evaluations as CSV: the published columns first, then ours.

use super::ledger::Part;
use super::{Account, Step};
use crate::report::csv_file::{CsvFileError, write};
use std::path::Path;

/// Columns of the published comparison.
const PUBLISHED: [&str; 23] = [
    "method",
    "pretrain_time_sec",
    "online_time_sec",
    "total_time_sec",
    "num_evaluations",
    "time_per_eval_sec",
    "avg_inference_time_sec",
    "avg_batching_time_sec",
    "avg_compute_time_sec",
    "action_selection_time_ms",
    "group_sampling_time_ms",
    "group_size",
    "policy_update_time_sec",
    "num_updates",
    "overhead_percentage",
    "avg_power_w",
    "total_energy_j",
    "energy_per_eval_j",
    "energy_overhead_percentage",
    "avg_reward",
    "max_reward",
    "slo_violation_rate",
    "temp_violation_rate",
];

/// Limits of the published study, s and °C. The one of power, 60 W, has its column after them.
const LATENCY_LIMIT_S: f64 = 15.0;
const TEMPERATURE_LIMIT_C: f64 = 100.0;
const POWER_LIMIT_W: f64 = 60.0;

/// Figures of a method that both the table and the file show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Evaluations.
    pub evaluations: f64,
    /// Control per evaluation, ms.
    pub control_ms: f64,
    /// Control by all time, %.
    pub overhead_pct: f64,
    /// Control by all energy, %.
    pub energy_overhead_pct: f64,
    /// Mean and highest reward, where there are any.
    pub reward: Option<(f64, f64)>,
    /// Best reward less the one had, summed.
    pub regret: Option<f64>,
    /// J per generated token of the batches.
    pub energy_per_token_j: f64,
}

impl Figures {
    /// Of a method.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        let Account { steps, ledger, .. } = account;
        let count = steps.len() as f64;
        let rewards: Vec<f64> = steps.iter().filter_map(|step| step.reward).collect();
        let regrets: Vec<f64> = steps.iter().filter_map(|step| Some(step.best_reward? - step.reward?)).collect();
        let highest = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let tokens: f64 = steps.iter().map(|step| f64::from(step.generated_tokens)).sum();
        Self {
            evaluations: count,
            control_ms: 1000.0 * ledger.control_s() / count,
            overhead_pct: 100.0 * ledger.control_s() / ledger.total_s(),
            energy_overhead_pct: 100.0 * ledger.control_j() / ledger.total_j(),
            reward: (!rewards.is_empty()).then(|| (rewards.iter().sum::<f64>() / rewards.len() as f64, highest)),
            regret: (!regrets.is_empty()).then(|| regrets.iter().sum()),
            energy_per_token_j: steps.iter().map(|step| step.energy_j).sum::<f64>() / tokens,
        }
    }
}

/// Writes the comparison.
pub fn write_comparison(accounts: &[Account], path: &Path) -> Result<(), CsvFileError> {
    let mut header: Vec<String> = PUBLISHED.map(str::to_owned).to_vec();
    header.push("power_violation_rate".to_owned());
    header.extend(Part::ALL.iter().map(|part| format!("{}_time_sec", part.name())));
    header.extend(Part::ALL.iter().map(|part| format!("{}_energy_j", part.name())));
    header.extend(["control_per_eval_ms", "regret", "energy_per_token_j"].map(str::to_owned));
    write(path, header, accounts.iter().map(comparison))
}

/// Writes every evaluation of the methods that the published reward knows.
pub fn write_steps(accounts: &[Account], path: &Path) -> Result<(), CsvFileError> {
    let header = [
        "method",
        "step",
        "prefill_freq",
        "decode_freq",
        "batch",
        "num_layers",
        "energy",
        "end_to_end_latency",
        "temperature",
        "reward",
        "best_reward",
    ];
    let rows = accounts
        .iter()
        .flat_map(|account| account.steps.iter().enumerate().map(|(number, step)| row(account.method, number, step)));
    write(path, header, rows)
}

fn row(method: &str, number: usize, step: &Step) -> Vec<String> {
    vec![
        method.to_owned(),
        number.to_string(),
        step.clocks[0].to_string(),
        step.clocks[1].to_string(),
        step.batch.to_string(),
        step.depth.to_string(),
        format!("{:.4}", step.energy_j),
        format!("{:.4}", step.latency_s),
        format!("{:.3}", step.temperature_c),
        optional(step.reward),
        optional(step.best_reward),
    ]
}

fn optional(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or_else(String::new, |value| format!("{value:.6}"))
}

fn comparison(account: &Account) -> Vec<String> {
    let Account { method, steps, ledger, group, groups, updates, .. } = account;
    let figures = Figures::of(account);
    let count = figures.evaluations;
    let number = |value: f64| format!("{value:.9}");
    let each = |seconds: f64, times: f64| if times > 0.0 { number(seconds / times) } else { String::new() };
    let share = |over: &dyn Fn(&Step) -> bool| number(steps.iter().filter(|step| over(step)).count() as f64 / count);
    // The published selection is what chooses one action: one draw of a group, or one decision.
    let (sampling_s, drawn) = (ledger.seconds(Part::Sampling), f64::from(*groups));
    let selection = if *groups > 0 {
        each(1000.0 * sampling_s, drawn * *group as f64)
    } else {
        each(1000.0 * ledger.seconds(Part::Decision), count)
    };
    let mut cells = vec![
        (*method).to_owned(),
        number(ledger.seconds(Part::Pretraining)),
        number(ledger.total_s() - ledger.seconds(Part::Pretraining)),
        number(ledger.total_s()),
        steps.len().to_string(),
        each(ledger.total_s(), count),
        each(ledger.seconds(Part::Inference), count),
        String::new(),
        String::new(),
        selection,
        each(1000.0 * sampling_s, drawn),
        if *group > 0 { group.to_string() } else { String::new() },
        each(ledger.seconds(Part::Update), f64::from(*updates)),
        updates.to_string(),
        number(figures.overhead_pct),
        number(ledger.total_j() / ledger.total_s()),
        number(ledger.total_j()),
        each(ledger.total_j(), count),
        number(figures.energy_overhead_pct),
        optional(figures.reward.map(|(mean, _)| mean)),
        optional(figures.reward.map(|(_, highest)| highest)),
        share(&|step| step.latency_s > LATENCY_LIMIT_S),
        share(&|step| step.temperature_c > TEMPERATURE_LIMIT_C),
        share(&|step| step.energy_j / step.latency_s > POWER_LIMIT_W),
    ];
    cells.extend(Part::ALL.iter().map(|part| number(ledger.seconds(*part))));
    cells.extend(Part::ALL.iter().map(|part| number(ledger.joules(*part))));
    cells.extend([number(figures.control_ms), optional(figures.regret), number(figures.energy_per_token_j)]);
    cells
}
