//! Monitoring chips, by the name that their driver gives.

use crate::board::attribute::{entries, text};
use crate::board::tree::{FileTree, resolve};
use std::path::{Path, PathBuf};

/// A monitoring chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Name by its driver, such as `ina3221`.
    pub name: String,
    /// The hwmon folder, links resolved.
    pub folder: PathBuf,
}

impl Chip {
    /// A file of the chip.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Address of the device on its bus, such as `1-0040`; the folder's name where there is none.
    #[must_use]
    pub fn address(&self) -> String {
        let class = self.folder.parent().filter(|folder| folder.ends_with("hwmon"));
        // /sys/class/hwmon/hwmon3 lies below no device.
        let device = class.and_then(Path::parent).filter(|device| !device.ends_with("class"));
        let named = device.unwrap_or(&self.folder).file_name();
        named.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

/// All chips of the class, and those that only their driver or their device leads to, each once.
#[must_use]
pub fn chips(tree: &dyn FileTree) -> Vec<Chip> {
    let mut folders = entries(tree, "/sys/class/hwmon");
    let drivers = entries(tree, "/sys/bus/i2c/drivers").into_iter().filter(|path| last(path).starts_with("ina"));
    let devices = drivers.flat_map(|driver| entries(tree, &driver.to_string_lossy()));
    let devices = devices.chain(entries(tree, "/sys/devices/platform").into_iter().filter(|path| is_fan_device(path)));
    for device in devices {
        folders.extend(entries(tree, &device.join("hwmon").to_string_lossy()));
    }
    let mut chips: Vec<Chip> = Vec::new();
    for folder in folders {
        let Ok(folder) = resolve(tree, &folder) else { continue };
        // Drivers of kernel 4.x have the name at the device.
        let name = text(tree, &folder.join("name")).or_else(|_| text(tree, &folder.join("device/name")));
        if let Ok(name) = name
            && !chips.iter().any(|chip| chip.folder == folder)
        {
            chips.push(Chip { name, folder });
        }
    }
    chips
}

fn is_fan_device(path: &Path) -> bool {
    let name = last(path);
    name.starts_with("pwm-fan") || name.contains("tachometer") || name.starts_with("soctherm-oc")
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;

    #[test]
    fn a_chip_is_found_once_by_whatever_leads_to_it() {
        let tree = CapturedTree::parse(
            r#"{"files": {"/d/1-0040/hwmon/hwmon3/name": "ina3221\n", "/sys/devices/platform/pwm-fan-2/hwmon/hwmon9/name": "pwmfan\n",
                "/sys/class/hwmon/hwmon11/device/name": "tmp451\n", "/sys/class/hwmon/hwmon12/temp1_input": "1"},
            "links": {"/sys/class/hwmon/hwmon3": "/d/1-0040/hwmon/hwmon3", "/sys/bus/i2c/drivers/ina3221/1-0040": "/d/1-0040"}}"#,
        )
        .unwrap();
        let chips = chips(&tree);
        let names: Vec<_> = chips.iter().map(|chip| (chip.name.as_str(), chip.address())).collect();
        let expected = [("ina3221", "1-0040"), ("tmp451", "hwmon11"), ("pwmfan", "pwm-fan-2")];
        assert_eq!(names, expected.map(|(name, address)| (name, address.to_owned())));
    }
}
