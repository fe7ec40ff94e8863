//! `energyllm firmware log`: what has happened to it.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::{Link, introduce};
use crate::report::table::Table;
use clap::Args;
use controller_core::protocol::{Event, EventKind};
use serde_json::{Value, json};

/// Read the event log: the last 32 events since the reset.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    link: Link,
    /// Number of the first event wanted; older ones than the firmware remembers are gone.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u32,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let mut session = arguments.link.open()?;
    let events = session.events(arguments.from)?;
    match format {
        Format::Json => {
            let mut object = Object::new("firmware log", None, false);
            object.rows = events.iter().map(row).collect();
            object.wall("link", arguments.link.link.to_string());
            object.print()?;
        }
        Format::Text => {
            let mut table = Table::new(["what happened", "number", "at, s"]);
            for Event { number, uptime_ms, kind } in &events {
                let at = format!("{:.3}", f64::from(*uptime_ms) / 1000.0);
                table.row([sentence(kind), number.to_string(), at]);
            }
            print(&format!("{}\n\n{table}", introduce(session.identity())))?;
        }
    }
    Ok(Outcome::Passed)
}

fn row(event: &Event) -> Value {
    json!({ "number": event.number, "uptime_ms": event.uptime_ms, "kind": event.kind, "text": sentence(&event.kind) })
}

fn sentence(kind: &EventKind) -> String {
    match kind {
        EventKind::Boot => "started".to_owned(),
        EventKind::PolicyAccepted { slot } => format!("the policy in slot {slot} passed its examples"),
        EventKind::PolicyRefused { slot, why } => format!("the policy in slot {slot} must not decide: {why}"),
        EventKind::FellBackToTwoRule => "no usable policy: the two-rule thermostat decides".to_owned(),
        EventKind::SessionOpened { session } => format!("a host opened session {session}; outputs quiet"),
        EventKind::HostSilent => "the host fell silent; outputs active".to_owned(),
        EventKind::Configured => "configured".to_owned(),
        EventKind::Overrun { late_us } => format!("a pass of the loop was late by {late_us} us, more than ever before"),
        EventKind::UploadBegun { length } => format!("an upload of {length} bytes began"),
        EventKind::PolicySwapped { slot } => format!("the policy in slot {slot} took over"),
        EventKind::RolledBack { why } => format!("the uploaded policy was given up, the old one stays: {why}"),
    }
}
