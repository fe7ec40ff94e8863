//! A chip may get another number while we run: `hwmon2` becomes `hwmon4` when its driver is loaded again.

use super::tree::FileTree;
use std::path::{Path, PathBuf};

/// The file of the same name in whatever hwmon folder its device has now; `None` when the path is no
/// chip's, or nothing is there.
#[must_use]
pub fn find(tree: &dyn FileTree, path: &Path) -> Option<PathBuf> {
    let (folder, file) = (path.parent()?, path.file_name()?);
    let device = folder.parent().filter(|device| device.ends_with("hwmon"))?;
    let names = tree.list(device).ok()?;
    names.iter().map(|name| device.join(name).join(file)).find(|path| tree.exists(path))
}

#[cfg(test)]
mod tests {
    use super::super::tree::CapturedTree;
    use super::*;

    #[test]
    fn a_chip_is_found_below_its_device_and_nothing_else_is() {
        let tree = r#"{"files": {"/d/pwm-fan/hwmon/hwmon4/pwm1": "1", "/sys/class/x/pwm1": "1"}}"#;
        let tree = CapturedTree::parse(tree).unwrap();
        let found = |path: &str| find(&tree, Path::new(path));
        assert_eq!(found("/d/pwm-fan/hwmon/hwmon2/pwm1").as_deref(), Some(Path::new("/d/pwm-fan/hwmon/hwmon4/pwm1")));
        assert_eq!(found("/d/pwm-fan/hwmon/hwmon2/pwm2"), None);
        assert_eq!(found("/sys/class/y/pwm1"), None);
        assert_eq!(found("/pwm1"), None);
    }
}
