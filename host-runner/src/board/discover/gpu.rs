//! The GPU's devfreq node, found by the name of its device.

use super::Missing;
use crate::board::attribute::{entries, number, text};
use crate::board::tree::{FileTree, resolve};
use std::path::{Path, PathBuf};

const CLASS: &str = "/sys/class/devfreq";

/// Names of Tegra GPUs in device trees: TX1 and Nano, TX2, Xavier, Orin, the one behind Orin.
const CHIPS: [&str; 5] = ["gm20b", "gp10b", "gv11b", "ga10b", "gb10b"];

/// Where a driver without a `load` beside its clock may have one.
const LOAD_ALIASES: [&str; 2] = ["/sys/devices/gpu.0/load", "/sys/devices/platform/gpu.0/load"];

/// The GPU's clock domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Name of the devfreq node, such as `17000000.gpu` or `gpu-gpc-0`.
    pub name: String,
    /// The node's folder, links resolved.
    pub devfreq: PathBuf,
    /// The device's folder, links resolved.
    pub device: PathBuf,
    /// What the clock can be, hertz, rising. Empty where the driver has no table.
    pub frequencies_hz: Vec<u64>,
    /// Busy time of the last window, per mille. A Thor has none.
    pub load: Result<PathBuf, Missing>,
    /// `yes` while the GPU has no power; older drivers only.
    pub is_railgated: Option<PathBuf>,
    /// Other clock domains of the same GPU, such as `gpu-nvd-0` (media) of a Thor.
    pub siblings: Vec<String>,
}

impl Gpu {
    pub(super) fn discover(tree: &dyn FileTree) -> Result<Self, Missing> {
        let mut nodes: Vec<(u8, Node)> = entries(tree, CLASS)
            .iter()
            .filter_map(|entry| Node::new(tree, entry))
            .filter_map(|node| Some((node.rank()?, node)))
            .collect();
        nodes.sort_by_key(|(rank, _)| *rank);
        let mut nodes = nodes.into_iter().map(|(_, node)| node);
        let Some(node) = nodes.next() else { return Err(nowhere(tree)) };
        let siblings = nodes.map(|node| node.name).collect();
        let railgated = node.device.join("is_railgated");
        Ok(Self {
            frequencies_hz: frequencies(tree, &node.devfreq),
            load: load(tree, &node.device),
            is_railgated: tree.exists(&railgated).then_some(railgated),
            name: node.name,
            devfreq: node.devfreq,
            device: node.device,
            siblings,
        })
    }

    /// A file of the devfreq node, such as `cur_freq`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.devfreq.join(name)
    }

    /// The governor in charge.
    #[must_use]
    pub fn governor(&self, tree: &dyn FileTree) -> Option<String> {
        text(tree, &self.file("governor")).ok()
    }

    /// Lower and upper bound of the clock in hertz, as read back: since kernel 5.x these are the
    /// bounds in force, caps of the thermal core included, not what was written.
    #[must_use]
    pub fn bounds_hz(&self, tree: &dyn FileTree) -> (Option<u64>, Option<u64>) {
        let read = |name| number(tree, &self.file(name)).ok().and_then(|hz| u64::try_from(hz).ok());
        (read("min_freq"), read("max_freq"))
    }
}

struct Node {
    name: String,
    of_name: String,
    devfreq: PathBuf,
    device: PathBuf,
}

impl Node {
    fn new(tree: &dyn FileTree, entry: &Path) -> Option<Self> {
        let name = entry.file_name()?.to_str()?.to_owned();
        let devfreq = resolve(tree, entry).ok()?;
        let named = entry.join("device");
        // <device>/devfreq/<name>
        let device =
            if tree.exists(&named) { resolve(tree, &named).ok()? } else { devfreq.parent()?.parent()?.to_owned() };
        let of_name = text(tree, &device.join("of_node/name")).unwrap_or_default();
        Some(Self { name, of_name, devfreq, device })
    }

    /// How well the node fits, best first; `None` when it is no GPU's.
    fn rank(&self) -> Option<u8> {
        let named = |part: &str| self.name.contains(part) || self.of_name == part;
        if self.name.starts_with("gpu-gpc-") {
            Some(0)
        } else if CHIPS.iter().any(|chip| named(chip)) {
            Some(1)
        } else if self.of_name == "gpu" || self.name.rsplit('.').next() == Some("gpu") {
            Some(2)
        } else if self.name.contains("gpu") && !self.name.contains("nvd") {
            Some(3)
        } else if self.name.contains("gpu") {
            Some(4)
        } else {
            None
        }
    }
}

/// The table of clocks, rising, each once.
fn frequencies(tree: &dyn FileTree, devfreq: &Path) -> Vec<u64> {
    let listed = text(tree, &devfreq.join("available_frequencies")).unwrap_or_default();
    let mut frequencies: Vec<u64> = listed.split_whitespace().filter_map(|hz| hz.parse().ok()).collect();
    frequencies.sort_unstable();
    frequencies.dedup();
    frequencies
}

fn load(tree: &dyn FileTree, device: &Path) -> Result<PathBuf, Missing> {
    let own = device.join("load");
    let places = std::iter::once(own.clone()).chain(LOAD_ALIASES.iter().map(PathBuf::from));
    let found = places.into_iter().find(|path| tree.exists(path));
    found.and_then(|path| resolve(tree, &path).ok()).ok_or_else(|| {
        let own = own.display().to_string();
        Missing::new("GPU load", &[own.as_str(), LOAD_ALIASES[0], LOAD_ALIASES[1]])
    })
}

fn nowhere(tree: &dyn FileTree) -> Missing {
    let mut missing = Missing::new(
        "GPU clock",
        &["/sys/class/devfreq/*: a node or device tree name with gpu, gm20b, gp10b, gv11b, ga10b or gb10b"],
    );
    let seen: Vec<String> = entries(tree, CLASS)
        .iter()
        .filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned()))
        .collect();
    if !seen.is_empty() {
        missing.looked_for.push(format!("found there only: {}", seen.join(", ")));
    }
    if LOAD_ALIASES.iter().any(|path| tree.exists(Path::new(path))) {
        missing.looked_for.push("the GPU is there and registers its clock at its first power-up".to_owned());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;

    fn found(json: &str) -> Result<Gpu, Missing> {
        Gpu::discover(&CapturedTree::parse(json).unwrap())
    }

    #[test]
    fn the_graphics_clusters_of_a_thor_come_before_its_media_clock() {
        let gpu = found(
            r#"{"files": {"/d/devfreq/gpu-nvd-0/cur_freq": "1", "/d/devfreq/gpu-gpc-1/cur_freq": "1", "/d/devfreq/gpu-gpc-0/cur_freq": "1",
                "/d/devfreq/gpu-gpc-0/available_frequencies": "90 60 60 x 30\n", "/e/devfreq/bwmgr/cur_freq": "5"},
            "links": {"/sys/class/devfreq/gpu-nvd-0": "/d/devfreq/gpu-nvd-0", "/sys/class/devfreq/gpu-gpc-0": "/d/devfreq/gpu-gpc-0",
                "/sys/class/devfreq/gpu-gpc-1": "/d/devfreq/gpu-gpc-1", "/sys/class/devfreq/bwmgr": "/e/devfreq/bwmgr"}}"#,
        )
        .unwrap();
        assert_eq!((gpu.name.as_str(), gpu.device.as_path()), ("gpu-gpc-0", Path::new("/d")));
        assert_eq!(gpu.siblings, ["gpu-gpc-1", "gpu-nvd-0"]);
        assert_eq!(gpu.frequencies_hz, [30, 60, 90]);
        assert!(gpu.load.unwrap_err().to_string().starts_with("no GPU load; looked for /d/load, "));
    }

    #[test]
    fn a_name_of_the_device_tree_is_enough_and_the_alias_has_the_load() {
        let gpu = found(
            r#"{"files": {"/sys/class/devfreq/57000000.x/cur_freq": "0", "/soc/x/of_node/name": "gm20b\u0000", "/soc/x/is_railgated": "yes",
                "/sys/class/devfreq/vic/cur_freq": "1", "/sys/devices/gpu.0/load": "3"},
            "links": {"/sys/class/devfreq/57000000.x/device": "/soc/x"}}"#,
        )
        .unwrap();
        assert_eq!((gpu.name.as_str(), gpu.device.as_path()), ("57000000.x", Path::new("/soc/x")));
        assert_eq!(gpu.load.as_deref(), Ok(Path::new("/sys/devices/gpu.0/load")));
        assert_eq!(gpu.is_railgated.as_deref(), Some(Path::new("/soc/x/is_railgated")));
    }

    #[test]
    fn an_absent_clock_says_what_is_there_instead() {
        let missing =
            found(r#"{"files": {"/sys/class/devfreq/15340000.vic/cur_freq": "1", "/sys/devices/gpu.0/load": "0"}}"#);
        let message = missing.unwrap_err().to_string();
        assert!(message.contains("found there only: 15340000.vic"), "{message}");
        assert!(message.contains("first power-up"), "{message}");
        assert!(found("{}").unwrap_err().looked_for.len() == 1);
    }
}
