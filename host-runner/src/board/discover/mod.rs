//! What a Jetson has, found by content: by names, labels and types, never by index, because
//! numbers of hwmon chips, thermal zones and cooling devices change between boots.
//!
//! | file | subsystem |
//! |---|---|
//! | `identity` | model, module, chip, L4T release |
//! | `gpu` | the devfreq node, its clocks, its load |
//! | `hwmon` | the monitoring chips behind fan, rails and counters |
//! | `power` | rails and the documented total |
//! | `thermal` | zones and their trip points |
//! | `throttle` | alerts, caps, over-current counters |
//! | `fan` | drive and tachometer |
//! | `memory` | the clock of the memory (EMC) |
//! | `mode` | the power mode of nvpmodel |
//!
//! Discovery reads and never writes. It is done again when a node that is known to come late (the
//! GPU registers its clock at its first power-up) is still absent, or when a sampled file is gone.

pub mod fan;
pub mod gpu;
pub mod hwmon;
pub mod identity;
pub mod memory;
pub mod mode;
pub mod power;
pub mod thermal;
pub mod throttle;

use super::tree::FileTree;
use serde::Serialize;

/// Something that was looked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("no {what}; looked for {}", looked_for.join(", "))]
pub struct Missing {
    /// What it is.
    pub what: &'static str,
    /// Where it was looked for, and for what there.
    pub looked_for: Vec<String>,
}

impl Missing {
    fn new(what: &'static str, looked_for: &[&str]) -> Self {
        Self { what, looked_for: looked_for.iter().map(|&place| place.to_owned()).collect() }
    }
}

/// What was found on a board. `Err` is a named absence, never a fault: every part may be missing.
#[derive(Clone, Debug)]
pub struct Found {
    /// Model, module, chip and release.
    pub identity: identity::Identity,
    /// The GPU's clock and load.
    pub gpu: Result<gpu::Gpu, Missing>,
    /// Power rails.
    pub power: Result<power::Power, Missing>,
    /// Thermal zones.
    pub thermal: Result<thermal::Thermal, Missing>,
    /// The fan's drive.
    pub fan: Result<fan::Fan, Missing>,
    /// The fan's speed.
    pub tachometer: Result<fan::Tachometer, Missing>,
    /// Alerts and caps in force.
    pub cooling: Result<throttle::Cooling, Missing>,
    /// Counters of over-current events.
    pub over_current: Result<throttle::OverCurrent, Missing>,
    /// Memory clock.
    pub memory: Result<memory::Memory, Missing>,
    /// Power mode.
    pub mode: Result<mode::PowerMode, Missing>,
}

impl Found {
    /// Looks for everything.
    #[must_use]
    pub fn discover(tree: &dyn FileTree) -> Self {
        let chips = hwmon::chips(tree);
        Self {
            identity: identity::Identity::discover(tree),
            gpu: gpu::Gpu::discover(tree),
            power: power::Power::discover(tree, &chips),
            thermal: thermal::Thermal::discover(tree),
            fan: fan::Fan::discover(tree, &chips),
            tachometer: fan::Tachometer::discover(tree, &chips),
            cooling: throttle::Cooling::discover(tree),
            over_current: throttle::OverCurrent::discover(tree, &chips),
            memory: memory::Memory::discover(tree),
            mode: mode::PowerMode::discover(tree),
        }
    }

    /// The chip or the device tree says that this is a Jetson.
    #[must_use]
    pub fn is_jetson(&self) -> bool {
        self.identity.is_tegra() || self.identity.release.is_ok()
    }

    /// Every named absence.
    #[must_use]
    pub fn missing(&self) -> Vec<&Missing> {
        let identity = &self.identity;
        let parts = [
            identity.model.as_ref().err(),
            identity.module.as_ref().err(),
            identity.chip.as_ref().err(),
            identity.release.as_ref().err(),
            self.gpu.as_ref().err(),
            self.power.as_ref().err(),
            self.thermal.as_ref().err(),
            self.fan.as_ref().err(),
            self.tachometer.as_ref().err(),
            self.cooling.as_ref().err(),
            self.over_current.as_ref().err(),
            self.memory.as_ref().err(),
            self.mode.as_ref().err(),
        ];
        parts.into_iter().flatten().collect()
    }
}
