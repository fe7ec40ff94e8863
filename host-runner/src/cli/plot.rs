//! `energyllm plot`: a figure of a CSV file.

use super::output::{Object, print};
use super::{Format, Outcome};
use crate::dataset::table::Table;
use crate::plot::{Kind, draw, kinds, recognize};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Draw the figure of a CSV file, which is only read.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is recognized by its columns; a manifest beside it (FILE.manifest.json) says the conditions in the caption.

Examples:
  energyllm plot out/sweep/grid.csv
  energyllm plot out/sweep/grid.csv --kind top-actions -o top.svg
  energyllm plot out/fan-off/FAN_OFF_RESULTS_max.csv --also out/fan-off/FAN_OFF_RESULTS_learned.csv
  energyllm plot models/tiny-llama/depths.json
  energyllm plot policy_metrics.csv --also training_metrics.csv")]
pub struct Arguments {
    /// A CSV file, or depths.json of `llm depths`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The figure, PNG or SVG by its name. Default: beside the file, with the figure's type in its name.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Which figure, where the file has columns for several. Default: the first that fits.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// A further file for the same figure; give it again for more.
    #[arg(long, value_name = "FILE")]
    also: Vec<PathBuf>,
    /// Under which conditions the numbers came about, for the caption, instead of what the manifest says.
    #[arg(long, value_name = "TEXT")]
    conditions: Option<String>,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let read = |path: &PathBuf| -> anyhow::Result<Table> {
        let table = Table::read(path)?;
        Ok(match &options.conditions {
            Some(conditions) => table.with_conditions(conditions),
            None => table,
        })
    };
    let table = read(&options.file)?;
    let also = options.also.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let kind = match options.kind {
        Some(kind) => kind,
        None => recognize(&table)?,
    };
    let out = options.out.clone().unwrap_or_else(|| options.file.with_extension(format!("{kind}.png")));
    anyhow::ensure!(
        std::iter::once(&options.file).chain(&options.also).all(|input| *input != out),
        "the figure would overwrite {}; name another file with --out",
        out.display()
    );
    let sheet = draw(&table, &also, kind)?;
    sheet.draw(&out)?;
    let others: Vec<String> = kinds(&table).into_iter().filter(|other| *other != kind).map(|k| k.to_string()).collect();
    match format {
        Format::Json => {
            let mut object = Object::new("plot", None, false);
            object.figure("rows", table.rows());
            object.figure("panels", sheet.panels.len());
            object
                .rows
                .push(json!({ "kind": kind.to_string(), "conditions": sheet.conditions, "other_kinds": others }));
            object.wall("out", out.display().to_string());
            object.print()?;
        }
        Format::Text => {
            let others = if others.is_empty() {
                String::new()
            } else {
                format!("\nalso of this file: --kind {}", others.join(", "))
            };
            print(&format!("{kind} of {} rows: {}{others}", table.rows(), out.display()))?;
        }
    }
    Ok(Outcome::Passed)
}
