//! Thermal zones, by their type, with their trip points.

use super::Missing;
use crate::board::attribute::{entries, number, text};
use crate::board::tree::FileTree;
use controller_core::units::MilliCelsius;
use serde::Serialize;
use std::path::{Path, PathBuf};

const CLASS: &str = "/sys/class/thermal";
const VIRTUAL: &str = "/sys/devices/virtual/thermal";

/// The zones of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thermal {
    /// Zones in the order of their numbers.
    pub zones: Vec<Zone>,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Type, such as `gpu-thermal`; a second zone of the same type has the folder's name after it.
    pub name: String,
    /// File of the temperature, m°C.
    pub temperature: PathBuf,
    /// What it measures.
    pub kind: Kind,
    /// Trip points in the order of their numbers.
    pub trips: Vec<Trip>,
}

/// What a zone measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The chip and its board: counts for control.
    Board,
    /// Something else in the box, such as a radio: shown only.
    Other,
    /// A constant: `PMIC-Die` of Jetsons (50 or 100 °C).
    Dummy,
}

/// A trip point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trip {
    /// `passive`, `active`, `hot` or `critical`.
    pub kind: String,
    /// Where it trips.
    pub temperature: MilliCelsius,
    /// How far below it releases.
    pub hysteresis: MilliCelsius,
}

impl Thermal {
    /// Looks for zones.
    pub fn discover(tree: &dyn FileTree) -> Result<Self, Missing> {
        let mut zones = zones(tree, CLASS);
        if zones.is_empty() {
            zones = self::zones(tree, VIRTUAL);
        }
        if zones.is_empty() {
            return Err(Missing::new(
                "thermal zones",
                &["/sys/class/thermal/thermal_zone*/type", "/sys/devices/virtual/thermal"],
            ));
        }
        Ok(Self { zones })
    }

    /// Where a controller should step in: 5 K below the lowest passive trip point of the board,
    /// else 10 K below the lowest critical one.
    #[must_use]
    pub fn soft_limit(&self) -> Option<MilliCelsius> {
        let lowest = |kind: &str| {
            let board = self.zones.iter().filter(|zone| zone.kind == Kind::Board);
            let trips = board.flat_map(|zone| &zone.trips).filter(|trip| trip.kind == kind);
            // A trip point that is switched off has a number at or below zero.
            trips.map(|trip| trip.temperature.0).filter(|&temperature| temperature > 0).min()
        };
        let below = |trip: Option<i32>, margin: i32| trip.map(|trip| MilliCelsius(trip.saturating_sub(margin)));
        below(lowest("passive"), 5_000).or_else(|| below(lowest("critical"), 10_000))
    }
}

fn zones(tree: &dyn FileTree, class: &str) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    for folder in entries(tree, class) {
        let number = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !number.starts_with("thermal_zone") {
            continue;
        }
        let mut name = text(tree, &folder.join("type")).unwrap_or_else(|_| number.clone());
        let kind = kind(&name);
        if zones.iter().any(|zone| zone.name == name) {
            name = format!("{name}@{number}");
        }
        zones.push(Zone { name, temperature: folder.join("temp"), kind, trips: trips(tree, &folder) });
    }
    zones
}

fn trips(tree: &dyn FileTree, folder: &Path) -> Vec<Trip> {
    let files = entries(tree, &folder.to_string_lossy());
    let names = files.iter().filter_map(|path| path.file_name()?.to_str());
    let numbers = names.filter_map(|name| name.strip_prefix("trip_point_")?.strip_suffix("_temp"));
    let read = |trip: &str, what: &str| {
        let value = number(tree, &folder.join(format!("trip_point_{trip}_{what}"))).ok()?;
        i32::try_from(value).ok().map(MilliCelsius)
    };
    numbers
        .filter_map(|trip| {
            let kind = text(tree, &folder.join(format!("trip_point_{trip}_type"))).ok()?;
            Some(Trip { kind, temperature: read(trip, "temp")?, hysteresis: read(trip, "hyst").unwrap_or_default() })
        })
        .collect()
}

/// Zones of Tegra end in `-therm`, `-thermal` or `_tegra`; `thermal-fan-est` is their weighted mean.
/// Of other machines, those of the processor count.
fn kind(name: &str) -> Kind {
    if name.eq_ignore_ascii_case("PMIC-Die") {
        return Kind::Dummy;
    }
    let name = name.to_ascii_lowercase();
    let tegra = name.ends_with("-therm") || name.ends_with("-thermal") || name.ends_with("_tegra");
    let named = [
        "thermal-fan-est",
        "tdiode",
        "tboard",
        "x86_pkg_temp",
        "tcpu",
        "acpitz",
        "cpu_thermal",
        "gpu_thermal",
        "soc_thermal",
    ];
    let board = tegra || named.iter().any(|known| name.starts_with(known));
    if board && !is_foreign(&name) { Kind::Board } else { Kind::Other }
}

/// The zone of a radio, a drive or a battery: it says nothing about the chip.
#[must_use]
pub fn is_foreign(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["iwlwifi", "wifi", "nvme", "ath", "mt7", "rtw", "battery", "charger"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;
    use std::fmt::Write as _;

    fn found(json: &str) -> Thermal {
        Thermal::discover(&CapturedTree::parse(json).unwrap()).unwrap()
    }

    #[test]
    fn zones_are_named_by_type_and_known_by_it() {
        let zones = found(
            r#"{"files": {"/sys/class/thermal/thermal_zone10/type": "cpu-thermal\n", "/sys/class/thermal/thermal_zone2/type": "iwlwifi_1\n",
                "/sys/class/thermal/thermal_zone3/type": "PMIC-Die\n", "/sys/class/thermal/thermal_zone4/type": "cpu-thermal\n",
                "/sys/class/thermal/thermal_zone5/temp": "1\n", "/sys/class/thermal/cooling_device0/type": "pwm-fan\n"}}"#,
        )
        .zones;
        let names: Vec<_> = zones.iter().map(|zone| (zone.name.as_str(), zone.kind)).collect();
        let expected = [
            ("iwlwifi_1", Kind::Other),
            ("PMIC-Die", Kind::Dummy),
            ("cpu-thermal", Kind::Board),
            ("thermal_zone5", Kind::Other),
            ("cpu-thermal@thermal_zone10", Kind::Board),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_soft_limit_is_below_the_lowest_trip_that_counts() {
        let zone = |number: u8, name: &str, trips: &[(&str, i32)]| {
            let folder = format!("/sys/class/thermal/thermal_zone{number}");
            let mut files = format!(r#""{folder}/type": "{name}\n""#);
            for (place, (kind, temperature)) in trips.iter().enumerate() {
                let trip = format!("{folder}/trip_point_{place}");
                write!(files, r#","{trip}_type": "{kind}\n","{trip}_temp": "{temperature}\n""#).unwrap();
            }
            files
        };
        for (zones, limit) in [
            (
                vec![zone(0, "CPU-therm", &[("critical", 96_000), ("passive", 90_500), ("active", 50_000)])],
                Some(85_500),
            ),
            (vec![zone(0, "tj-thermal", &[("critical", 114_500)])], Some(104_500)),
            (
                vec![
                    zone(0, "a-therm", &[("passive", -1), ("critical", 100_000)]),
                    zone(1, "PMIC-Die", &[("critical", 20_000)]),
                ],
                Some(90_000),
            ),
            (vec![zone(0, "nvme-thermal", &[("critical", 80_000)])], None),
            (vec![zone(0, "AO-therm", &[("active", 80_000)])], None),
        ] {
            let thermal = found(&format!(r#"{{"files": {{{}}}}}"#, zones.join(",")));
            assert_eq!(thermal.soft_limit(), limit.map(MilliCelsius), "{zones:?}");
        }
    }
}
