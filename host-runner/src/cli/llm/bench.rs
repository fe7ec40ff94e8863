//! `energyllm llm bench`: what depth is worth, against llama.cpp itself.

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::{STOP, file_name, parse_numbers, temporary_folder, write_random};
use crate::llm::bench::{
    BenchOptions, BenchReport, DepthCost, EXIT_LIMIT, Estimate, FULL_LIMIT, MEMORY_LIMIT, Who, bench, run_alone,
};
use crate::llm::random::Shape;
use crate::measure::percentile::Quartiles;
use crate::report::table::{Table, number};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Measure a decode step by depth, batch and draft length, against llama.cpp with truncated copies, in CPU time.
///
/// The contenders take turns in one process, step by step; ratios are formed between neighbouring steps, and median and
/// quartiles are printed. A depth is left after --rounds rounds if it is sure by then, with 95 % confidence, on which side
/// of its limit each median lies, else after --most-rounds at the latest: a busy machine takes longer.
/// Exit code 1 when a median passes its limit: 1.10 for an exit against the truncated copy, 1.03 for full depth
/// against llama.cpp without a callback, 1.05 for memory. Joules per token are those of the processor (RAPL),
/// where the kernel shows them; elsewhere the command says what is missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm llm bench                         a random model whose layers dominate (250 MB, made on the spot)
  energyllm llm bench model.gguf --depths 9,12,15 --batches 1,8 --drafts 4
  energyllm llm bench --only exit --depths 9 --steps 20     nothing else, for a profiler")]
pub struct Arguments {
    /// Model: a GGUF file of a Llama architecture. Default: a random one of 16 layers, width 1024, `Q8_0`.
    model: Option<PathBuf>,
    /// Depths below full. Default: three from half way up.
    #[arg(long, value_name = "LIST", value_parser = parse_numbers)]
    depths: Option<std::vec::Vec<u32>>,
    /// Sequences in a step.
    #[arg(long, value_name = "LIST", default_value = "1,4", value_parser = parse_numbers)]
    batches: std::vec::Vec<u32>,
    /// Tokens drafted before a check.
    #[arg(long, value_name = "LIST", default_value = "2,4,8", value_parser = parse_numbers)]
    drafts: std::vec::Vec<u32>,
    /// Rounds, at least.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Rounds, at most. Default: four times --rounds.
    #[arg(long)]
    most_rounds: Option<usize>,
    /// Decode steps of a contender in a round.
    #[arg(long, default_value_t = 12)]
    steps: u32,
    /// CPU threads of llama.cpp.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Let one contender run --steps steps at the first depth and batch, and measure nothing: for tools that count
    /// instructions. `native` or `truncated` (llama.cpp), `full` or `exit` (our engine).
    #[arg(long, value_name = "WHO", conflicts_with_all = ["rounds", "most_rounds", "drafts", "threads"])]
    only: Option<Who>,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let within = |name: &str, values: &[u32], low: u32, high: u32| {
        let bad = values.iter().find(|&&value| !(low..=high).contains(&value));
        anyhow::ensure!(bad.is_none(), "{name} takes numbers from {low} to {high}");
        Ok(())
    };
    within("--batches", &arguments.batches, 1, 64)?;
    within("--drafts", &arguments.drafts, 1, 64)?;
    within("--steps", &[arguments.steps], 1, 100)?;
    let most_rounds = arguments.most_rounds.unwrap_or(arguments.rounds.saturating_mul(4));
    anyhow::ensure!((1..=1000).contains(&arguments.rounds), "--rounds must lie between 1 and 1000");
    anyhow::ensure!(
        (arguments.rounds..=4000).contains(&most_rounds),
        "--most-rounds must lie between --rounds, {}, and 4000",
        arguments.rounds
    );
    let folder = temporary_folder()?;
    let path = if let Some(path) = &arguments.model {
        path.clone()
    } else {
        let path = folder.path().join("random-16x1024-q8_0.gguf");
        note("making a random model of 250 MB");
        write_random(&Shape::layer_dominated(), &path)?;
        path
    };
    let depths = match &arguments.depths {
        Some(depths) => depths.clone(),
        None => usual_depths(&path)?,
    };
    if let Some(who) = arguments.only {
        return only(&path, who, depths[0], arguments, format);
    }
    let options = BenchOptions {
        depths,
        batches: arguments.batches.clone(),
        drafts: arguments.drafts.clone(),
        rounds: arguments.rounds,
        most_rounds,
        steps: arguments.steps,
        threads: arguments.threads,
    };
    let report = bench(&path, &options, &STOP, note)?;
    let exit = worst(report.depths.iter().map(|cost| cost.to_truncated));
    let full = worst(report.full.iter().map(|cost| cost.to_native));
    let memory = report.memory_ratio.unwrap_or(1.0);
    let pass = exit.median() <= EXIT_LIMIT && full.median() <= FULL_LIMIT && memory <= MEMORY_LIMIT;
    let mut object = Object::new("llm bench", None, false);
    object.pass = pass;
    object.figure("depths", options.depths.len());
    object.wall("model", file_name(&path));
    object.wall("worst_exit_to_truncated", exit.median());
    object.wall("worst_full_to_native", full.median());
    object.wall("memory_to_native", report.memory_ratio);
    object.wall("no_energy", report.no_energy.as_ref().map(ToString::to_string));
    object.wall("depths", rows(&report));
    object.wall("full", full_rows(&report));
    object.wall("drafts", draft_rows(&report));
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{}\n{}\n{}\nenergy: {}\nworst medians: exit {} of the truncated copy (limit {EXIT_LIMIT}), full depth {} of \
             llama.cpp (limit {FULL_LIMIT}), memory {memory:.3} (limit {MEMORY_LIMIT})\nCPU time of this process, {} thread(s), \
             {} to {most_rounds} rounds of {} steps; medians [quartiles], and (95 % intervals) of the medians with a limit",
            depth_table(&report),
            full_table(&report),
            draft_table(&report),
            report.no_energy.as_ref().map_or_else(|| "the processor's, whoever uses it".into(), ToString::to_string),
            sure(exit),
            sure(full),
            arguments.threads,
            arguments.rounds,
            arguments.steps,
        ))?,
    }
    Ok(if pass { Outcome::Passed } else { Outcome::Failed })
}

/// Lets one contender run, and nothing else.
fn only(path: &Path, who: Who, depth: u32, arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let (batch, steps) = (arguments.batches[0], arguments.steps);
    run_alone(path, who, depth, batch, steps)?;
    let mut object = Object::new("llm bench", None, false);
    object.figure("only", who.to_string());
    object.figure("depth", depth);
    object.figure("batch", batch);
    object.figure("steps", steps);
    object.pass = true;
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!("{who} at depth {depth}: {steps} steps of {batch} sequence(s)"))?,
    }
    Ok(Outcome::Passed)
}

/// The one with the greatest median.
fn worst(estimates: impl Iterator<Item = Estimate>) -> Estimate {
    estimates.max_by(|a, b| a.median().total_cmp(&b.median())).unwrap_or_else(|| Estimate::of(Vec::new()))
}

fn sure(estimate: Estimate) -> String {
    format!("{:.3} ({:.3} to {:.3})", estimate.median(), estimate.low, estimate.high)
}

/// Three depths from half way up.
fn usual_depths(path: &Path) -> anyhow::Result<Vec<u32>> {
    let header = crate::llm::gguf::Header::open(path).with_context(|| path.display().to_string())?;
    let architecture = header.text("general.architecture").unwrap_or_default();
    let layers =
        header.count(&format!("{architecture}.block_count")).and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    let mut depths: Vec<u32> = [9, 12, 15].iter().map(|sixteenths| (layers * sixteenths).div_ceil(16)).collect();
    depths.retain(|depth| (1..layers).contains(depth));
    depths.dedup();
    anyhow::ensure!(!depths.is_empty(), "{} has too few layers for an exit", path.display());
    Ok(depths)
}

fn spread(spread: Quartiles) -> String {
    format!("{:.3} [{:.3} {:.3}]", spread.median, spread.lower, spread.upper)
}

fn depth_table(report: &BenchReport) -> Table {
    let titles =
        ["depth", "batch", "ms/token", "exit/truncated", "exit/whole", "ideal", "prefill/truncated", "J/token"];
    let mut table = Table::new(titles);
    for cost in &report.depths {
        table.row([
            cost.depth.to_string(),
            cost.batch.to_string(),
            spread(cost.ms_per_token),
            spread(cost.to_truncated.quartiles),
            spread(cost.to_whole),
            format!("{:.3}", cost.ideal),
            spread(cost.prefill_to_truncated),
            number(cost.joules_per_token, 4),
        ]);
    }
    table
}

fn full_table(report: &BenchReport) -> Table {
    let mut table = Table::new(["full depth, batch", "full/native", "95 %", "steps"]);
    for cost in &report.full {
        let Estimate { quartiles, low, high, count } = cost.to_native;
        table.row([cost.batch.to_string(), spread(quartiles), format!("{low:.3} to {high:.3}"), count.to_string()]);
    }
    table
}

fn draft_table(report: &BenchReport) -> Table {
    let mut table = Table::new(["draft layers", "batch", "drafts", "round/step", "of at most"]);
    for cost in &report.drafts {
        table.row([
            cost.depth.to_string(),
            cost.batch.to_string(),
            cost.drafts.to_string(),
            spread(cost.round_to_step),
            format!("{} tokens", cost.drafts + 1),
        ]);
    }
    table
}

fn json_of(spread: Quartiles) -> Value {
    json!({"low": spread.lower, "median": spread.median, "high": spread.upper})
}

/// The same with the interval that holds the median with 95 % confidence.
fn estimate_of(estimate: Estimate) -> Value {
    let mut value = json_of(estimate.quartiles);
    value["median_at_least"] = estimate.low.into();
    value["median_at_most"] = estimate.high.into();
    value["steps"] = estimate.count.into();
    value
}

fn full_rows(report: &BenchReport) -> Vec<Value> {
    report.full.iter().map(|cost| json!({"batch": cost.batch, "full_to_native": estimate_of(cost.to_native)})).collect()
}

fn rows(report: &BenchReport) -> Vec<Value> {
    let row = |cost: &DepthCost| {
        json!({
            "depth": cost.depth,
            "batch": cost.batch,
            "ms_per_token": json_of(cost.ms_per_token),
            "native_ms_per_token": json_of(cost.native_ms_per_token),
            "exit_to_truncated": estimate_of(cost.to_truncated),
            "exit_to_whole": json_of(cost.to_whole),
            "ideal_to_whole": cost.ideal,
            "prefill_to_truncated": json_of(cost.prefill_to_truncated),
            "joules_per_token": cost.joules_per_token,
        })
    };
    report.depths.iter().map(row).collect()
}

fn draft_rows(report: &BenchReport) -> Vec<Value> {
    let row = |cost: &crate::llm::bench::DraftCost| {
        json!({
            "draft_layers": cost.depth,
            "batch": cost.batch,
            "drafts": cost.drafts,
            "round_to_step": json_of(cost.round_to_step),
        })
    };
    report.drafts.iter().map(row).collect()
}
