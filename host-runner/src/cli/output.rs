//! What a command prints for machines: one object with the same fields for every command.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Write;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tables for people.
    Text,
    /// One JSON object.
    Json,
}

/// The JSON result of a command. Two runs with the same inputs and seed differ in `wall` alone.
#[derive(Debug, Serialize)]
pub struct Object {
    /// Name of the command.
    pub command: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// The seed, where the command takes one.
    pub seed: Option<u64>,
    /// True when a simulated board produced the figures.
    pub simulated: bool,
    /// Figures by name; the name ends in the unit.
    pub figures: Map<String, Value>,
    /// A table, where the command has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Value>,
    /// Whether everything holds.
    pub pass: bool,
    /// What depends on the clock or the machine.
    pub wall: Map<String, Value>,
}

impl Object {
    /// An object without figures.
    #[must_use]
    pub fn new(command: &'static str, seed: Option<u64>, simulated: bool) -> Self {
        Self {
            command,
            version: env!("CARGO_PKG_VERSION"),
            seed,
            simulated,
            figures: Map::new(),
            rows: Vec::new(),
            pass: true,
            wall: Map::new(),
        }
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Adds a number that depends on the clock or the machine.
    pub fn wall(&mut self, name: &str, value: impl Into<Value>) {
        self.wall.insert(name.to_owned(), value.into());
    }

    /// Prints the object on stdout.
    pub fn print(&self) -> anyhow::Result<()> {
        print(&serde_json::to_string_pretty(self)?)
    }
}

/// Prints a result and a line feed on stdout. A closed pipe is the reader's choice, not an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Says something on stderr; nobody listening is no reason to stop.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text with its control characters written out, so that a prompt cannot steer a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
