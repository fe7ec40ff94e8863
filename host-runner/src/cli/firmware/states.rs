//! `energyllm firmware states`: the safety states as a picture, from the firmware's own table.

use super::super::output::print;
use super::super::{Format, Outcome};
use clap::Args;
use controller_core::protocol::Safety;
use firmware_sim::app::HOST_TIMEOUT;
use firmware_sim::app::safety::{Cause, TRANSITIONS, is_protecting};
use std::fmt::Write as _;

/// Draw the safety states as a Mermaid diagram, from the table that the firmware decides by.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(_: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!(format == Format::Text, "a picture has no --json");
    print(diagram().trim_end())?;
    Ok(Outcome::Passed)
}

/// The diagram.
fn diagram() -> String {
    let mut text = "stateDiagram-v2\n    [*] --> Boot: reset\n".to_owned();
    for state in [Safety::Boot, Safety::InSession, Safety::HostSilent] {
        let outputs = if is_protecting(state) { "active" } else { "quiet" };
        let _ = writeln!(text, "    {state:?}: {state:?}, outputs {outputs}");
    }
    for transition in TRANSITIONS {
        let cause = match transition.cause {
            Cause::Greeting => "greeting with a new session number".to_owned(),
            Cause::Silence => format!("no sign of life for {} ms", HOST_TIMEOUT.micros() / 1000),
        };
        let _ = writeln!(text, "    {:?} --> {:?}: {cause}", transition.from, transition.to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_table_of_the_code() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/firmware.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, rest) = page.split_once("```mermaid\n").expect("docs/firmware.md has a picture");
        let (picture, _) = rest.split_once("```").unwrap();
        assert_eq!(
            picture,
            diagram(),
            "stale: put the output of `./x energyllm firmware states` into docs/firmware.md"
        );
    }
}
