//! The memory's clock (EMC). It is in debugfs, which only root reads, except on a Thor.

use super::Missing;
use crate::board::attribute::entries;
use crate::board::tree::{FileTree, TreeError, resolve};
use std::path::{Path, PathBuf};

/// The memory's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// File of the clock, hertz.
    pub rate: PathBuf,
    /// File that is not 0 while the clock is locked.
    pub locked: Option<PathBuf>,
}

/// Clock and lock: TX2 and later; Nano and TX1 (names as in `jetson_clocks`).
const PLACES: [(&str, &str); 3] = [
    ("/sys/kernel/debug/bpmp/debug/clk/emc/rate", "/sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked"),
    ("/sys/kernel/debug/clk/override.emc/clk_rate", "/sys/kernel/debug/clk/override.emc/clk_state"),
    ("/sys/kernel/debug/tegra_bwmgr/emc_rate", "/sys/kernel/debug/tegra_bwmgr/emc_locked"),
];

impl Memory {
    pub(super) fn discover(tree: &dyn FileTree) -> Result<Self, Missing> {
        let mut missing = Missing::new("memory clock", &PLACES.map(|(rate, _)| rate));
        for (rate, locked) in PLACES.map(|(rate, locked)| (Path::new(rate), Path::new(locked))) {
            match tree.read(rate, &mut [0; 32]) {
                Err(TreeError::NotFound) => {}
                Err(cause) => missing.looked_for.push(format!("{}: {cause}", rate.display())),
                Ok(_) => {
                    let locked = tree.exists(locked).then(|| locked.to_owned());
                    return Ok(Self { rate: rate.to_owned(), locked });
                }
            }
        }
        let bandwidth =
            entries(tree, "/sys/class/devfreq").into_iter().find(|path| path.to_string_lossy().contains("bwmgr"));
        if let Some(rate) = bandwidth.and_then(|node| resolve(tree, &node.join("cur_freq")).ok()) {
            return Ok(Self { rate, locked: None });
        }
        missing.looked_for.push("/sys/class/devfreq/*bwmgr*/cur_freq".to_owned());
        Err(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;

    #[test]
    fn each_generation_has_its_place() {
        for (json, rate, lock) in [
            (
                r#"{"files": {"/sys/kernel/debug/clk/override.emc/clk_rate": "1", "/sys/kernel/debug/clk/override.emc/clk_state": "0"}}"#,
                "/sys/kernel/debug/clk/override.emc/clk_rate",
                true,
            ),
            (
                r#"{"files": {"/d/bwmgr/cur_freq": "1"}, "links": {"/sys/class/devfreq/bwmgr": "/d/bwmgr"}}"#,
                "/d/bwmgr/cur_freq",
                false,
            ),
        ] {
            let memory = Memory::discover(&CapturedTree::parse(json).unwrap()).unwrap();
            assert_eq!((memory.rate.as_path(), memory.locked.is_some()), (Path::new(rate), lock));
        }
    }

    #[test]
    fn a_user_without_the_right_to_look_is_told_so() {
        let json = r#"{"errors": {"/sys/kernel/debug/bpmp/debug/clk/emc/rate": "EACCES"}}"#;
        let message = Memory::discover(&CapturedTree::parse(json).unwrap()).unwrap_err().to_string();
        assert!(message.contains("run as root"), "{message}");
    }
}
