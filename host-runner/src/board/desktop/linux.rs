//! Plain Linux: energy counters of the processor (RAPL), clocks of its cores, temperatures and fans.

use super::rapl::{EnergyZone, energy_zones};
use crate::board::attribute::{entries, text};
use crate::board::discover::Missing;
use crate::board::discover::hwmon::{Chip, chips};
use crate::board::discover::thermal::{Kind, Thermal};
use crate::board::telemetry::{Average, Quantity, Role, TreeMeter, TreeSource};
use crate::board::tree::FileTree;
use crate::measure::counter::EnergyCounter;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What was found on a plain Linux machine.
#[derive(Clone, Debug)]
pub struct Linux {
    /// Energy counters.
    pub energy: Result<Vec<EnergyZone>, Missing>,
    /// Folders of clock policies of the processor.
    pub clocks: Result<Vec<PathBuf>, Missing>,
    /// Thermal zones.
    pub thermal: Result<Thermal, Missing>,
    /// Chips of the processor's own temperature.
    pub processor: Result<Vec<Chip>, Missing>,
    /// All other monitoring chips.
    pub chips: Vec<Chip>,
}

/// Chips that measure the processor: Intel, AMD (two drivers), VIA, Arm boards.
const PROCESSORS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "via_cputemp", "cpu_thermal"];

impl Linux {
    /// Looks for everything.
    #[must_use]
    pub fn discover(tree: &dyn FileTree) -> Self {
        let (processor, chips): (Vec<Chip>, Vec<Chip>) =
            chips(tree).into_iter().partition(|chip| PROCESSORS.contains(&chip.name.as_str()));
        let policies: Vec<PathBuf> = entries(tree, "/sys/devices/system/cpu/cpufreq")
            .into_iter()
            .filter(|policy| tree.exists(&policy.join("scaling_cur_freq")))
            .collect();
        let missing = |what, places: &[&str]| Missing {
            what,
            looked_for: places.iter().map(|&place| place.to_owned()).collect(),
        };
        Self {
            energy: energy_zones(tree),
            clocks: if policies.is_empty() {
                Err(missing("processor clocks", &["/sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq"]))
            } else {
                Ok(policies)
            },
            thermal: Thermal::discover(tree),
            processor: if processor.is_empty() {
                let place = format!("/sys/class/hwmon/*/name = {}", PROCESSORS.join(", "));
                Err(missing("processor temperature", &[place.as_str()]))
            } else {
                Ok(processor)
            },
            chips,
        }
    }

    /// Every named absence.
    #[must_use]
    pub fn missing(&self) -> Vec<&Missing> {
        let parts = [
            self.energy.as_ref().err(),
            self.clocks.as_ref().err(),
            self.thermal.as_ref().err(),
            self.processor.as_ref().err(),
        ];
        parts.into_iter().flatten().collect()
    }

    /// The channels.
    #[must_use]
    pub fn meter(&self, tree: &Arc<dyn FileTree>) -> TreeMeter {
        let mut meter = TreeMeter::new(Arc::clone(tree));
        for zone in self.energy.iter().flatten() {
            let role = if zone.counts { Role::Total } else { Role::Shown };
            let source = TreeSource::Energy(zone.energy.clone(), Mutex::new(EnergyCounter::new(zone.highest_uj)));
            meter.add(&zone.name, Quantity::Power, role, Average::SinceLast, source);
        }
        for chip in self.processor.iter().flatten() {
            add_chip(&mut meter, &**tree, chip, Role::Temperature);
        }
        let zones = self.thermal.as_ref().map_or(&[][..], |thermal| &thermal.zones);
        for zone in zones.iter().filter(|zone| zone.kind != Kind::Dummy) {
            let counts = zone.kind == Kind::Board && self.processor.is_err();
            let role = if counts { Role::Temperature } else { Role::Shown };
            let source = TreeSource::Temperature(zone.temperature.clone());
            meter.add(&zone.name, Quantity::Temperature, role, Average::Moment, source);
        }
        for policy in self.clocks.iter().flatten() {
            let name = policy.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let source = TreeSource::Number(policy.join("scaling_cur_freq"));
            meter.add(&name, Quantity::Clock, Role::Shown, Average::Moment, source);
        }
        for chip in &self.chips {
            add_chip(&mut meter, &**tree, chip, Role::Shown);
        }
        meter
    }
}

/// Temperatures and fan speeds of a chip.
fn add_chip(meter: &mut TreeMeter, tree: &dyn FileTree, chip: &Chip, role: Role) {
    for file in entries(tree, &chip.folder.to_string_lossy()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(input) = name.strip_suffix("_input") else { continue };
        let label = text(tree, &chip.file(&format!("{input}_label"))).unwrap_or_else(|_| input.to_owned());
        let label = format!("{}/{label}", chip.name);
        if input.starts_with("temp") {
            meter.add(&label, Quantity::Temperature, role, Average::Moment, TreeSource::Temperature(file));
        } else if input.starts_with("fan") {
            meter.add(&label, Quantity::FanSpeed, Role::Shown, Average::Moment, TreeSource::Number(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::telemetry::Meter as _;
    use crate::board::tree::CapturedTree;
    use controller_core::telemetry::Absence;

    const LAPTOP: &str = r#"{"files": {
        "/p/intel-rapl:0/name": "package-0", "/p/intel-rapl:0/energy_uj": "5", "/p/intel-rapl:0/max_energy_range_uj": "262143328850",
        "/p/intel-rapl:0/intel-rapl:0:0/name": "core", "/p/intel-rapl:0/intel-rapl:0:0/energy_uj": "1", "/p/intel-rapl:0/intel-rapl:0:0/max_energy_range_uj": "262143328850",
        "/p/intel-rapl:0/intel-rapl:0:1/name": "dram", "/p/intel-rapl:0/intel-rapl:0:1/energy_uj": "2", "/p/intel-rapl:0/intel-rapl:0:1/max_energy_range_uj": "65712999613",
        "/m/intel-rapl-mmio:0/name": "package-0", "/m/intel-rapl-mmio:0/energy_uj": "5", "/m/intel-rapl-mmio:0/max_energy_range_uj": "262143328850",
        "/sys/class/hwmon/hwmon3/name": "coretemp", "/sys/class/hwmon/hwmon3/temp1_input": "51000", "/sys/class/hwmon/hwmon3/temp1_label": "Package id 0",
        "/sys/class/hwmon/hwmon4/name": "thinkpad", "/sys/class/hwmon/hwmon4/fan1_input": "2000", "/sys/class/hwmon/hwmon4/temp1_input": "40000",
        "/sys/class/thermal/thermal_zone0/type": "x86_pkg_temp", "/sys/class/thermal/thermal_zone0/temp": "51000",
        "/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1400000", "/sys/devices/system/cpu/cpufreq/boost": "1"},
        "links": {"/sys/class/powercap/intel-rapl:0": "/p/intel-rapl:0", "/sys/class/powercap/intel-rapl:0:0": "/p/intel-rapl:0/intel-rapl:0:0",
        "/sys/class/powercap/intel-rapl:0:1": "/p/intel-rapl:0/intel-rapl:0:1", "/sys/class/powercap/intel-rapl-mmio:0": "/m/intel-rapl-mmio:0"}}"#;

    fn found(json: &str) -> (Arc<dyn FileTree>, Linux) {
        let tree: Arc<dyn FileTree> = Arc::new(CapturedTree::parse(json).unwrap());
        let linux = Linux::discover(&*tree);
        (tree, linux)
    }

    fn counted(json: &str) -> Vec<(String, bool)> {
        found(json).1.energy.unwrap().into_iter().map(|zone| (zone.name, zone.counts)).collect()
    }

    #[test]
    fn a_laptop_has_packages_and_what_is_apart_from_them() {
        let zones = [("package-0", true), ("package-0/core", false), ("package-0/dram", true)];
        assert_eq!(counted(LAPTOP), zones.map(|(name, counts)| (name.to_owned(), counts)));
        let whole =
            LAPTOP.replace("\"/m/intel-rapl-mmio:0/name\": \"package-0\"", "\"/m/intel-rapl-mmio:0/name\": \"psys\"");
        let total: Vec<String> =
            counted(&whole).into_iter().filter(|(_, counts)| *counts).map(|(name, _)| name).collect();
        assert_eq!(total, ["psys"]);
    }

    #[test]
    fn its_channels_have_their_roles() {
        let (tree, linux) = found(LAPTOP);
        assert!(linux.missing().is_empty());
        let meter = linux.meter(&tree);
        let of = |role: Role, quantity: Quantity| -> Vec<&str> {
            let channels =
                meter.channels().iter().filter(|channel| channel.role == role && channel.quantity == quantity);
            channels.map(|channel| channel.name.as_str()).collect()
        };
        assert_eq!(of(Role::Temperature, Quantity::Temperature), ["coretemp/Package id 0"]);
        assert_eq!(of(Role::Shown, Quantity::Temperature), ["x86_pkg_temp", "thinkpad/temp1"]);
        assert_eq!(of(Role::Shown, Quantity::Clock), ["policy0"]);
        assert_eq!(of(Role::Shown, Quantity::FanSpeed), ["thinkpad/fan1"]);
        assert_eq!(meter.read(0), Err(Absence::NotYetRead), "a counter has no power at its first value");
    }

    #[test]
    fn a_counter_that_is_refused_says_so() {
        let json = r#"{"files": {"/sys/class/powercap/intel-rapl:0/name": "package-0"}, "errors": {"/sys/class/powercap/intel-rapl:0/energy_uj": "EACCES"}}"#;
        let message = found(json).1.energy.unwrap_err().to_string();
        assert!(message.contains("run as root"), "{message}");
        assert_eq!(found("{}").1.missing().len(), 4);
    }
}
