//! `energyllm verify plant`: a log through the simulated board, or predictions for points.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use crate::env::profile::BoardProfile;
use crate::input_file;
use crate::roofline::{Roofline, points, report};
use crate::verify::plant;
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};

/// Compare the simulated board with a log, or predict points for boards and models.
///
/// With a LOG: replays it and compares times, energies and temperatures. Understands the published logs by their columns: online training, deployment, early-exit
/// training, and the fan-on and fan-off grids. One session scalar on the launch floor is fitted
/// and printed; exit code 1 when a limit is not kept.
///
/// With --points: predicts tokens/s, W and tokens/J of llama.cpp for rows of `model`, `parameters`,
/// `quantization_bits`, `board`, `power_mode`, `prompt_tokens`, `output_tokens`
/// (docs/calibration.md). Rows that also have measured columns are compared, and power modes of one workload are ranked; exit
/// code 1 for a median error above 10 % or a wrong rank.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm verify plant online_training.csv --json
  energyllm verify plant --points models/boards/llamacpp-points.csv
  energyllm verify plant --points mine.csv --profile my-board.toml --json")]
pub struct Plant {
    /// The log.
    #[arg(required_unless_present = "points")]
    log: Option<PathBuf>,
    /// Points to predict, CSV; instead of a log.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["log", "floor_scale", "ambient", "gap"])]
    points: Option<PathBuf>,
    /// Board profile; with --points one or more with a table [roofline]. Default: agx-orin-hf for a
    /// log, both llama.cpp profiles for points.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Session scalar on the decode launch floor; fitted when absent.
    #[arg(long, value_name = "SCALE")]
    floor_scale: Option<f64>,
    /// Room temperature, °C; fitted when absent.
    #[arg(long, value_name = "CELSIUS")]
    ambient: Option<f64>,
    /// Idle time before every batch, s; default by format, since the logs do not hold it.
    #[arg(long, value_name = "SECONDS")]
    gap: Option<f64>,
}

/// The profile of a log, where none is given.
const LOG_PROFILE: &str = "models/boards/agx-orin-hf.toml";
/// The profiles of points, where none is given.
pub const POINT_PROFILES: [&str; 2] =
    ["models/boards/agx-orin-llamacpp.toml", "models/boards/orin-nano-super-llamacpp.toml"];

pub fn run(options: &Plant, format: Format) -> anyhow::Result<Outcome> {
    match (&options.points, &options.log) {
        (Some(points), _) => predict(points, &options.profile, format),
        (None, Some(log)) => replay(log, options, format),
        (None, None) => anyhow::bail!("give a log or --points"),
    }
}

/// Predictions for points.
fn predict(path: &Path, profiles: &[PathBuf], format: Format) -> anyhow::Result<Outcome> {
    let boards = rooflines(profiles)?;
    let boards: Vec<Roofline> = boards.into_iter().map(|(_, _, roofline)| roofline).collect();
    input_file::check(path, input_file::MAX_BYTES)
        .with_context(|| format!("cannot read the points {}", path.display()))?;
    let failed = || format!("cannot use the points {}", path.display());
    let points = points::read(path).with_context(failed)?;
    let report = report::answer(&points, &boards).with_context(failed)?;
    match format {
        Format::Text => print(&report.to_string())?,
        Format::Json => {
            let mut object = Object::new("verify plant", None, true);
            object.figures = report.figures();
            object.rows = report.rows();
            object.pass = report.pass();
            object.print()?;
        }
    }
    Ok(if report.pass() { Outcome::Passed } else { Outcome::Failed })
}

/// Profiles that have a roofline, the shipped ones where none is named.
pub fn rooflines(profiles: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, BoardProfile, Roofline)>> {
    let shipped = POINT_PROFILES.map(PathBuf::from);
    let profiles = if profiles.is_empty() { &shipped[..] } else { profiles };
    let read = |path: &PathBuf| -> anyhow::Result<_> {
        let profile = BoardProfile::read(path)?;
        let roofline = profile.roofline.clone().with_context(|| {
            format!(
                "{} has no table [roofline]; predictions for points need one, see docs/calibration.md",
                path.display()
            )
        })?;
        Ok((path.clone(), profile, roofline))
    };
    profiles.iter().map(read).collect()
}

fn replay(log: &Path, options: &Plant, format: Format) -> anyhow::Result<Outcome> {
    let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(anyhow::anyhow!("{name} must lie between {low} and {high}, not {value}"))
        }
        _ => Ok(()),
    };
    within("--floor-scale", options.floor_scale, 0.1, 10.0)?;
    within("--ambient", options.ambient, -40.0, 70.0)?;
    within("--gap", options.gap, 0.0, 600.0)?;
    let profile = match &options.profile[..] {
        [] => BoardProfile::read(Path::new(LOG_PROFILE))?,
        [one] => BoardProfile::read(one)?,
        _ => anyhow::bail!("a log is replayed on one board; give one --profile"),
    };
    input_file::check(log, input_file::MAX_BYTES).with_context(|| format!("cannot read the log {}", log.display()))?;
    let choices = plant::Options { floor_scale: options.floor_scale, ambient_c: options.ambient, gap_s: options.gap };
    let report = plant::verify_file(log, &profile.plant, &choices)
        .with_context(|| format!("cannot verify against {}", log.display()))?;
    match format {
        Format::Text => print(&report.to_string())?,
        Format::Json => {
            let mut object = Object::new("verify plant", None, true);
            for (name, value) in &report.figures {
                object.figure(name, *value);
            }
            let skipped: usize = report.skipped.iter().map(|skipped| skipped.rows).sum();
            object.figure("skipped_rows", skipped);
            object.rows = report.rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
            object.pass = report.pass;
            object.print()?;
        }
    }
    Ok(if report.pass { Outcome::Passed } else { Outcome::Failed })
}
