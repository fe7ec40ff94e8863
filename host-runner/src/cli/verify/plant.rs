//! `energyllm verify plant`: a log through the simulated board.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use crate::env::profile::BoardProfile;
use crate::input_file;
use crate::verify::plant;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

/// Replay a log through the simulated board and compare times, energies and temperatures.
///
/// Understands the published logs by their columns: online training, deployment, early-exit
/// training, and the fan-on and fan-off grids. One session scalar on the launch floor is fitted
/// and printed; exit code 1 when a limit is not kept.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm verify plant online_training.csv --json")]
pub struct Plant {
    /// The log.
    log: PathBuf,
    /// Board profile.
    #[arg(long, value_name = "FILE", default_value = "models/boards/agx-orin-hf.toml")]
    profile: PathBuf,
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

pub fn run(options: &Plant, format: Format) -> anyhow::Result<Outcome> {
    let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(anyhow::anyhow!("{name} must lie between {low} and {high}, not {value}"))
        }
        _ => Ok(()),
    };
    within("--floor-scale", options.floor_scale, 0.1, 10.0)?;
    within("--ambient", options.ambient, -40.0, 70.0)?;
    within("--gap", options.gap, 0.0, 600.0)?;
    let profile = BoardProfile::read(&options.profile)?;
    input_file::check(&options.log, input_file::MAX_BYTES)
        .with_context(|| format!("cannot read the log {}", options.log.display()))?;
    let choices = plant::Options { floor_scale: options.floor_scale, ambient_c: options.ambient, gap_s: options.gap };
    let report = plant::verify_file(&options.log, &profile.plant, &choices)
        .with_context(|| format!("cannot verify against {}", options.log.display()))?;
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
