//! Does the simulated board behave like the real one did? `energyllm verify plant LOG.csv`
//!
//! Replays a published log through the plant of `firmware-sim`, setting by setting, and compares what the plant says
//! with what the log holds: times, powers, energies, and the temperature's way through the whole log.
//!
//! What is fitted to the log under test, all of it printed:
//! - *one* session scalar on the decode launch floor (`session`); it differs between sessions of one board
//! - the room temperature, within -10..=60 C, and the rows at which the fan was switched: no log holds them (`fan_state`)
//!
//! Everything else is the board profile. The built-in one is not blind to every log: latency and power come from the
//! fan-on grid, but the leakage reference (78 C, of 70 and 75..=79 tried) was set so that the energies of the training
//! log and the fan-off grid agree, and the thermal constants were fitted to training, fan-off and early-exit logs too.
//!
//! The logs' prefill power is a lagged reading of the decode before, so energy is
//! compared with the recorder's lag emulated (`phases`).

mod fan_state;
mod log;
mod phases;
mod report;
mod session;
mod thermal;
mod trajectory;

pub use fan_state::Segment;
pub use log::{Format, Log, LogError, Row};
pub use report::{Figure, PlantReport, Skipped};
pub use thermal::ThermalLog;
pub use trajectory::golden_section;

use firmware_sim::plant::Profile;
use std::path::Path;

/// Shortest log, rows.
pub const MIN_ROWS: usize = 20;
/// Fewest rows that must be left to compare when throttled and disturbed ones are set aside.
pub const MIN_COMPARED: usize = 10;

/// What the caller may fix instead of leaving it to the log or to the format's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Session scalar on the decode launch floor; fitted when absent.
    pub floor_scale: Option<f64>,
    /// Room temperature, C; fitted when absent.
    pub ambient_c: Option<f64>,
    /// Idle time before every batch, s; absent: from the log where it has it, else [`Format::default_gap_s`].
    pub gap_s: Option<f64>,
}

/// Reads a log file and replays it.
///
/// # Errors
/// [`LogError`] when the file cannot be read, has none of the known headers, or too few usable rows.
/// `profile` must have passed its `check`.
pub fn verify_file(path: &Path, profile: &Profile, options: &Options) -> Result<PlantReport, LogError> {
    let file = std::fs::File::open(path).map_err(|cause| LogError::Open { path: path.to_owned(), cause })?;
    verify(&Log::read(file, profile)?, profile, options)
}

/// Replays a log that has been read.
///
/// # Errors
/// [`LogError::TooShort`] when fewer than [`MIN_COMPARED`] rows are fit for a comparison.
pub fn verify(log: &Log, profile: &Profile, options: &Options) -> Result<PlantReport, LogError> {
    let session = session::fit(log, profile, options.floor_scale)?;
    let phases = phases::compare(log, profile, &session);
    let trajectory = trajectory::replay(log, profile, session.floor_scale, options);
    Ok(report::assemble(log, &session, phases, trajectory))
}
