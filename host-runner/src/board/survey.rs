//! What kind of board this is, and the meter for it.

use super::desktop::{Linux, Nvml};
use super::discover::{Found, Missing};
use super::tegrastats::TegrastatsMeter;
use super::telemetry::{Channel, Meter, Meters, Quantity, TreeMeter};
use super::tree::FileTree;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where the program is on images of NVIDIA.
const TEGRASTATS: &str = "/usr/bin/tegrastats";

/// Time between its lines: INA sensors have a new value every 0.43 s.
const TEGRASTATS_INTERVAL: Duration = Duration::from_millis(500);

/// Where to look.
#[derive(Clone)]
pub struct Place {
    /// The files.
    pub tree: Arc<dyn FileTree>,
    /// The files are those of this machine: its libraries and programs may be asked as well.
    pub is_this_machine: bool,
}

/// What was found.
pub struct Survey {
    /// What a Jetson would have.
    pub found: Found,
    /// What plain Linux has; only where this is no Jetson.
    pub linux: Option<Linux>,
    /// Names of NVIDIA GPUs; only where this is no Jetson.
    pub gpus: Vec<String>,
    /// Everything that was looked for and is not there.
    pub missing: Vec<Missing>,
    /// The channels.
    pub meter: Arc<dyn Meter>,
}

impl Survey {
    /// Looks for everything. Blocks as long as the drivers do.
    #[must_use]
    pub fn make(place: &Place) -> Self {
        let tree = Arc::clone(&place.tree);
        let found = Found::discover(&*tree);
        let mut missing: Vec<Missing> = found.missing().into_iter().cloned().collect();
        if found.is_jetson() {
            let mut meters: Vec<Box<dyn Meter>> = vec![Box::new(TreeMeter::jetson(tree, &found))];
            if found.power.is_err() && place.is_this_machine {
                match TegrastatsMeter::start(Path::new(TEGRASTATS), TEGRASTATS_INTERVAL) {
                    Ok(meter) => meters.push(Box::new(meter)),
                    Err(cause) => {
                        missing.push(Missing { what: "rails through tegrastats", looked_for: vec![cause.to_string()] });
                    }
                }
            }
            return Self { found, linux: None, gpus: Vec::new(), missing, meter: Arc::new(Meters::new(meters)) };
        }
        let linux = Linux::discover(&*tree);
        missing.extend(linux.missing().into_iter().cloned());
        let mut meters: Vec<Box<dyn Meter>> = vec![Box::new(linux.meter(&tree))];
        let mut gpus = Vec::new();
        if place.is_this_machine {
            match Nvml::discover() {
                Ok(nvml) => {
                    gpus.clone_from(&nvml.models);
                    meters.push(Box::new(nvml));
                }
                Err(absent) => missing.push(absent),
            }
        }
        missing.dedup();
        Self { found, linux: Some(linux), gpus, missing, meter: Arc::new(Meters::new(meters)) }
    }

    /// There is something to control by: a power or a temperature.
    #[must_use]
    pub fn is_useful(&self) -> bool {
        let useful = |channel: &Channel| matches!(channel.quantity, Quantity::Power | Quantity::Temperature);
        self.meter.channels().iter().any(useful)
    }

    /// The rule for the board's total power, for people.
    #[must_use]
    pub fn total_rule(&self) -> Option<String> {
        if let Ok(power) = &self.found.power {
            return power.total.as_ref().ok().map(|total| total.rule.clone());
        }
        let channels = self.meter.channels().iter();
        let parts: Vec<&str> = channels
            .filter(|channel| channel.role == super::telemetry::Role::Total)
            .map(|channel| channel.name.as_str())
            .collect();
        (!parts.is_empty()).then(|| parts.join("+"))
    }
}
