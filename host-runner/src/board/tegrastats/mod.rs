//! NVIDIA's `tegrastats`: its lines, from every release between L4T R24 (TX1) and R39 (Thor), and
//! the program itself as a source where sysfs cannot be read.
//!
//! The text has no grammar of its own. It changed with nearly every release, and names mean different
//! things by what follows them: `GPU 95/95` is a rail, `GPU@54.5C` a zone. So a line is read as words;
//! what a word is follows from its shape, in any order, and a word that means nothing is left out.
//! What a line does not say is absent, never 0.

mod json;
mod meter;
mod parse;
mod source;

pub use meter::TegrastatsMeter;
pub use source::{SourceError, Stamped, Tegrastats};

use crate::board::discover::power;
use controller_core::units::MilliCelsius;

/// What one line says. `None` and empty lists are what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Local time without zone, `MM-DD-YYYY HH:MM:SS`, as printed since R35. It may jump.
    pub timestamp: Option<String>,
    /// Main memory, MB.
    pub ram: Option<Usage>,
    /// Largest free blocks of the main memory.
    pub free_blocks: Option<FreeBlocks>,
    /// Swap, MB.
    pub swap: Option<Usage>,
    /// Part of the swap that is cached, MB.
    pub swap_cached_mb: Option<u64>,
    /// On-chip memory, kB.
    pub iram: Option<Usage>,
    /// Cores in order; `None` for one that is off.
    pub cpus: Vec<Option<Core>>,
    /// Memory controller.
    pub emc: Option<Rate>,
    /// GPU.
    pub gr3d: Option<Rate>,
    /// Second GPU entry of R35, often without meaning.
    pub gr3d2: Option<Rate>,
    /// Engines (video, vision, ...) by name, in the order of the line.
    pub engines: Vec<(String, Engine)>,
    /// Names with one number, such as `APE 174`, `MTS_fg`, `MTS_bg`, `EDP_limit`.
    pub plain: Vec<(String, u64)>,
    /// Temperatures by zone. A zone at -256 °C is in `offline` instead.
    pub temperatures: Vec<(String, Temperature)>,
    /// Zones that have no power.
    pub offline: Vec<String>,
    /// Rails by name.
    pub rails: Vec<(String, Rail)>,
    /// Channels that are not connected (`NC`).
    pub not_connected: u32,
}

/// Used and all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Used.
    pub used: u64,
    /// In all.
    pub total: u64,
}

/// The largest free blocks (`lfb 37x4MB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeBlocks {
    /// How many.
    pub count: u64,
    /// Size of each, kB.
    pub block_kb: u64,
}

/// A core that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// Load, per cent.
    pub load: u64,
    /// Clock, MHz.
    pub freq_mhz: Option<u64>,
}

/// Load and clocks of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Load, per cent; absent where the release prints clocks only (R38).
    pub load: Option<u64>,
    /// Clocks, MHz, one for each cluster; absent without root.
    pub freq_mhz: Option<Vec<u64>>,
}

/// State of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// It has no clock.
    Off,
    /// It has one.
    On(Rate),
}

/// A temperature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temperature {
    /// Now.
    pub now: MilliCelsius,
    /// Highest since the program started (R39).
    pub peak: Option<MilliCelsius>,
}

/// Power of a rail, mW; idle rails may be slightly below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rail {
    /// Now.
    pub now_mw: i64,
    /// Mean since the program started.
    pub mean_mw: Option<i64>,
    /// Highest since the program started (R39).
    pub peak_mw: Option<i64>,
}

impl Line {
    /// Reads one line. Any text is a line; a text of another kind is one that says nothing.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        parse::parse(line)
    }

    /// The line says at least one thing.
    #[must_use]
    pub fn says_something(&self) -> bool {
        *self != Self::default()
    }

    /// The board's total power, mW, by the documented rule for its rails, and the rule.
    #[must_use]
    pub fn total_mw(&self) -> Option<(i64, String)> {
        let names: Vec<&str> = self.rails.iter().map(|(name, _)| name.as_str()).collect();
        let rails = power::total(&names)?;
        let rule: Vec<&str> = rails.iter().map(|&rail| names[rail]).collect();
        Some((rails.iter().map(|&rail| self.rails[rail].1.now_mw).fold(0, i64::saturating_add), rule.join("+")))
    }

    /// The highest temperature of the zones that are no constants.
    #[must_use]
    pub fn max_temperature(&self) -> Option<MilliCelsius> {
        let zones = self.temperatures.iter().filter(|(name, temperature)| !is_dummy(name, temperature.now));
        zones.map(|(_, temperature)| temperature.now).max()
    }

    /// Zones that show a constant.
    pub fn dummy_zones(&self) -> impl Iterator<Item = &str> {
        self.temperatures
            .iter()
            .filter(|(name, temperature)| is_dummy(name, temperature.now))
            .map(|(name, _)| name.as_str())
    }

    /// The GPU has no power: it prints clocks and all of them are 0.
    #[must_use]
    pub fn gpu_gated(&self) -> bool {
        let clocks = self.gr3d.as_ref().and_then(|gpu| gpu.freq_mhz.as_deref()).unwrap_or_default();
        !clocks.is_empty() && clocks.iter().all(|&clock| clock == 0)
    }
}

/// The power management chip shows 50 or 100 °C for ever, the charger of other Tegra boards 115 °C.
fn is_dummy(name: &str, temperature: MilliCelsius) -> bool {
    (name.starts_with("PMIC") && matches!(temperature.0, 50_000 | 100_000))
        || (name == "Charger" && temperature.0 == 115_000)
}

#[cfg(test)]
mod tests;
