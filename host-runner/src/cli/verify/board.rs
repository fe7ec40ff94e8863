//! `energyllm verify tegrastats` and `verify sysfs`: captured lines and trees of boards.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use crate::verify::board::{self, Report};
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

/// Read lines of tegrastats and compare them with the values that are in them.
///
/// The folder, or its folder `tegrastats`, has `NAME.log` beside `NAME.expected.json` (docs/jetson.md).
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm verify tegrastats captures/tegrastats --json")]
pub struct Tegrastats {
    /// Folder of the cases.
    folder: PathBuf,
}

pub fn tegrastats(options: &Tegrastats, format: Format) -> anyhow::Result<Outcome> {
    let report = board::verify_tegrastats(&options.folder)
        .with_context(|| format!("cannot verify tegrastats in {}", options.folder.display()))?;
    show("verify tegrastats", &report, format)
}

/// Discover and read captured trees of boards and compare with what is in them.
///
/// The folder, or its folder `sysfs`, has `NAME.json` beside `NAME.expected.json` (docs/jetson.md).
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm verify sysfs captures/sysfs --json")]
pub struct Sysfs {
    /// Folder of the cases.
    folder: PathBuf,
}

pub fn sysfs(options: &Sysfs, format: Format) -> anyhow::Result<Outcome> {
    let report = board::verify_sysfs(&options.folder)
        .with_context(|| format!("cannot verify trees in {}", options.folder.display()))?;
    show("verify sysfs", &report, format)
}

fn show(command: &'static str, report: &Report, format: Format) -> anyhow::Result<Outcome> {
    match format {
        Format::Text => print(&report.to_string())?,
        Format::Json => {
            let mut object = Object::new(command, None, false);
            object.figure("files", report.files.len());
            object.figure("cases", report.cases());
            object.figure("failed", report.failed());
            object.figure("values", report.values());
            object.figure("unknown_quantities", report.unknown.len());
            object.rows = report.files.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
            object.pass = report.pass();
            object.print()?;
        }
    }
    Ok(if report.pass() { Outcome::Passed } else { Outcome::Failed })
}
