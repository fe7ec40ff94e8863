//! `energyllm dataset synth-entropy`.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::keep;
use crate::atomic_file::AtomicFile;
use crate::dataset::entropy::{FLAG, file::synthesize};
use crate::report::manifest::Manifest;
use crate::report::table::Table;
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Add depth and entropy to a grid that has none, by the published rule of thumb. They are not measured.
#[derive(Debug, Args)]
#[command(after_help = "\
The new columns early_exit_layer and avg_entropy are flagged in the column synthetic_columns of every row.

Example: energyllm dataset synth-entropy out/sweep/grid.csv -o out/grid-with-entropy.csv --seed 42")]
pub struct Arguments {
    /// A CSV file with the columns temperature, latency and batch.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// The file with the new columns.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Every depth for every row, instead of one.
    #[arg(long)]
    expand: bool,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    keep(&options.input, &options.out)?;
    let synthesized = synthesize(&options.input, options.seed, options.expand)?;
    AtomicFile::write(&options.out, &synthesized.bytes)?;
    Manifest::of("dataset synth-entropy", options.seed, &[&options.input])
        .with_context(|| format!("cannot read {}", options.input.display()))?
        .write(&options.out.with_extension("manifest.json"))?;
    let spread = |(rows, sum, squares): (usize, f64, f64)| {
        let mean = sum / rows as f64;
        (mean, (squares / rows as f64 - mean * mean).max(0.0).sqrt())
    };
    let total: usize = synthesized.by_layer.values().map(|(rows, _, _)| rows).sum();
    match format {
        Format::Json => {
            let mut object = Object::new("dataset synth-entropy", Some(options.seed), false);
            object.figure("rows", total);
            for (layer, sums) in &synthesized.by_layer {
                let (mean, sd) = spread(*sums);
                object.rows.push(json!({
                    "layer": layer, "rows": sums.0, "mean_entropy_nats": mean, "sd_entropy_nats": sd
                }));
            }
            object.wall("out", options.out.display().to_string());
            object.print()?;
        }
        Format::Text => {
            let mut table = Table::new(["layers (synthetic)", "rows", "entropy, nats", "sd"]);
            for (layer, sums) in &synthesized.by_layer {
                let (mean, sd) = spread(*sums);
                table.row([layer.to_string(), sums.0.to_string(), format!("{mean:.3}"), format!("{sd:.3}")]);
            }
            print(&format!(
                "{table}\n{total} rows; nothing of this was measured (column {FLAG})\n{}",
                options.out.display()
            ))?;
        }
    }
    Ok(Outcome::Passed)
}
