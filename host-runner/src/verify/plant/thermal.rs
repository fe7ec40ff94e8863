//! A log as thermal experiments: each stretch of one fan state alone, from its own first reading.

use super::fan_state::Segment;
use super::log::{Log, LogError};
use super::{Options, session, trajectory};
use firmware_sim::plant::Profile;
use std::path::Path;

/// A log with measured temperatures, cut where its fan was switched.
#[derive(Clone, Debug, PartialEq)]
pub struct ThermalLog {
    log: Log,
    floor_scale: f64,
    options: Options,
    /// Room, C: given, or fitted once with the starting profile.
    pub ambient_c: f64,
    /// Stretches of one fan state, as inferred with the starting profile.
    pub segments: Vec<Segment>,
}

impl ThermalLog {
    /// Reads a log and finds its fan states and its room under `profile`; `None` for one without measured temperatures.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be read or is too short.
    pub fn read(path: &Path, profile: &Profile, options: &Options) -> Result<Option<Self>, LogError> {
        let file = std::fs::File::open(path).map_err(|cause| LogError::Open { path: path.to_owned(), cause })?;
        let log = Log::read(file, profile)?;
        let session = session::fit(&log, profile, options.floor_scale)?;
        let Some(trajectory) = trajectory::replay(&log, profile, session.floor_scale, options) else { return Ok(None) };
        Ok(Some(Self {
            log,
            floor_scale: session.floor_scale,
            options: options.clone(),
            ambient_c: trajectory.ambient_c,
            segments: trajectory.segments,
        }))
    }

    /// Replay minus log over one segment, K.
    #[must_use]
    pub fn residuals_k(&self, profile: &Profile, segment: &Segment, ambient_c: f64) -> Vec<f64> {
        let rows = (segment.first..segment.end, segment.pwm);
        trajectory::replay_alone(&self.log, profile, self.floor_scale, &self.options, rows, ambient_c)
    }

    /// Readings of a segment, C, and its latencies against the plant's at the clock that was asked for: above 1 the board
    /// ran slower, as a throttled one does.
    #[must_use]
    pub fn readings(&self, profile: &Profile, segment: &Segment) -> Vec<(f64, f64)> {
        let rows = &self.log.rows[segment.first..segment.end];
        let reading = |row: &super::Row| {
            let times = session::Times::of(row, profile, self.floor_scale);
            Some((row.temperature_c?, row.latency_s / (times.prefill_s + times.decode_s)))
        };
        rows.iter().filter_map(reading).collect()
    }
}
