//! `energyllm llm check`: is an exit behind layer k the model with k layers?

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::{STOP, file_name, shipped, temporary_folder, write_random};
use crate::llm::conformance::{Comparison, TOLERANCE, Test, compare};
use crate::llm::random::Shape;
use crate::report::table::Table;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Compare every exit with llama.cpp running a copy of the model that has only so many layers.
///
/// The copies are cut from the model by this command and run without a callback. A control compares neighbouring depths
/// and must find a difference. Anything else than equality gives exit code 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm llm check                               the two shipped models and a random one
  energyllm llm check model.gguf --depths 9-15      a model of yours
  energyllm llm check --make-random                 a random model with its own output matrix")]
pub struct Arguments {
    /// Models: GGUF files of a Llama architecture. Default: the shipped ones and a random one.
    models: Vec<PathBuf>,
    /// Also check a random model with its own output matrix, made on the spot.
    #[arg(long)]
    make_random: bool,
    /// Depths, LOW-HIGH. Default: the highest eight.
    #[arg(long, value_name = "LOW-HIGH", value_parser = parse_depths)]
    depths: Option<(u32, u32)>,
    /// CPU threads of llama.cpp.
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

fn parse_depths(text: &str) -> Result<(u32, u32), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().map_err(|_| "give two numbers of layers, such as 9-15".to_owned());
    Ok((number(low)?, number(high)?))
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let mut models = arguments.models.clone();
    if models.is_empty() && !arguments.make_random {
        models = shipped();
    }
    let folder = temporary_folder()?;
    if arguments.make_random || arguments.models.is_empty() {
        let path = folder.path().join("random-untied.gguf");
        write_random(&Shape::untied(), &path)?;
        models.push(path);
    }
    let mut object = Object::new("llm check", None, false);
    let mut table = Table::new(["model", "test", "depths", "rows", "same choice", "same bits", "difference", ""]);
    let (mut comparisons, mut failures) = (0_usize, 0_usize);
    let mut largest = 0.0_f32;
    for path in &models {
        let name = file_name(path);
        note(&format!("{name}: cutting and comparing"));
        let depths = arguments.depths.map(|(low, high)| low..=high);
        let mut results = compare(path, depths, arguments.threads, &STOP)?;
        comparisons += results.len();
        failures += results.iter().filter(|result| !result.holds()).count();
        let equal = results.iter().filter(|result| result.test != Test::Control);
        largest = equal.map(|result| result.difference).fold(largest, f32::max);
        object.rows.extend(results.iter().map(|result| row(&name, result)));
        results.sort_by_key(|result| result.test);
        for test in results.chunk_by(|a, b| a.test == b.test) {
            table.row(cells(&name, test));
        }
    }
    object.figure("comparisons", comparisons);
    object.figure("failures", failures);
    object.figure("largest_difference", f64::from(largest));
    object.pass = failures == 0;
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{table}\n{comparisons} comparisons, {failures} failed; largest difference of a logit {largest:.1e} \
             (allowed: {TOLERANCE:.0e}); a control passes when it differs"
        ))?,
    }
    Ok(if failures == 0 { Outcome::Passed } else { Outcome::Failed })
}

/// All depths of one test.
fn cells(model: &str, results: &[Comparison]) -> [String; 8] {
    let sum = |of: fn(&Comparison) -> usize| results.iter().map(of).sum::<usize>().to_string();
    let depths = results.iter().map(|result| result.depth);
    let (low, high) = (depths.clone().min().unwrap_or(0), depths.max().unwrap_or(0));
    let control = results.iter().any(|result| result.test == Test::Control);
    let differences = results.iter().map(|result| result.difference);
    // A control is as good as its smallest difference.
    let difference = if control { differences.fold(f32::INFINITY, f32::min) } else { differences.fold(0.0, f32::max) };
    let broken: Vec<_> = results.iter().filter(|r| !r.holds()).map(|r| r.depth.to_string()).collect();
    [
        model.to_owned(),
        results.first().map_or("", |result| result.test.name()).to_owned(),
        format!("{low}-{high}"),
        sum(|result| result.rows),
        sum(|result| result.same_choice),
        sum(|result| result.same_bits),
        format!("{difference:.1e}"),
        if broken.is_empty() { "ok".into() } else { format!("FAILED at {}", broken.join(", ")) },
    ]
}

fn row(model: &str, result: &Comparison) -> serde_json::Value {
    json!({
        "model": model,
        "test": result.test.name(),
        "depth": result.depth,
        "rows": result.rows,
        "same_choice": result.same_choice,
        "same_bits": result.same_bits,
        "largest_difference": result.difference,
        "pass": result.holds(),
    })
}
