//! Signs of throttling: cooling devices in force and counters of over-current events.

use super::Missing;
use super::hwmon::Chip;
use crate::board::attribute::{entries, text};
use crate::board::tree::FileTree;
use serde::Serialize;
use std::path::PathBuf;

/// Cooling devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Devices in the order of their numbers.
    pub devices: Vec<CoolingDevice>,
}

/// One cooling device of the thermal core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoolingDevice {
    /// Type, such as `gpu-throttle-alert`.
    pub name: String,
    /// File of its state; 0 is idle.
    pub state: PathBuf,
    /// What it does.
    pub kind: CoolingKind,
}

/// What a cooling device does while its state is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CoolingKind {
    /// Says that the firmware throttles a unit.
    Throttling,
    /// Another word of warning: the case is too hot to touch.
    Alert,
    /// Caps the GPU's clock.
    GpuCap,
    /// Caps another clock.
    Cap,
    /// Drives a fan.
    Fan,
    /// Anything else.
    Other,
}

/// Counters of over-current events since boot. Each read is a message to the board's firmware,
/// which publishes every two seconds or so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverCurrent {
    /// OC1 (under-voltage), OC2 (average power), OC3 (peaks), ... in this order.
    pub counters: Vec<PathBuf>,
}

impl Cooling {
    pub(super) fn discover(tree: &dyn FileTree) -> Result<Self, Missing> {
        let folders =
            entries(tree, "/sys/class/thermal").into_iter().chain(entries(tree, "/sys/devices/virtual/thermal"));
        let mut devices: Vec<CoolingDevice> = Vec::new();
        let mut seen = Vec::new();
        for folder in folders {
            let number = folder.file_name().unwrap_or_default().to_owned();
            if !number.to_string_lossy().starts_with("cooling_device") || seen.contains(&number) {
                continue;
            }
            seen.push(number);
            if let Ok(name) = text(tree, &folder.join("type")) {
                devices.push(CoolingDevice { kind: kind(&name), name, state: folder.join("cur_state") });
            }
        }
        if devices.is_empty() {
            return Err(Missing::new("cooling devices", &["/sys/class/thermal/cooling_device*/type"]));
        }
        Ok(Self { devices })
    }
}

fn kind(name: &str) -> CoolingKind {
    let name = name.to_ascii_lowercase();
    if name.ends_with("-throttle-alert") {
        CoolingKind::Throttling
    } else if name.ends_with("-alert") {
        CoolingKind::Alert
    } else if name.contains("fan") {
        CoolingKind::Fan
    } else if name.contains("gpu") || ["ga10b", "gv11b", "gp10b", "gm20b"].iter().any(|chip| name.contains(chip)) {
        CoolingKind::GpuCap
    // `gpu-balanced`, `cpu-balanced`, `emergency-balanced`: the throttle of JetPack 4.
    } else if name.starts_with("devfreq-") || name.starts_with("cpufreq-") || name.ends_with("-balanced") {
        CoolingKind::Cap
    } else {
        CoolingKind::Other
    }
}

impl OverCurrent {
    pub(super) fn discover(tree: &dyn FileTree, chips: &[Chip]) -> Result<Self, Missing> {
        let missing = || {
            Missing::new(
                "over-current counters",
                &["/sys/class/hwmon/*/name = soctherm_oc with oc*_event_cnt (Orin, Thor) or oc*_irq_cnt (Xavier)"],
            )
        };
        let chip = chips.iter().find(|chip| chip.name == "soctherm_oc").ok_or_else(missing)?;
        let of_suffix = |suffix: &str| -> Vec<PathBuf> {
            let files = entries(tree, &chip.folder.to_string_lossy()).into_iter();
            files
                .filter(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    let number = name.strip_prefix("oc").and_then(|rest| rest.strip_suffix(suffix));
                    number.is_some_and(|number| number.parse::<u8>().is_ok())
                })
                .collect()
        };
        let found = ["_event_cnt", "_irq_cnt"].into_iter().map(of_suffix).find(|files| !files.is_empty());
        found.map(|counters| Self { counters }).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hwmon::chips;
    use super::*;
    use crate::board::tree::CapturedTree;

    #[test]
    fn cooling_devices_are_told_apart() {
        for (name, expected) in [
            ("gpu-throttle-alert", CoolingKind::Throttling),
            ("soc012-throttle-alert", CoolingKind::Throttling),
            ("hot-surface-alert", CoolingKind::Alert),
            ("devfreq-17000000.ga10b", CoolingKind::GpuCap),
            ("devfreq-gpu-gpc-0", CoolingKind::GpuCap),
            ("gpu-balanced", CoolingKind::GpuCap),
            ("cpufreq-cpu4", CoolingKind::Cap),
            ("cpu-balanced", CoolingKind::Cap),
            ("pwm-fan", CoolingKind::Fan),
            ("Processor", CoolingKind::Other),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn counters_of_both_generations_are_in_order() {
        for (suffix, count) in [("event_cnt", 3), ("irq_cnt", 6)] {
            let files: Vec<String> =
                (1..=count).rev().map(|n| format!(r#""/sys/class/hwmon/hwmon0/oc{n}_{suffix}": "0""#)).collect();
            let json = format!(
                r#"{{"files": {{"/sys/class/hwmon/hwmon0/name": "soctherm_oc", "/sys/class/hwmon/hwmon0/oc1_throt_en": "1", {}}}}}"#,
                files.join(",")
            );
            let tree = CapturedTree::parse(&json).unwrap();
            let counters = OverCurrent::discover(&tree, &chips(&tree)).unwrap().counters;
            let names: Vec<String> = (1..=count).map(|n| format!("/sys/class/hwmon/hwmon0/oc{n}_{suffix}")).collect();
            assert_eq!(counters, names.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
    }

    #[test]
    fn absent_signs_are_named() {
        let tree = CapturedTree::parse("{}").unwrap();
        assert!(Cooling::discover(&tree).unwrap_err().to_string().contains("cooling_device*"));
        assert!(OverCurrent::discover(&tree, &[]).unwrap_err().to_string().contains("soctherm_oc"));
    }
}
