//! Energy of the processor from the counters that Linux shows of Intel's and AMD's RAPL
//! (Documentation/power/powercap/powercap.rst): which zones there are, which of them add up to the whole, and what they count.
//! Whatever runs on the machine is in them, not this process alone.

use crate::board::attribute::{entries, number, text};
use crate::board::discover::Missing;
use crate::board::tree::{FileError, FileTree, RealTree, TreeError, resolve};
use crate::measure::counter::counted;
use std::path::PathBuf;

const POWERCAP: &str = "/sys/class/powercap";

/// A zone of RAPL with a counter of energy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnergyZone {
    /// Name, such as `package-0`; parts of a package have its name in front.
    pub name: String,
    /// File of the counter, µJ.
    pub energy: PathBuf,
    /// The counter's highest value, µJ.
    pub highest_uj: u64,
    /// Part of the total.
    pub counts: bool,
}

/// The zones with a counter that can be read.
///
/// The whole platform (`psys`) counts where it is measured, else packages and their memory, which is fed
/// apart from the package. Cores and graphics are parts of their package and do not count.
pub fn energy_zones(tree: &dyn FileTree) -> Result<Vec<EnergyZone>, Missing> {
    let mut refused = Vec::new();
    let mut zones: Vec<EnergyZone> = Vec::new();
    for folder in entries(tree, POWERCAP) {
        let Ok(folder) = resolve(tree, &folder) else { continue };
        let Ok(name) = text(tree, &folder.join("name")) else { continue };
        let energy = folder.join("energy_uj");
        let highest = match number(tree, &energy).and_then(|_| number(tree, &folder.join("max_energy_range_uj"))) {
            Ok(highest) => u64::try_from(highest).unwrap_or_default(),
            Err(error) if error.cause == TreeError::NotFound && error.path == energy => continue,
            Err(error) => {
                refused.push(error.to_string());
                continue;
            }
        };
        let parent = folder.parent().and_then(|parent| text(tree, &parent.join("name")).ok());
        let name = match parent {
            Some(package) if package.starts_with("package") => format!("{package}/{name}"),
            _ => name,
        };
        // The same counters come a second time through memory (intel-rapl-mmio).
        if !zones.iter().any(|zone| zone.name == name) {
            zones.push(EnergyZone { counts: false, name, energy, highest_uj: highest });
        }
    }
    if zones.is_empty() {
        let mut looked_for = vec![format!("{POWERCAP}/*/energy_uj")];
        looked_for.extend(refused);
        return Err(Missing { what: "processor energy", looked_for });
    }
    let platform = zones.iter().any(|zone| zone.name == "psys");
    for zone in &mut zones {
        let package = zone.name.starts_with("package") && (!zone.name.contains('/') || zone.name.ends_with("/dram"));
        zone.counts = if platform { zone.name == "psys" } else { package };
    }
    Ok(zones)
}

/// Why there is no energy to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaplError {
    /// No such machine, a virtual one, or one that lets root alone read (kernels since 2020).
    #[error("{0}")]
    Absent(#[from] Missing),
    /// A counter that was there cannot be read any more.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// A counter shows more than its range.
    #[error("{0} shows a value outside of its range; the driver is broken, no energy is measured")]
    OutOfRange(PathBuf),
}

/// The zones of this machine that add up to the whole, counting from the moment they were opened.
pub struct Rapl {
    tree: Box<dyn FileTree>,
    counters: Vec<Counter>,
}

struct Counter {
    zone: EnergyZone,
    last_uj: u64,
    total_uj: u64,
}

impl Rapl {
    /// Those of this machine.
    pub fn open() -> Result<Self, RaplError> {
        let system = RealTree::system().map_err(|cause| FileError { path: PathBuf::from("/"), cause })?;
        Self::open_in(Box::new(system))
    }

    /// Those of a tree.
    pub fn open_in(tree: Box<dyn FileTree>) -> Result<Self, RaplError> {
        let mut counters = Vec::new();
        for zone in energy_zones(&*tree)?.into_iter().filter(|zone| zone.counts) {
            let last_uj = zone.read(&*tree)?;
            counters.push(Counter { zone, last_uj, total_uj: 0 });
        }
        Ok(Self { tree, counters })
    }

    /// Joules of all zones since they were opened. To be called at least once a minute: a counter that wraps twice in
    /// between is not noticed.
    pub fn joules(&mut self) -> Result<f64, RaplError> {
        for Counter { zone, last_uj, total_uj } in &mut self.counters {
            let now_uj = zone.read(&*self.tree)?;
            let more_uj = counted(*last_uj, now_uj, zone.highest_uj);
            *total_uj += more_uj.ok_or_else(|| RaplError::OutOfRange(zone.energy.clone()))?;
            *last_uj = now_uj;
        }
        Ok(self.counters.iter().map(|counter| counter.total_uj).sum::<u64>() as f64 / 1e6)
    }
}

impl EnergyZone {
    fn read(&self, tree: &dyn FileTree) -> Result<u64, RaplError> {
        u64::try_from(number(tree, &self.energy)?).map_err(|_| RaplError::OutOfRange(self.energy.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;

    /// A folder as Linux shows it: two packages of 1 J, the memory and the cores of the first.
    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (zone, name, energy) in [
            ("intel-rapl:0", "package-0", "900000\n"),
            ("intel-rapl:1", "package-1", "50\n"),
            ("intel-rapl:0/intel-rapl:0:0", "core", "7\n"),
            ("intel-rapl:0/intel-rapl:0:1", "dram", "100\n"),
        ] {
            let folder = root.path().join("sys/class/powercap").join(zone);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("name"), name).unwrap();
            std::fs::write(folder.join("energy_uj"), energy).unwrap();
            std::fs::write(folder.join("max_energy_range_uj"), "999999\n").unwrap();
        }
        // As in sysfs, every zone lies side by side with the others, through a link.
        let powercap = root.path().join("sys/class/powercap");
        for part in ["intel-rapl:0:0", "intel-rapl:0:1"] {
            std::os::unix::fs::symlink(format!("intel-rapl:0/{part}"), powercap.join(part)).unwrap();
        }
        root
    }

    fn open(root: &tempfile::TempDir) -> Result<Rapl, RaplError> {
        Rapl::open_in(Box::new(RealTree::new(root.path()).unwrap()))
    }

    #[test]
    fn packages_and_memory_add_up_and_wrap_to_the_microjoule() {
        let root = machine();
        let mut rapl = open(&root).unwrap();
        assert_eq!(rapl.joules(), Ok(0.0));
        let set = |zone: &str, energy: &str| {
            std::fs::write(root.path().join("sys/class/powercap").join(zone).join("energy_uj"), energy).unwrap();
        };
        set("intel-rapl:1", "500050");
        set("intel-rapl:0/intel-rapl:0:0", "999998");
        assert_eq!(rapl.joules(), Ok(0.5), "cores are a part of their package");
        set("intel-rapl:0", "400000");
        assert_eq!(
            rapl.joules(),
            Ok(1.0),
            "0.1 J to the wrap, of which the step from 999999 to 0 is 1 uJ, and 0.4 J after it"
        );
        set("intel-rapl:0/intel-rapl:0:1", "250100");
        assert_eq!(rapl.joules(), Ok(1.25), "memory is fed apart from the package");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let message = |result: Result<Rapl, RaplError>| result.err().unwrap().to_string();
        let root = tempfile::tempdir().unwrap();
        assert!(message(open(&root)).contains("powercap"), "{}", message(open(&root)));
        let root = machine();
        let mut rapl = open(&root).unwrap();
        let counter = root.path().join("sys/class/powercap/intel-rapl:1/energy_uj");
        std::fs::write(&counter, "1000000").unwrap();
        let counter = PathBuf::from("/sys/class/powercap/intel-rapl:1/energy_uj");
        assert_eq!(rapl.joules(), Err(RaplError::OutOfRange(counter.clone())));
        std::fs::remove_file(root.path().join(counter.strip_prefix("/").unwrap())).unwrap();
        assert_eq!(rapl.joules(), Err(RaplError::Unreadable(FileError { path: counter, cause: TreeError::NotFound })));
    }

    #[test]
    fn a_counter_without_a_range_does_not_count() {
        let json = r#"{"files": {"/sys/class/powercap/intel-rapl:0/name": "package-0", "/sys/class/powercap/intel-rapl:0/energy_uj": "5"}}"#;
        let missing = energy_zones(&CapturedTree::parse(json).unwrap()).unwrap_err().to_string();
        assert!(missing.contains("max_energy_range_uj"), "{missing}");
    }
}
