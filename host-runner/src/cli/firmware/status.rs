//! `energyllm firmware status`: how it is.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::{Link, identity_row, in_charge, introduce};
use crate::report::table::Table;
use clap::Args;
use controller_core::protocol::Status;

/// Show how the firmware is: who decides, the supervisor, the link and the loop.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    link: Link,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let mut session = arguments.link.open()?;
    let status = session.status()?;
    let supervisor = status.supervisor.map(|state| format!("{state:?}"));
    match format {
        Format::Json => {
            let mut object = Object::new("firmware status", None, false);
            let mut row = identity_row(session.identity());
            row["in_charge"] = in_charge(status.in_charge).into();
            row["supervisor"] = supervisor.into();
            object.rows = vec![row];
            for (name, count) in counts(&status) {
                object.wall(&name.replace(' ', "_"), count);
            }
            object.wall("link", arguments.link.link.to_string());
            object.print()?;
        }
        Format::Text => {
            let mut table = Table::new([arguments.link.link.to_string(), String::new()]);
            table.row(["in charge", in_charge(status.in_charge)]);
            table.row(["supervisor", supervisor.as_deref().unwrap_or("not configured")]);
            for (name, count) in counts(&status) {
                table.row([name.to_owned(), count.to_string()]);
            }
            print(&format!("{}\n\n{table}", introduce(session.identity())))?;
        }
    }
    Ok(Outcome::Passed)
}

/// Everything that the firmware counts. The counters of the link are those since its reset.
fn counts(status: &Status) -> [(&'static str, u32); 17] {
    let Status { uptime_ms, replacements, link, timing, next_event, .. } = status;
    [
        ("uptime ms", *uptime_ms),
        ("passes", timing.passes),
        ("overruns", timing.overruns),
        ("worst jitter us", timing.worst_jitter_us),
        ("replacements", *replacements),
        ("events", *next_event),
        ("segments", link.segments),
        ("accepted", link.accepted),
        ("greetings", link.greetings),
        ("repeated", link.repeated),
        ("late", link.late),
        ("foreign", link.foreign),
        ("corrupt", link.corrupt),
        ("oversize", link.oversize),
        ("other version", link.other_version),
        ("malformed", link.malformed),
        ("lost", link.lost),
    ]
}
