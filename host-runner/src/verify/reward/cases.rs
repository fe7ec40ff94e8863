//! One row of a file of reward cases, with the published code's defaults where a cell is empty.

use crate::verify::table::{Row, TableError};
use controller_core::reward::early_exit::EarlyExit;
use controller_core::reward::published::{Limit, Outcome, Published, Range};
use controller_core::reward::step::Step;
use controller_core::reward::unified::Unified;
use controller_core::reward::{RewardError, Variant};

/// Columns without which there are no cases. All others may be absent like an empty cell.
pub(super) const REQUIRED: [&str; 11] = [
    "case_id",
    "variant",
    "in_throughput_raw",
    "in_edp_efficiency_raw",
    "in_end_to_end_latency",
    "in_avg_power",
    "in_avg_temp",
    "in_slo_target",
    "in_max_temp",
    "in_max_power",
    "out_reward",
];

/// A reward with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `variant` "unified".
    Unified(Unified<f64>),
    /// `variant` "`grpo_old`" or "step".
    Step(Step<f64>),
    /// `variant` "`early_exit`".
    EarlyExit(EarlyExit<f64>),
}

/// What the published code answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// It raised this.
    Error(String),
    /// These numbers; `None` where the file does not say.
    Values(Values),
}

/// Outputs of the published code. Penalties are positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// The reward.
    pub reward: f64,
    /// Its positive part.
    pub efficiency: Option<f64>,
    /// The sum of all penalties.
    pub penalty: Option<f64>,
    /// Normalized throughput.
    pub throughput: Option<f64>,
    /// Normalized inverse energy-delay product.
    pub edp_efficiency: Option<f64>,
    /// Share of energy saved.
    pub energy_saved: Option<f64>,
    /// Headroom at or below 0.33.
    pub short_of_headroom: Option<bool>,
    /// Penalty for entropy less the bonus for few layers.
    pub entropy_penalty: Option<f64>,
    /// Penalty for changes of the action: 0 everywhere.
    pub change_penalty: Option<f64>,
}

/// One call of a published reward function.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name in the file.
    pub id: String,
    /// Which reward.
    pub variant: Variant,
    /// The settings; an error where a range that the reward cannot do without is absent.
    pub rule: Result<Rule, RewardError>,
    /// The outcome to be judged.
    pub outcome: Outcome<f64>,
    /// What must come out.
    pub expected: Expected,
}

impl Case {
    /// Reads a row.
    pub fn read(row: &Row<'_>) -> Result<Self, TableError> {
        let name = |column| row.text(column).ok_or_else(|| row.wrong(column, "a name"));
        let variant = match name("variant")? {
            "early_exit" => Variant::EarlyExit,
            "grpo_old" | "step" => Variant::Step,
            "unified" => Variant::Unified,
            _ => return Err(row.wrong("variant", "early_exit, grpo_old or unified")),
        };
        let depth = row.whole("in_num_layers_used")?.map(u16::try_from).transpose();
        let outcome = Outcome {
            throughput: row.needed("in_throughput_raw")?,
            edp_efficiency: row.needed("in_edp_efficiency_raw")?,
            energy: row.number("in_energy_total")?,
            latency: row.needed("in_end_to_end_latency")?,
            power: row.needed("in_avg_power")?,
            temperature: row.needed("in_avg_temp")?,
            // The first published code knows no entropy.
            entropy: if variant == Variant::Step { None } else { row.number("in_entropy")? },
            depth: depth.map_err(|_| row.wrong("in_num_layers_used", "at most 65535"))?,
        };
        Ok(Self {
            id: name("case_id")?.to_owned(),
            variant,
            rule: rule(row, variant)?,
            outcome,
            expected: expected(row)?,
        })
    }
}

/// Settings with the published defaults.
fn rule(row: &Row<'_>, variant: Variant) -> Result<Result<Rule, RewardError>, TableError> {
    let or = |column: &str, default: f64| row.number(column).map(|cell| cell.unwrap_or(default));
    let range = |low: &str, high: &str, otherwise: f64| {
        Ok::<_, TableError>(Range::or(row.number(low)?, row.number(high)?, Range { low: 0.0, high: otherwise }))
    };
    let (temperature_factor, temperature_weight) = if variant == Variant::EarlyExit { (1.05, 5.0) } else { (1.2, 1.5) };
    let limit = |limit: &str, full: &str, factor: f64, weight: &str, default: f64| {
        let limit = row.needed(limit)?;
        Ok::<_, TableError>(Limit { limit, full: or(full, factor * limit)?, weight: or(weight, default)? })
    };
    let published = Published {
        throughput: range("in_throughput_min", "in_throughput_max", 200.0)?,
        edp_efficiency: range("in_edp_efficiency_min", "in_edp_efficiency_max", 0.001)?,
        temperature: Range { low: or("in_temp_min", 40.0)?, high: row.needed("in_max_temp")? },
        headroom_weight: or("in_w_temp", 1.0)?,
        latency_limit: limit("in_slo_target", "in_slo_max_over", 1.5, "in_lambda_latency", 1.0)?,
        temperature_limit: limit(
            "in_max_temp",
            "in_temp_max_over",
            temperature_factor,
            "in_lambda_temp",
            temperature_weight,
        )?,
        power_limit: limit("in_max_power", "in_power_max_over", 1.3, "in_lambda_power", 1.0)?,
        steepness: or("in_k_penalty", 5.0)?,
    };
    let (entropy_full, entropy_weight) = (or("in_entropy_max", 9.0)?, or("in_lambda_entropy", 1.5)?);
    let energy = match (row.number("in_energy_min")?, row.number("in_energy_max")?) {
        (Some(low), Some(high)) => Ok(Range { low, high }),
        _ => Err(RewardError::Missing("the range of energy")),
    };
    Ok(match variant {
        Variant::EarlyExit => {
            energy.map(|energy| Rule::EarlyExit(EarlyExit { published, energy, entropy_full, entropy_weight }))
        }
        Variant::Step => energy.map(|energy| Rule::Step(Step { published, energy })),
        Variant::Unified | Variant::Service => Ok(Rule::Unified(Unified { published, entropy_full, entropy_weight })),
    })
}

fn expected(row: &Row<'_>) -> Result<Expected, TableError> {
    if let Some(error) = row.text("error") {
        return Ok(Expected::Error(error.to_owned()));
    }
    Ok(Expected::Values(Values {
        reward: row.needed("out_reward")?,
        efficiency: row.number("out_performance_metric")?,
        penalty: row.number("out_constraint_penalty")?,
        throughput: row.number("out_throughput_normalized")?,
        edp_efficiency: row.number("out_edp_efficiency_normalized")?,
        energy_saved: row.number("out_inverse_energy_normalized")?,
        short_of_headroom: row.flag("out_headroom_threshold_met")?,
        entropy_penalty: row.number("out_penalty_entropy")?,
        change_penalty: row.number("out_penalty_action_change")?,
    }))
}
