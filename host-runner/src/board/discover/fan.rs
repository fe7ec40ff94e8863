//! The fan's drive and its tachometer, which are different chips.

use super::Missing;
use super::hwmon::Chip;
use crate::board::tree::{FileTree, resolve};
use serde::Serialize;
use std::path::PathBuf;

/// The fan's drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fan {
    /// The interface.
    pub kind: FanKind,
    /// File that takes a new drive, 0 to 255.
    pub pwm: PathBuf,
    /// File that says what drives the fan now; on JetPack 4 it follows `pwm` in steps.
    pub drive: PathBuf,
    /// Control mode of the output, where the driver has one. 0 cuts the output: it is not "manual".
    pub enable: Option<PathBuf>,
    /// 1 while the kernel's table drives the fan (JetPack 4).
    pub temperature_control: Option<PathBuf>,
    /// Drives of further fans, in the order of their chips.
    pub others: Vec<PathBuf>,
}

/// The interface of a fan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FanKind {
    /// hwmon, JetPack 5 and later.
    #[serde(rename = "hwmon")]
    Hwmon,
    /// `/sys/devices/pwm-fan`, JetPack 4.
    #[serde(rename = "jp4_pwmfan")]
    PwmFan,
}

/// The fan's speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tachometer {
    /// File of the speed, revolutions per minute. It follows the drive with seconds of delay.
    pub rpm: PathBuf,
}

/// Folders of the fan on `JetPack` 4.
const PWM_FANS: [&str; 3] = ["/sys/devices/pwm-fan", "/sys/devices/platform/pwm-fan", "/sys/kernel/debug/tegra_fan"];

/// Chips that drive fans on Jetsons and their carrier boards, those of the module first.
const FAN_CHIPS: [&str; 4] = ["pwmfan", "pwm-fan", "f75308", "emc2305"];

impl Fan {
    pub(super) fn discover(tree: &dyn FileTree, chips: &[Chip]) -> Result<Self, Missing> {
        let mut drives = Vec::new();
        for name in FAN_CHIPS {
            for chip in chips.iter().filter(|chip| chip.name == name) {
                drives.extend(outputs(tree, chip));
            }
        }
        if drives.is_empty() {
            drives =
                chips.iter().filter(|chip| chip.name.contains("fan")).flat_map(|chip| outputs(tree, chip)).collect();
        }
        if !drives.is_empty() {
            let pwm = drives.remove(0);
            let mut enable = pwm.clone().into_os_string();
            enable.push("_enable");
            let enable = PathBuf::from(enable);
            return Ok(Self {
                kind: FanKind::Hwmon,
                drive: pwm.clone(),
                pwm,
                enable: tree.exists(&enable).then_some(enable),
                temperature_control: None,
                others: drives,
            });
        }
        let folder = older_folders(chips).find(|folder| tree.exists(&folder.join("target_pwm")));
        let folder = folder.and_then(|folder| resolve(tree, &folder).ok()).ok_or_else(|| {
            let chips = format!("/sys/class/hwmon/*/name = {} with pwm1", FAN_CHIPS.join(", "));
            let older = "target_pwm in /sys/devices/pwm-fan, /sys/kernel/debug/tegra_fan, /sys/class/hwmon/*";
            Missing::new("fan", &[chips.as_str(), older])
        })?;
        let there = |name: &str| Some(folder.join(name)).filter(|path| tree.exists(path));
        let pwm = folder.join("target_pwm");
        Ok(Self {
            kind: FanKind::PwmFan,
            drive: there("cur_pwm").unwrap_or_else(|| pwm.clone()),
            pwm,
            enable: None,
            temperature_control: there("temp_control"),
            others: Vec::new(),
        })
    }
}

/// Where the files of `JetPack` 4 may be: kernels before 5 have them at the device or in its hwmon folder.
fn older_folders(chips: &[Chip]) -> impl Iterator<Item = PathBuf> {
    PWM_FANS.iter().map(PathBuf::from).chain(chips.iter().map(|chip| chip.folder.clone()))
}

/// The outputs of a chip.
fn outputs(tree: &dyn FileTree, chip: &Chip) -> Vec<PathBuf> {
    (1..=8).map(|number| chip.file(&format!("pwm{number}"))).filter(|path| tree.exists(path)).collect()
}

impl Tachometer {
    pub(super) fn discover(tree: &dyn FileTree, chips: &[Chip]) -> Result<Self, Missing> {
        let named = |names: &'static [&'static str]| chips.iter().filter(|chip| names.contains(&chip.name.as_str()));
        let meters = named(&["pwm_tach", "tachometer"]).flat_map(|chip| [chip.file("rpm"), chip.file("fan1_input")]);
        let drives = named(&FAN_CHIPS).map(|chip| chip.file("fan1_input"));
        let older = older_folders(chips).map(|folder| folder.join("rpm_measured"));
        // Drivers have changed the chip's name, never the file's.
        let others = chips.iter().map(|chip| chip.file("rpm"));
        let found = meters.chain(drives).chain(others).chain(older).find(|path| tree.exists(path));
        found.map(|rpm| Self { rpm }).ok_or_else(|| {
            let places = [
                "/sys/class/hwmon/*/name = pwm_tach with rpm",
                "fan1_input beside the fan",
                "rpm_measured in /sys/devices/pwm-fan",
            ];
            Missing::new("tachometer", &places)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::hwmon::chips;
    use super::*;
    use crate::board::tree::CapturedTree;
    use std::path::Path;

    fn found(json: &str) -> (Result<Fan, Missing>, Result<Tachometer, Missing>) {
        let tree = CapturedTree::parse(json).unwrap();
        let chips = chips(&tree);
        (Fan::discover(&tree, &chips), Tachometer::discover(&tree, &chips))
    }

    #[test]
    fn two_fans_and_a_control_mode_are_seen() {
        let (fan, meter) = found(
            r#"{"files": {"/sys/class/hwmon/hwmon10/name": "pwmfan", "/sys/class/hwmon/hwmon10/pwm1": "5", "/sys/class/hwmon/hwmon2/name": "pwmfan",
                "/sys/class/hwmon/hwmon2/pwm1": "6", "/sys/class/hwmon/hwmon2/pwm1_enable": "1", "/sys/class/hwmon/hwmon3/name": "pwm_tach",
                "/sys/class/hwmon/hwmon3/rpm": "1", "/sys/class/hwmon/hwmon0/name": "nct6775", "/sys/class/hwmon/hwmon0/pwm1": "1"}}"#,
        );
        let fan = fan.unwrap();
        assert_eq!((fan.kind, fan.pwm.as_path()), (FanKind::Hwmon, Path::new("/sys/class/hwmon/hwmon2/pwm1")));
        assert_eq!(fan.enable.as_deref(), Some(Path::new("/sys/class/hwmon/hwmon2/pwm1_enable")));
        assert_eq!(fan.others, [Path::new("/sys/class/hwmon/hwmon10/pwm1")]);
        assert_eq!(meter.unwrap().rpm, Path::new("/sys/class/hwmon/hwmon3/rpm"));
    }

    #[test]
    fn the_fan_of_jetpack_4_has_a_target_and_a_drive() {
        let (fan, meter) = found(
            r#"{"files": {"/sys/devices/pwm-fan/target_pwm": "80", "/sys/devices/pwm-fan/cur_pwm": "70", "/sys/devices/pwm-fan/temp_control": "1",
                "/sys/devices/pwm-fan/rpm_measured": "2350"}}"#,
        );
        let fan = fan.unwrap();
        assert_eq!((fan.kind, fan.drive.as_path()), (FanKind::PwmFan, Path::new("/sys/devices/pwm-fan/cur_pwm")));
        assert!(fan.temperature_control.is_some());
        assert!(meter.is_ok());
    }

    #[test]
    fn the_fan_of_jetpack_4_may_lie_in_its_hwmon_folder() {
        let (fan, meter) = found(
            r#"{"files": {"/d/pwm-fan/hwmon/hwmon1/name": "pwm-fan", "/d/pwm-fan/hwmon/hwmon1/target_pwm": "80",
                "/d/pwm-fan/hwmon/hwmon1/temp_control": "1", "/d/pwm-fan/hwmon/hwmon1/rpm_measured": "2350"},
            "links": {"/sys/class/hwmon/hwmon1": "/d/pwm-fan/hwmon/hwmon1"}}"#,
        );
        let fan = fan.unwrap();
        assert_eq!((fan.kind, fan.pwm.as_path()), (FanKind::PwmFan, Path::new("/d/pwm-fan/hwmon/hwmon1/target_pwm")));
        assert!(fan.temperature_control.is_some());
        assert_eq!(meter.unwrap().rpm, Path::new("/d/pwm-fan/hwmon/hwmon1/rpm_measured"));
    }

    #[test]
    fn a_board_without_fan_says_where_one_would_be() {
        let (fan, meter) = found("{}");
        assert!(fan.unwrap_err().to_string().contains("pwmfan"));
        assert!(meter.unwrap_err().to_string().contains("pwm_tach"));
    }
}
