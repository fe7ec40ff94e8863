//! What a command prints for machines: one object with the same fields for every command.

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

    /// Prints the object on stdout. A closed pipe is the reader's choice, not an error.
    pub fn print(&self) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}
