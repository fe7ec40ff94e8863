//! Power rails behind INA sensors, and the documented total of the board.
//!
//! JetPack 4 has the driver `ina3221x` under iio, later releases the mainline driver under hwmon. A
//! Thor has an `ina238` at the board input. Sums that a driver offers (`in7`, `curr4`) and shunt
//! voltages (`in4` to `in6`) are left out; a channel named `NC` is not connected.

use super::Missing;
use super::hwmon::Chip;
use crate::board::attribute::{entries, number, text};
use crate::board::tree::{FileTree, resolve};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Channels of an INA3221.
const CHANNELS: u8 = 3;

/// The rails of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// Rails in the order of chips and channels.
    pub rails: Vec<Rail>,
    /// Names of channels that are not connected.
    pub skipped: Vec<String>,
    /// What the board takes in all.
    pub total: Result<Total, Missing>,
}

/// One rail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rail {
    /// Name by the device tree, such as `VDD_IN`; made of chip and channel where there is none.
    pub name: String,
    /// Where its power is read.
    pub source: Source,
    /// The chip averages over this time, microseconds, as far as its driver says.
    pub window_us: Option<u64>,
    /// Files that are 1 while the current is above a limit.
    pub alarms: Vec<PathBuf>,
}

/// How the power of a rail is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Millivolts times milliamperes.
    Product {
        /// Bus voltage, mV.
        millivolts: PathBuf,
        /// Current, mA; may be slightly negative.
        milliamps: PathBuf,
    },
    /// A file in milliwatts (iio).
    MilliWatts(PathBuf),
    /// A file in microwatts (hwmon).
    MicroWatts(PathBuf),
}

/// Which interface of the kernel has the rails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Mainline drivers.
    Hwmon,
    /// The driver of JetPack 3 and 4.
    Iio,
}

impl Rail {
    /// The interface behind the rail.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        match self.source {
            Source::MilliWatts(_) => Backend::Iio,
            Source::Product { .. } | Source::MicroWatts(_) => Backend::Hwmon,
        }
    }
}

/// The documented total of a board: one rail, or rails that do not contain each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// Places in [`Power::rails`].
    pub rails: Vec<usize>,
    /// The rule for people, such as `VDD_IN`.
    pub rule: String,
}

impl Power {
    pub(super) fn discover(tree: &dyn FileTree, chips: &[Chip]) -> Result<Self, Missing> {
        let mut power = Self { rails: Vec::new(), skipped: Vec::new(), total: Err(Missing::new("total", &[])) };
        // By address, not by number: a carrier's chip may have a rail of the same name as the module's, and numbers change
        // between boots. The module's chips have the lower addresses (0x40, 0x41).
        let mut chips: Vec<&Chip> = chips.iter().collect();
        chips.sort_by_cached_key(|chip| of_address(&chip.address()));
        for chip in chips {
            match chip.name.as_str() {
                "ina3221" | "ina3221x" => power.add_ina3221(tree, chip),
                name if name.starts_with("ina2") => power.add_input_meter(tree, chip),
                _ => {}
            }
        }
        for folder in iio_folders(tree) {
            power.add_iio(tree, &folder);
        }
        if power.rails.is_empty() {
            return Err(Missing::new(
                "power rails",
                &[
                    "/sys/class/hwmon/*/name = ina3221 or ina2*",
                    "/sys/bus/i2c/drivers/ina*/*/hwmon",
                    "/sys/bus/i2c/drivers/ina3221x/*/iio*",
                    "/sys/bus/iio/devices/*/name = ina3221x",
                ],
            ));
        }
        let names: Vec<&str> = power.rails.iter().map(|rail| rail.name.as_str()).collect();
        power.total = total(&names).map(|rails| Total { rule: power.rule(&rails), rails }).ok_or_else(|| {
            let have = format!("among the rails {}", names.join(", "));
            let mut missing = Missing::new("documented total", &TOTALS.map(|set| set[0]));
            missing.looked_for = vec![sets(), have];
            missing
        });
        Ok(power)
    }

    fn rule(&self, rails: &[usize]) -> String {
        if let [only] = rails
            && let Source::MicroWatts(path) = &self.rails[*only].source
        {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            return format!("ina238 {} {file} (uW)", self.rails[*only].name);
        }
        rails.iter().map(|&rail| self.rails[rail].name.as_str()).collect::<Vec<_>>().join("+")
    }

    fn add_ina3221(&mut self, tree: &dyn FileTree, chip: &Chip) {
        let window_us = window(tree, chip);
        for channel in 1..=CHANNELS {
            let voltage = chip.file(&format!("in{channel}_input"));
            let current = chip.file(&format!("curr{channel}_input"));
            if !tree.exists(&current) {
                continue;
            }
            let label = text(tree, &chip.file(&format!("in{channel}_label"))).unwrap_or_default();
            // A channel that is switched off answers ENODATA for ever.
            if number(tree, &chip.file(&format!("in{channel}_enable"))) == Ok(0) && !is_unconnected(&label) {
                continue;
            }
            let alarms = ["crit_alarm", "max_alarm"].map(|alarm| chip.file(&format!("curr{channel}_{alarm}")));
            self.add(
                chip,
                &label,
                channel,
                Rail {
                    name: String::new(),
                    source: Source::Product { millivolts: voltage, milliamps: current },
                    window_us,
                    alarms: alarms.into_iter().filter(|path| tree.exists(path)).collect(),
                },
            );
        }
    }

    /// A meter of one channel: ina219, ina226, ina230, ina238 and the like.
    fn add_input_meter(&mut self, tree: &dyn FileTree, chip: &Chip) {
        let watts = chip.file("power1_input");
        let (voltage, current) = (chip.file("in1_input"), chip.file("curr1_input"));
        let source = if tree.exists(&watts) {
            Source::MicroWatts(watts)
        } else if tree.exists(&current) {
            Source::Product { millivolts: voltage, milliamps: current }
        } else {
            return;
        };
        let labels = ["power1_label", "in1_label", "curr1_label"];
        let label = labels.iter().find_map(|name| text(tree, &chip.file(name)).ok()).unwrap_or_default();
        // The device tree of a Thor gives its meter at the board input no label.
        let label = if label.is_empty() && chip.name == "ina238" { "VIN".to_owned() } else { label };
        self.add(
            chip,
            &label,
            1,
            Rail { name: String::new(), source, window_us: window(tree, chip), alarms: Vec::new() },
        );
    }

    fn add_iio(&mut self, tree: &dyn FileTree, folder: &Path) {
        let chip = Chip { name: "ina3221x".to_owned(), folder: folder.to_owned() };
        for channel in 0..CHANNELS {
            let file = |kind: &str| chip.file(&format!("in_{kind}{channel}_input"));
            let source = if tree.exists(&file("power")) {
                Source::MilliWatts(file("power"))
            } else if tree.exists(&file("current")) {
                Source::Product { millivolts: file("voltage"), milliamps: file("current") }
            } else {
                continue;
            };
            let label = text(tree, &chip.file(&format!("rail_name_{channel}"))).unwrap_or_default();
            self.add(&chip, &label, channel, Rail { name: String::new(), source, window_us: None, alarms: Vec::new() });
        }
    }

    fn add(&mut self, chip: &Chip, label: &str, channel: u8, rail: Rail) {
        if is_unconnected(label) {
            self.skipped.push(label.to_owned());
            return;
        }
        let mut name = if label.is_empty() { format!("{}:{channel}", chip.address()) } else { label.to_owned() };
        if self.rails.iter().any(|rail| rail.name == name) {
            name = format!("{name}@{}", chip.address());
        }
        self.rails.push(Rail { name, ..rail });
    }
}

/// A channel that leads nowhere.
fn is_unconnected(label: &str) -> bool {
    label.eq_ignore_ascii_case("NC")
}

/// Sorts `7-0040` before `7-0043` and both before what has no address; what is equal keeps its order.
fn of_address(address: &str) -> (u32, String) {
    let chip = address.rsplit_once('-').and_then(|(_, chip)| u32::from_str_radix(chip, 16).ok());
    chip.map_or((u32::MAX, String::new()), |chip| (chip, address.to_owned()))
}

/// The time over which a chip averages, from milliseconds.
fn window(tree: &dyn FileTree, chip: &Chip) -> Option<u64> {
    let milliseconds = number(tree, &chip.file("update_interval")).ok()?;
    u64::try_from(milliseconds).ok()?.checked_mul(1000).filter(|&us| us > 0)
}

/// Folders of the driver `ina3221x`, each once.
fn iio_folders(tree: &dyn FileTree) -> Vec<PathBuf> {
    let drivers = entries(tree, "/sys/bus/i2c/drivers/ina3221x");
    let of_drivers = drivers.iter().flat_map(|device| entries(tree, &device.to_string_lossy()));
    let of_drivers =
        of_drivers.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("iio")));
    let of_class = entries(tree, "/sys/bus/iio/devices")
        .into_iter()
        .filter(|path| text(tree, &path.join("name")).is_ok_and(|name| name.starts_with("ina3221")));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in of_drivers.chain(of_class) {
        if let Ok(folder) = resolve(tree, &folder)
            && !folders.contains(&folder)
        {
            folders.push(folder);
        }
    }
    folders
}

/// The documented totals, first match first: the board input of TX1, TX2, TX2 NX, Xavier NX, Orin NX
/// and Nano; of Nano. AGX Orin without its carrier (`VDDQ_VDD2_1V8AO` is fed from `VIN_SYS_5V0`) and AGX
/// Xavier have no such rail. Thor by its meter at the input, and without it. That meter has no label, so a
/// carrier's ina238 would pass for it: it comes after what is known of the other modules.
/// Sources: energymon (`JetsonPowerRails`), jtop, logs of boards.
const TOTALS: [&[&str]; 6] = [
    &["VDD_IN"],
    &["POM_5V_IN"],
    &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],
    &["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
    &["VIN"],
    &["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"],
];

/// The places of the rails that make the total; `None` when no documented set is complete.
///
/// Rails contain each other, so a sum over all of them would count twice.
#[must_use]
pub fn total(rails: &[&str]) -> Option<Vec<usize>> {
    let place = |name: &&str| rails.iter().position(|rail| rail == name);
    TOTALS.iter().find_map(|set| set.iter().map(place).collect())
}

fn sets() -> String {
    let sets: Vec<String> = TOTALS.iter().map(|set| set.join("+")).collect();
    sets.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::super::hwmon::chips;
    use super::*;
    use crate::board::tree::CapturedTree;

    fn found(json: &str) -> Result<Power, Missing> {
        let tree = CapturedTree::parse(json).unwrap();
        Power::discover(&tree, &chips(&tree))
    }

    fn names(power: &Power) -> Vec<&str> {
        power.rails.iter().map(|rail| rail.name.as_str()).collect()
    }

    #[test]
    fn totals_never_count_twice() {
        for (rails, expected) in [
            (vec!["VDD_GPU", "VDD_IN", "VDD_CPU"], Some(vec![1])),
            (vec!["POM_5V_GPU", "POM_5V_IN"], Some(vec![1])),
            (vec!["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"], Some(vec![0, 1, 2])),
            (vec!["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"], Some(vec![3])),
            // A carrier's own meter is not the input of an AGX Orin or Xavier.
            (vec!["VIN", "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"], Some(vec![1, 2, 3])),
            (vec!["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V", "VIN"], Some(vec![0, 1, 2, 3, 4, 5])),
            (vec!["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"], Some(vec![0, 1, 2])),
            (vec!["CPU", "GPU", "SOC", "CV", "VDDRQ", "SYS5V"], Some(vec![1, 0, 2, 3, 4, 5])),
            (vec!["CPU", "GPU", "SOC", "CV", "VDDRQ"], None),
            (vec!["VDD_GPU_SOC", "VIN_SYS_5V0"], None),
            (vec!["VDD_SYS_GPU"], None),
            (vec![], None),
        ] {
            assert_eq!(total(&rails), expected, "{rails:?}");
        }
    }

    #[test]
    fn channels_that_are_off_or_not_connected_are_no_rails() {
        let power = found(
            r#"{"files": {"/sys/class/hwmon/hwmon4/name": "ina3221\n", "/sys/class/hwmon/hwmon4/update_interval": "430\n",
                "/sys/class/hwmon/hwmon4/in1_input": "1", "/sys/class/hwmon/hwmon4/curr1_input": "1", "/sys/class/hwmon/hwmon4/in1_label": "VDD_IN\n",
                "/sys/class/hwmon/hwmon4/curr1_crit_alarm": "0\n", "/sys/class/hwmon/hwmon4/in2_input": "1",
                "/sys/class/hwmon/hwmon4/curr2_input": "1", "/sys/class/hwmon/hwmon4/in2_label": "NC\n", "/sys/class/hwmon/hwmon4/in3_enable": "0\n",
                "/sys/class/hwmon/hwmon4/curr3_input": "1", "/sys/class/hwmon/hwmon4/in3_label": "VDD_SOC\n", "/sys/class/hwmon/hwmon4/curr4_input": "9",
                "/sys/class/hwmon/hwmon5/name": "ina3221\n", "/sys/class/hwmon/hwmon5/curr1_input": "1", "/sys/class/hwmon/hwmon5/curr2_input": "1",
                "/sys/class/hwmon/hwmon5/in2_label": "VDD_IN\n"}}"#,
        )
        .unwrap();
        assert_eq!(names(&power), ["VDD_IN", "hwmon5:1", "VDD_IN@hwmon5"]);
        assert_eq!(power.skipped, ["NC"]);
        assert_eq!(power.rails[0].window_us, Some(430_000));
        assert_eq!(power.rails[0].alarms, [Path::new("/sys/class/hwmon/hwmon4/curr1_crit_alarm")]);
        assert_eq!(power.total.unwrap().rule, "VDD_IN");
    }

    /// Both say `VDD_IN`; whichever number the kernel gives to the chips, the module's is the total.
    #[test]
    fn the_total_does_not_change_with_the_numbers_of_the_chips() {
        for (module, carrier) in [(1, 5), (5, 1), (10, 2)] {
            let chip = |hwmon: u8, address: &str, power: u32| {
                let folder = format!("/d/i2c-7/{address}/hwmon/hwmon{hwmon}");
                format!(
                    r#""{folder}/name": "ina3221", "{folder}/in1_label": "VDD_IN", "{folder}/in1_input": "1000",
                       "{folder}/curr1_input": "{power}", "{folder}/in2_label": "NC", "{folder}/in2_enable": "0",
                       "{folder}/curr2_input": "0""#
                )
            };
            let link = |hwmon: u8, address: &str| {
                format!(r#""/sys/class/hwmon/hwmon{hwmon}": "/d/i2c-7/{address}/hwmon/hwmon{hwmon}""#)
            };
            let power = found(&format!(
                r#"{{"files": {{{}, {}}}, "links": {{{}, {}}}}}"#,
                chip(module, "7-0040", 5000),
                chip(carrier, "7-0043", 18_000),
                link(module, "7-0040"),
                link(carrier, "7-0043")
            ))
            .unwrap();
            assert_eq!(names(&power), ["VDD_IN", "VDD_IN@7-0043"]);
            assert_eq!(power.total.unwrap().rails, [0]);
            assert_eq!(power.skipped, ["NC", "NC"], "not connected, switched off or not");
        }
    }

    #[test]
    fn iio_counts_from_zero_and_is_found_once() {
        let power = found(
            r#"{"files": {"/d/iio:device1/name": "ina3221x", "/d/iio:device1/rail_name_0": "VDD_SYS_GPU", "/d/iio:device1/in_power0_input": "1",
                "/d/iio:device1/rail_name_1": "VDD_IN", "/d/iio:device1/in_voltage1_input": "1", "/d/iio:device1/in_current1_input": "1"},
            "links": {"/sys/bus/i2c/drivers/ina3221x/0-0041": "/d", "/sys/bus/iio/devices/iio:device1": "/d/iio:device1"}}"#,
        )
        .unwrap();
        assert_eq!(names(&power), ["VDD_SYS_GPU", "VDD_IN"]);
        assert_eq!(power.rails[0].backend(), Backend::Iio);
        assert_eq!(power.total.unwrap().rails, [1]);
    }

    #[test]
    fn rails_without_a_rule_have_no_total() {
        let power = found(
            r#"{"files": {"/sys/class/hwmon/hwmon0/name": "ina226\n", "/sys/class/hwmon/hwmon0/power1_input": "5"}}"#,
        )
        .unwrap();
        assert_eq!(names(&power), ["hwmon0:1"]);
        let message = power.total.unwrap_err().to_string();
        assert!(message.contains("hwmon0:1") && message.contains("POM_5V_IN"), "{message}");
        assert!(found("{}").unwrap_err().to_string().contains("ina3221x"));
    }
}
