//! What goes otherwise than wished while a board is driven, counted, and told once when it begins.

use super::Outcome;
use super::clock::Pinned;
use super::fan::{Driven, FanError};
use serde::Serialize;
use tracing::warn;

/// One kind of thing that goes otherwise than wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// The board keeps another range in force than was written.
    Clipped,
    /// The thermal core caps the clock.
    Throttled,
    /// Somebody else has changed the clock.
    Foreign,
    /// The clock ran at another rate than both bounds say.
    Strayed,
    /// The clock was left to somebody else until a pause was over.
    Waited,
    /// The clock could not be set.
    Failed,
    /// The board did not answer in time.
    Late,
    /// Somebody else has slowed the fan down.
    FanOverwritten,
    /// The fan could not be set.
    FanFailed,
}

/// How often each has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Incidents {
    /// The board kept another range in force than was written.
    pub clock_clipped: u64,
    /// The thermal core capped the clock.
    pub clock_throttled: u64,
    /// Somebody else changed the clock.
    pub clock_foreign: u64,
    /// The clock ran at another rate than both bounds say.
    pub clock_strayed: u64,
    /// The clock was left to somebody else until a pause was over.
    pub clock_waited: u64,
    /// The clock could not be set.
    pub clock_failed: u64,
    /// A clock was taken away because the board's supply was at its end, or its firmware throttled.
    pub strained: u64,
    /// The board did not answer in time.
    pub late: u64,
    /// Somebody else slowed the fan down.
    pub fan_overwritten: u64,
    /// The fan could not be set.
    pub fan_failed: u64,
    /// The fan was taken over from the vendor.
    pub fan_taken: bool,
}

/// What has happened, with how often, like `clock throttled 3, late 1`; nothing when nothing has.
impl std::fmt::Display for Incidents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            ("clock clipped", self.clock_clipped),
            ("clock throttled", self.clock_throttled),
            ("clock foreign", self.clock_foreign),
            ("clock strayed", self.clock_strayed),
            ("clock waited", self.clock_waited),
            ("clock failed", self.clock_failed),
            ("strained", self.strained),
            ("late", self.late),
            ("fan overwritten", self.fan_overwritten),
            ("fan failed", self.fan_failed),
        ];
        let mut between = "";
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{between}{what} {count}")?;
            between = ", ";
        }
        Ok(())
    }
}

impl Incidents {
    /// Counts one.
    pub const fn count(&mut self, incident: Incident) {
        let place = match incident {
            Incident::Clipped => &mut self.clock_clipped,
            Incident::Throttled => &mut self.clock_throttled,
            Incident::Foreign => &mut self.clock_foreign,
            Incident::Strayed => &mut self.clock_strayed,
            Incident::Waited => &mut self.clock_waited,
            Incident::Failed => &mut self.clock_failed,
            Incident::Late => &mut self.late,
            Incident::FanOverwritten => &mut self.fan_overwritten,
            Incident::FanFailed => &mut self.fan_failed,
        };
        *place += 1;
    }

    /// Takes in what came of a clock, and says what is new.
    pub(super) fn clock(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Clock(Pinned::Already | Pinned::Written | Pinned::DryRun(_)) | Outcome::NoClock => {}
            Outcome::Clock(Pinned::Clipped(range)) => {
                warn!("the board keeps the GPU at {range}, whatever is written: a power mode or the firmware caps it");
                self.count(Incident::Clipped);
            }
            Outcome::Clock(Pinned::Throttled(range)) => {
                warn!("the thermal core caps the GPU at {range}");
                self.count(Incident::Throttled);
            }
            Outcome::Clock(Pinned::Foreign(range)) => {
                warn!(
                    "somebody else (nvpmodel, jetson_clocks, jtop) has set the GPU to {range}; it is left alone for a while"
                );
                self.count(Incident::Foreign);
            }
            Outcome::Clock(Pinned::Strayed { wanted_hz, hz }) => {
                if self.clock_strayed == 0 {
                    warn!(
                        "the GPU runs at {} MHz, though both bounds read back as {} MHz: the firmware holds it there",
                        hz / 1_000_000,
                        wanted_hz / 1_000_000
                    );
                }
                self.count(Incident::Strayed);
            }
            Outcome::Clock(Pinned::Waiting(_)) => self.count(Incident::Waited),
            Outcome::Failed(error) => {
                warn!("the GPU clock was not set: {error}");
                self.count(Incident::Failed);
            }
            Outcome::Late => self.count(Incident::Late),
        }
    }

    /// Takes in what came of looking after the fan.
    pub(super) fn fan(&mut self, driven: &Result<Option<Driven>, FanError>) {
        match driven {
            Ok(Some(Driven::Taken(duty))) => {
                warn!("the fan is ours now, at {duty} of 255; the vendor gets it back at the end");
                self.fan_taken = true;
            }
            Ok(Some(Driven::Overwritten(duty))) => {
                if self.fan_overwritten == 0 {
                    warn!("somebody else has slowed the fan down to {duty} of 255; it is raised again");
                }
                self.count(Incident::FanOverwritten);
            }
            Ok(None | Some(Driven::Vendor | Driven::Ours(_) | Driven::DryRun(_))) | Err(FanError::Closed) => {}
            Err(error) => {
                if self.fan_failed == 0 {
                    warn!("the fan was not set: {error}");
                }
                self.count(Incident::FanFailed);
            }
        }
    }
}
