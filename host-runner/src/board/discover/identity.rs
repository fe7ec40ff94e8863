//! Which board, module, chip and release this is. A model string can lie: limits come from the
//! board's own tables and trip points, never from here.

use super::Missing;
use crate::board::attribute::text;
use crate::board::tree::FileTree;
use serde::Serialize;
use std::path::Path;

const MODEL: &str = "/proc/device-tree/model";
const COMPATIBLE: &str = "/proc/device-tree/compatible";
const RELEASE: &str = "/etc/nv_tegra_release";
const KERNEL: &str = "/proc/sys/kernel/osrelease";

/// What a board says about itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Model of the device tree, for people.
    pub model: Result<String, Missing>,
    /// Part number of the module, such as `p3767-0005-super`.
    pub module: Result<String, Missing>,
    /// The chip, such as `tegra234`.
    pub chip: Result<String, Missing>,
    /// L4T release. Absent on Yocto and NixOS images.
    pub release: Result<Release, Missing>,
    /// Release of the running kernel.
    pub kernel: Option<String>,
}

/// A release of Linux for Tegra.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Release {
    /// 36 in R36.4.4.
    pub major: u16,
    /// 4 in R36.4.4.
    pub minor: u16,
    /// 4 in R36.4.4.
    pub patch: u16,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "R{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Release {
    /// Reads the first line of `/etc/nv_tegra_release`: `# R36 (release), REVISION: 4.4, GCID: ...`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let major =
            text.split(|c: char| !c.is_ascii_alphanumeric()).find_map(|word| word.strip_prefix('R')?.parse().ok())?;
        let (_, revision) = text.split_once("REVISION:")?;
        let revision = revision.trim_start();
        let end = revision.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(revision.len());
        let mut parts = revision[..end].split('.');
        let minor = parts.next()?.parse().ok()?;
        // `REVISION: 2` has no patch.
        let patch = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        Some(Self { major, minor, patch })
    }

    /// The JetPack generation that carries this release: 3 to 7; `None` for one that is not known.
    #[must_use]
    pub const fn jetpack(self) -> Option<u8> {
        match self.major {
            24..=31 => Some(3),
            32..=33 => Some(4),
            34..=35 => Some(5),
            36 => Some(6),
            38..=39 => Some(7),
            _ => None,
        }
    }
}

impl Identity {
    pub(super) fn discover(tree: &dyn FileTree) -> Self {
        let read = |path: &str| text(tree, Path::new(path)).ok().filter(|text| !text.is_empty());
        let compatible = read(COMPATIBLE).unwrap_or_default();
        let names: Vec<&str> = compatible.split('\0').filter_map(|name| name.strip_prefix("nvidia,")).collect();
        let release = read(RELEASE).and_then(|text| Release::parse(&text));
        Self {
            model: read(MODEL).ok_or_else(|| Missing::new("model", &[MODEL])),
            module: names.iter().find_map(|name| module(name)).ok_or_else(|| {
                Missing::new("module", &["a part number such as p3767-0005 in /proc/device-tree/compatible"])
            }),
            chip: names
                .iter()
                .find(|name| name.starts_with("tegra"))
                .map(|&name| name.to_owned())
                .ok_or_else(|| Missing::new("Tegra chip", &["nvidia,tegra* in /proc/device-tree/compatible"])),
            release: release.ok_or_else(|| Missing::new("L4T release", &[RELEASE])),
            kernel: read(KERNEL),
        }
    }

    /// The device tree names a Tegra chip.
    #[must_use]
    pub const fn is_tegra(&self) -> bool {
        self.chip.is_ok()
    }
}

/// Part numbers of modules: TX1, TX2 (two), TX2 NX, Nano, AGX Xavier, Xavier NX, AGX Orin,
/// Orin NX and Nano, Thor. All others in a device tree are carriers.
const MODULES: [&str; 10] = ["p2180", "p3310", "p3489", "p3636", "p3448", "p2888", "p3668", "p3701", "p3767", "p3834"];

/// The module's part number in `p3768-0000+p3767-0005-super`; a TX1 has the last half of its own behind that of the
/// carrier: `p2371-2180`.
fn module(name: &str) -> Option<String> {
    if name == "p2371-2180" {
        return Some("p2180".to_owned());
    }
    name.split('+').find(|part| MODULES.iter().any(|module| part.starts_with(module))).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;

    #[test]
    fn releases_of_all_ages_are_read() {
        for (text, release, jetpack) in [
            ("# R28 (release), REVISION: 2.1, GCID: 1", "R28.2.1", Some(3)),
            ("# R32 (release), REVISION: 7.6, GCID: 3", "R32.7.6", Some(4)),
            ("# R35 (release), REVISION: 3.1, GCID: 3, BOARD: t186ref", "R35.3.1", Some(5)),
            ("# R36 (release), REVISION: 5.0, GCID: 3", "R36.5.0", Some(6)),
            ("# R39 (release), REVISION: 2, GCID: 3", "R39.2.0", Some(7)),
            ("# R41 (release), REVISION: 1.0", "R41.1.0", None),
        ] {
            let parsed = Release::parse(text).unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.jetpack()), (release, jetpack), "{text}");
        }
        for text in ["", "# R36", "REVISION: 4.4", "# Rx (release), REVISION: 1.0", "# R36 (release), REVISION: x"] {
            assert_eq!(Release::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_module_is_told_from_the_carrier() {
        let json = r#"{"files": {
            "/proc/device-tree/compatible": "acme,robot\u0000nvidia,p3509-0000+p3767-0004\u0000nvidia,tegra234\u0000nvidia,tegra23x\u0000",
            "/proc/device-tree/model": "Acme Robot\u0000"}}"#;
        let identity = Identity::discover(&CapturedTree::parse(json).unwrap());
        assert_eq!(identity.module.as_deref(), Ok("p3767-0004"));
        assert_eq!(identity.chip.as_deref(), Ok("tegra234"));
        assert_eq!(identity.model.as_deref(), Ok("Acme Robot"));
        assert!(identity.release.unwrap_err().to_string().contains("/etc/nv_tegra_release"));
        assert_eq!(module("p2371-2180").as_deref(), Some("p2180"));
    }
}
