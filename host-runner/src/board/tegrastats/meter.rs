//! The rails of `tegrastats` as channels, for a Jetson whose sensors cannot be read as files.

use super::{SourceError, Tegrastats, is_dummy};
use crate::board::discover::{power, thermal};
use crate::board::telemetry::{Average, Channel, Meter, Quantity, Role};
use controller_core::telemetry::Absence;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the first line may take.
const FIRST_LINE: Duration = Duration::from_secs(5);

/// Rails and temperatures of a running `tegrastats`.
///
/// A reading is up to one interval of lines older than it says.
pub struct TegrastatsMeter {
    source: Tegrastats,
    channels: Vec<Channel>,
    oldest: Duration,
}

impl TegrastatsMeter {
    /// Starts the program and waits for its first line, whose rails and zones are the channels from then on.
    pub fn start(program: &Path, interval: Duration) -> Result<Self, SourceError> {
        let source = Tegrastats::start(program, interval)?;
        let start = Instant::now();
        let line = loop {
            match source.latest() {
                Some(stamped) => break stamped.line,
                None if source.has_ended() || start.elapsed() > FIRST_LINE => {
                    return Err(SourceError::Silent { program: program.to_owned() });
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let names: Vec<&str> = line.rails.iter().map(|(name, _)| name.as_str()).collect();
        let total = power::total(&names).unwrap_or_default();
        let channel = |name: &str, quantity, role| Channel {
            name: name.to_owned(),
            quantity,
            role,
            average: Average::Moment,
            place: format!("{}: {name}", program.display()),
        };
        let rails = names.iter().enumerate().map(|(place, name)| {
            channel(name, Quantity::Power, if total.contains(&place) { Role::Total } else { Role::Shown })
        });
        let zones = line.temperatures.iter().filter(|(name, temperature)| !is_dummy(name, temperature.now));
        // Names are cut here (`CPU`, `iwlwifi`), so what counts is known by what does not.
        let role = |name: &str| if thermal::is_foreign(name) { Role::Shown } else { Role::Temperature };
        let zones = zones.map(|(name, _)| channel(name, Quantity::Temperature, role(name)));
        let channels = rails.chain(zones).collect();
        // Two lines may be lost; after the third a reading is no longer of now.
        Ok(Self { source, channels, oldest: interval.saturating_mul(3) })
    }
}

impl Meter for TegrastatsMeter {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&self, channel: usize) -> Result<i64, Absence> {
        let channel = self.channels.get(channel).ok_or(Absence::NoSensor)?;
        let latest = self.source.latest().ok_or(Absence::NotYetRead)?;
        if latest.taken_at.elapsed() > self.oldest {
            return Err(Absence::ReadFailed);
        }
        let named = |name: &str| name == channel.name;
        let value = if channel.quantity == Quantity::Power {
            latest.line.rails.iter().find(|(name, _)| named(name)).map(|(_, rail)| rail.now_mw)
        } else {
            let zone = latest.line.temperatures.iter().find(|(name, _)| named(name));
            zone.map(|(_, temperature)| i64::from(temperature.now.0))
        };
        value.ok_or(Absence::PoweredDown)
    }
}
