//! `energyllm board doctor`: what a controlled run would miss, and the command that mends it.

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::place::Place;
use crate::board::discover::Found;
use crate::board::doctor::{Access, Finding, Severity, examine};
use crate::board::restore::PATIENCE;
use crate::board::tree::PatientTree;
use clap::Args;
use serde_json::json;
use std::path::Path;

/// Say what is missing on this board or fights the controller, and how to mend it. Writes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm board doctor
  sudo energyllm board doctor --json       as the one who will run the controller
  energyllm board doctor --root tree       a tree of files

Exit codes: 0 a run can control this board, 1 it cannot, 2 this is no Jetson.")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// Access as the system would grant it to this user.
struct System<'a>(&'a Place);

impl Access for System<'_> {
    fn can_write(&self, path: &Path) -> Result<(), std::io::Error> {
        Ok(rustix::fs::access(self.0.outside(path), rustix::fs::Access::WRITE_OK)?)
    }
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let place = &arguments.place;
    // What hangs in a driver is a finding, and no reason to hang.
    let tree = PatientTree::new(place.tree()?, PATIENCE);
    let found = Found::discover(&tree);
    if !found.is_jetson() {
        for missing in found.missing() {
            note(&missing.to_string());
        }
        anyhow::bail!(
            "this is no Jetson: nothing of one was found below {}; without one, `energyllm run` simulates a board",
            place.root.display()
        );
    }
    let findings = examine(&tree, &found, place.services().as_ref(), &place.state(), &System(place));
    let faults = findings.iter().filter(|finding| finding.severity == Severity::Fault).count();
    match format {
        Format::Json => {
            let mut object = Object::new("board doctor", None, false);
            object.figure("faults", faults);
            object.figure("warnings", findings.iter().filter(|finding| finding.severity == Severity::Warning).count());
            let row = |finding: &Finding| json!({ "check": finding.check, "severity": finding.severity, "says": finding.says, "mend": finding.mend });
            object.rows = findings.iter().map(row).collect();
            object.pass = faults == 0;
            object.print()?;
        }
        Format::Text => print(&describe(&findings, faults))?,
    }
    Ok(if faults == 0 { Outcome::Passed } else { Outcome::Failed })
}

fn describe(findings: &[Finding], faults: usize) -> String {
    let line = |finding: &Finding| {
        let mark = match finding.severity {
            Severity::Good => "  ok  ",
            Severity::Warning => " warn ",
            Severity::Fault => "FAULT ",
        };
        let mend = finding.mend.as_ref().map_or_else(String::new, |mend| format!("        -> {mend}\n"));
        format!("{mark} {}: {}\n{mend}", finding.check, finding.says)
    };
    findings.iter().map(line).collect::<Vec<_>>().concat()
        + match faults {
            0 => "a run can control this board",
            _ => "a run cannot control this board until the faults are mended",
        }
}
