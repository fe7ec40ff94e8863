//! Figures drawn from CSV files: a file is recognized by its columns, and only read.
//!
//! | module | figure |
//! |---|---|
//! | [`training`] | twelve panels over the steps of a training or deployment, with moving averages |
//! | [`policy`] | loss, divergence and entropies over the updates of a policy |
//! | [`results`] | twelve panels over episodes |
//! | [`dataset`] | what a grid says: 21 panels |
//! | [`top_actions`] | the best settings of a grid |
//! | [`configurations`] | named settings of a grid beside each other |
//! | [`overhead`] | what control costs beside inference and beside a grid search |
//! | [`cumulative`] | energy and regret over evaluations, against a real optimum |
//! | [`throttling`] | fixed settings and policies with the fan off, request by request and as a trace |
//! | [`depth`] | quality and speed against depth |

pub mod configurations;
pub mod cumulative;
pub mod dataset;
pub mod depth;
pub mod overhead;
pub mod policy;
pub mod results;
pub mod throttling;
pub mod top_actions;
pub mod training;

use crate::dataset::table::{self, Table, TableError};
use crate::report::sheet::Sheet;
use std::fmt;

/// A type of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Twelve panels over the steps of a training or deployment, with moving averages.
    Training,
    /// Loss, divergence and entropies of a policy over its updates; `--also` takes the steps of the training.
    Policy,
    /// Twelve panels over the episodes of a training; `--also` takes a pre-training.
    Results,
    /// Energy and regret over evaluations, against the real optimum.
    Cumulative,
    /// What a grid says: 21 panels.
    Dataset,
    /// The best settings of a grid.
    TopActions,
    /// Lowest, highest, published and best settings of a grid.
    Configurations,
    /// Time and energy of control beside inference and grid search.
    Overhead,
    /// Requests with the fan off; `--also` takes more runs.
    Throttling,
    /// A trace of temperature, clock and power; `--also` takes more runs.
    Trace,
    /// Quality and speed against depth.
    Depth,
}

/// Every figure, with the columns that it needs; among figures of one file the first is its own. A column may have
/// any of several names.
const NEEDS: [(Kind, &[&[&str]]); 11] = [
    (Kind::Overhead, &[&["method"], &["total_time_sec"], &["overhead_percentage"], &["total_energy_j"]]),
    (Kind::Cumulative, &[&["method"], &["step"], &["energy"], &["reward"], &["best_reward"]]),
    (Kind::Throttling, &[&["timestamp"], &["request_latency_sec"], &["decode_throughput"], &["decode_TJ_TEMP"]]),
    (Kind::Trace, &[&["timestamp"], &["tj_temp_c"], &["gpu_freq_mhz"]]),
    (Kind::Policy, &[&["update_step"], &["policy_loss"], &["kl_divergence"], &["policy_entropy"]]),
    (Kind::Training, &[&["step"], &["reward"], &["temperature"], table::LATENCY, table::BATCH]),
    (Kind::Results, &[&["step"], &["reward"], &["temperature"], table::LATENCY]),
    (
        Kind::Dataset,
        &[&["prefill_freq_bin"], &["decode_freq_bin"], &["effective_batch_size"], &["energy"], &["latency"]],
    ),
    (
        Kind::TopActions,
        &[&["prefill_freq_bin"], &["decode_freq_bin"], &["effective_batch_size"], &["energy"], &["latency"]],
    ),
    (
        Kind::Configurations,
        &[&["prefill_freq_bin"], &["decode_freq_bin"], &["effective_batch_size"], &["energy"], &["latency"]],
    ),
    (Kind::Depth, &[table::DEPTH, table::PERPLEXITY]),
];

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The file cannot be read as a table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No figure fits its columns.
    #[error("{file} fits no figure; nearest is {nearest}, which also needs {missing}")]
    Unknown {
        /// The file.
        file: String,
        /// The figure that fits best.
        nearest: Kind,
        /// Columns that are absent.
        missing: String,
    },
    /// The figure that was asked for needs other columns.
    #[error("{file} cannot be drawn as {kind}: it lacks {missing}")]
    Lacks {
        /// The file.
        file: String,
        /// What was asked for.
        kind: Kind,
        /// Columns that are absent.
        missing: String,
    },
    /// The optimum of a log cannot be found.
    #[error("the optimum of {file} cannot be found: {cause}")]
    Optimum {
        /// The file.
        file: String,
        /// The cause.
        cause: String,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = clap::ValueEnum::to_possible_value(self).map(|value| value.get_name().to_owned());
        f.write_str(name.as_deref().unwrap_or_default())
    }
}

fn missing(table: &Table, needs: &[&[&str]]) -> Vec<String> {
    let absent = needs.iter().filter(|names| table.any(names).is_none());
    absent.map(|names| names.join(" or ")).collect()
}

/// The figures that can be drawn of a file, its own first.
#[must_use]
pub fn kinds(table: &Table) -> Vec<Kind> {
    let fitting = NEEDS.iter().filter(|(_, needs)| missing(table, needs).is_empty()).map(|(kind, _)| *kind);
    let mut kinds: Vec<Kind> = fitting.collect();
    if !kinds.contains(&Kind::Cumulative) && cumulative::is_log(table) {
        kinds.push(Kind::Cumulative);
    }
    kinds
}

/// The figure that a file is for.
pub fn recognize(table: &Table) -> Result<Kind, PlotError> {
    if let Some(kind) = kinds(table).first() {
        return Ok(*kind);
    }
    let gaps = NEEDS.iter().map(|(kind, needs)| (*kind, missing(table, needs)));
    let (nearest, missing) = gaps.min_by_key(|(_, missing)| missing.len()).unwrap_or((Kind::Training, vec![]));
    Err(PlotError::Unknown { file: table.file().to_owned(), nearest, missing: missing.join(", ") })
}

/// Draws a figure. `also` are further files of the same figure, or what the figure says it takes.
pub fn draw(table: &Table, also: &[Table], kind: Kind) -> Result<Sheet, PlotError> {
    if !kinds(table).contains(&kind) {
        let needs = NEEDS.iter().find(|(other, _)| *other == kind).map_or(&[][..], |(_, needs)| needs);
        let missing = missing(table, needs).join(", ");
        return Err(PlotError::Lacks { file: table.file().to_owned(), kind, missing });
    }
    let sheet = match kind {
        Kind::Training => training::sheet(table),
        Kind::Policy => policy::sheet(table, also.first()),
        Kind::Results => results::sheet(table, also.first()),
        Kind::Cumulative => cumulative::sheet(table)?,
        Kind::Dataset => dataset::sheet(table),
        Kind::TopActions => top_actions::sheet(table),
        Kind::Configurations => configurations::sheet(table),
        Kind::Overhead => overhead::sheet(table),
        Kind::Throttling => throttling::requests(&with(table, also)),
        Kind::Trace => throttling::trace(&with(table, also)),
        Kind::Depth => depth::sheet(&with(table, also)),
    };
    // Files of one origin are named together.
    let mut origins: Vec<(&str, Vec<&str>)> = Vec::new();
    for table in with(table, also) {
        match origins.iter_mut().find(|(origin, _)| *origin == table.conditions()) {
            Some((_, files)) => files.push(table.file()),
            None => origins.push((table.conditions(), vec![table.file()])),
        }
    }
    let own = Some(sheet.conditions.clone()).filter(|said| !said.is_empty());
    let named = origins.iter().map(|(origin, files)| format!("{origin} ({})", files.join(", ")));
    let conditions = own.into_iter().chain(named).collect::<Vec<_>>().join(" | ");
    Ok(Sheet { conditions, ..sheet })
}

fn with<'a>(table: &'a Table, also: &'a [Table]) -> Vec<&'a Table> {
    std::iter::once(table).chain(also).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sheet::assert_readable;

    /// A table of made-up numbers; a column named in `texts` holds words.
    fn table(columns: &str, rows: u32, texts: &[(&str, &[&str])]) -> Table {
        let header: Vec<String> = columns.split(',').map(str::to_owned).collect();
        let cell = |name: &String, row: u32| {
            if let Some((_, words)) = texts.iter().find(|(other, _)| other == name) {
                return words[row as usize * words.len() / rows as usize].to_owned();
            }
            let wave = f64::from(row * 37 % 101) / 100.0;
            match name.as_str() {
                "step" | "update_step" | "depth" => row.to_string(),
                "episode" => (row / 10).to_string(),
                "timestamp" => (f64::from(row) * 4.5e9).to_string(),
                "prefill_freq_bin" => (row % 4).to_string(),
                "decode_freq_bin" => (row / 4 % 4).to_string(),
                "effective_batch_size" => [1, 8, 32][row as usize / 16 % 3].to_string(),
                "num_decode_tokens" => ([1, 8, 32][row as usize / 16 % 3] * 100).to_string(),
                "temperature" | "tj_temp_c" | "decode_TJ_TEMP" => (60.0 + 38.0 * wave).to_string(),
                "fan_working" => (row < rows / 4).to_string(),
                "slo_violation" | "temp_violation" | "power_violation" => "False".to_owned(),
                "reward" | "best_reward" => (0.8 + 0.1 * wave).to_string(),
                _ => (1.0 + 9.0 * wave).to_string(),
            }
        };
        let records: Vec<Vec<String>> =
            (0..rows).map(|row| header.iter().map(|name| cell(name, row)).collect()).collect();
        Table::of("made-up.csv", "made-up numbers, seed 1", &header, &records)
    }

    /// One file for each figure that is the first of its file.
    fn files() -> Vec<(Kind, Table)> {
        let methods: &[&str] = &["inference", "frozen policy", "learning policy", "grid search"];
        let parts = ["inference", "gap", "telemetry", "observation", "decision", "sampling", "update", "actuation"];
        let parts = parts.map(|part| format!("{part}_time_sec,{part}_energy_j")).join(",");
        let overhead = format!("method,total_time_sec,overhead_percentage,total_energy_j,control_per_eval_ms,{parts}");
        let early = "step,episode,entropy,latency,num_layers,temperature,reward,entropy_penalty,prefill_freq,decode_freq,\
                     batch_size,per_token_latency,decode_latency,max_temp";
        let grid = "prefill_freq_bin,decode_freq_bin,effective_batch_size,energy,latency,num_prompt_tokens,\
                    num_decode_tokens,temperature,reward";
        let requests = "timestamp,request_latency_sec,decode_throughput,decode_TJ_TEMP,decode_latency_ms,\
                        decode_freq_bin,gpu_clock_mhz,effective_batch_size,decode_TOTAL_POWER,governor,fan_working";
        vec![
            (Kind::Training, table(early, 60, &[])),
            (Kind::Policy, table("update_step,policy_loss,kl_divergence,policy_entropy", 40, &[])),
            (Kind::Dataset, table(grid, 96, &[])),
            (Kind::Overhead, table(&overhead, 4, &[("method", methods)])),
            (Kind::Cumulative, table("method,step,energy,reward,best_reward", 80, &[("method", methods)])),
            (Kind::Throttling, table(requests, 60, &[("governor", &["bare fixed:7,6,32,16"])])),
            (Kind::Trace, table("timestamp,tj_temp_c,gpu_freq_mhz,total_power_w,fan_working", 900, &[])),
            (Kind::Depth, table("depth,perplexity,mean_entropy_nats,accuracy,tok_per_s", 13, &[])),
        ]
    }

    #[test]
    fn every_figure_is_recognized_and_readable() {
        for (kind, table) in files() {
            assert_eq!(recognize(&table).unwrap(), kind);
            for kind in kinds(&table) {
                for also in [vec![], vec![table.clone()]] {
                    let sheet = draw(&table, &also, kind).unwrap();
                    assert!(sheet.conditions.contains("made-up numbers, seed 1"), "{kind}");
                    assert_readable(&sheet);
                }
            }
        }
    }

    #[test]
    fn files_without_the_columns_are_told_what_is_missing() {
        let nothing = table("step,temperature,reward", 5, &[]);
        let message = recognize(&nothing).unwrap_err().to_string();
        assert!(message.contains("end_to_end_latency"), "{message}");
        let lacks = draw(&nothing, &[], Kind::Overhead).unwrap_err().to_string();
        assert!(lacks.contains("cannot be drawn as overhead") && lacks.contains("total_time_sec"), "{lacks}");
    }

    #[test]
    fn a_log_of_our_own_training_has_another_reward_and_no_published_optimum() {
        let columns = "step,temperature,reward,energy,latency,batch,throughput_min,throughput_max,edp_efficiency_min,\
                       edp_efficiency_max,energy_min,energy_max";
        assert!(kinds(&table(columns, 20, &[])).contains(&Kind::Cumulative));
        let ours = table(&format!("{columns},role"), 20, &[("role", &["member"])]);
        assert!(!kinds(&ours).contains(&Kind::Cumulative));
    }
}
