//! Energy of the processor packages, from the counters that Linux shows of Intel's and AMD's RAPL
//! (Documentation/power/powercap/powercap.rst): `energy_uj` of each zone `intel-rapl:N`, which wraps at
//! `max_energy_range_uj`. Whatever runs on the machine is in them, not this process alone.

use std::path::{Path, PathBuf};

/// Where Linux shows them.
const ROOT: &str = "/sys/class/powercap";

/// Why there is no energy to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaplError {
    /// No such machine, or a virtual one.
    #[error("{0} has no RAPL package; energy is measured on machines whose kernel shows one")]
    Absent(PathBuf),
    /// Since 2020 kernels let root alone read it.
    #[error("{0} cannot be read; allow it (chmod o+r) or run as root")]
    Unreadable(PathBuf),
}

/// The packages of this machine.
#[derive(Debug)]
pub struct Rapl(Vec<Package>);

#[derive(Debug)]
struct Package {
    counter: PathBuf,
    /// µJ after which the counter begins anew.
    range: u64,
    last: u64,
    total: u64,
}

impl Rapl {
    /// Finds all packages.
    pub fn open() -> Result<Self, RaplError> {
        Self::open_at(Path::new(ROOT))
    }

    fn open_at(root: &Path) -> Result<Self, RaplError> {
        let mut packages = Vec::new();
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it.
            let name = entry.file_name();
            let index = name.to_str().and_then(|name| name.strip_prefix("intel-rapl:"));
            if index.is_some_and(|index| index.parse::<u32>().is_ok()) {
                let counter = entry.path().join("energy_uj");
                let range = number(&entry.path().join("max_energy_range_uj")).unwrap_or(u64::MAX);
                let last = number(&counter).ok_or_else(|| RaplError::Unreadable(counter.clone()))?;
                packages.push(Package { counter, range, last, total: 0 });
            }
        }
        if packages.is_empty() { Err(RaplError::Absent(root.into())) } else { Ok(Self(packages)) }
    }

    /// Joules of all packages since they were opened. To be called at least once a minute: a counter that wraps twice in
    /// between is not noticed.
    pub fn joules(&mut self) -> Result<f64, RaplError> {
        for package in &mut self.0 {
            let now = number(&package.counter).ok_or_else(|| RaplError::Unreadable(package.counter.clone()))?;
            let more = if now >= package.last { now - package.last } else { package.range - package.last + now };
            package.total += more;
            package.last = now;
        }
        Ok(self.0.iter().map(|package| package.total).sum::<u64>() as f64 / 1e6)
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as Linux shows it, with two packages and a part of one.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (zone, energy) in [("intel-rapl:0", "900000\n"), ("intel-rapl:1", "50\n"), ("intel-rapl:0:0", "7\n")] {
            let zone = root.path().join(zone);
            std::fs::create_dir(&zone).unwrap();
            std::fs::write(zone.join("energy_uj"), energy).unwrap();
            std::fs::write(zone.join("max_energy_range_uj"), "1000000\n").unwrap();
        }
        std::fs::create_dir(root.path().join("intel-rapl")).unwrap();
        root
    }

    #[test]
    fn packages_add_up_and_wrap() {
        let root = tree();
        let mut rapl = Rapl::open_at(root.path()).unwrap();
        assert_eq!(rapl.joules(), Ok(0.0));
        let set = |zone: &str, energy: &str| std::fs::write(root.path().join(zone).join("energy_uj"), energy).unwrap();
        set("intel-rapl:1", "500050");
        set("intel-rapl:0:0", "999999");
        assert_eq!(rapl.joules(), Ok(0.5));
        set("intel-rapl:0", "400000");
        assert_eq!(rapl.joules(), Ok(1.0), "0.1 J to the end and 0.4 J from the start");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Rapl::open_at(root.path()).unwrap_err(), RaplError::Absent(root.path().into()));
        let root = tree();
        let counter = root.path().join("intel-rapl:0/energy_uj");
        std::fs::remove_file(&counter).unwrap();
        assert_eq!(Rapl::open_at(root.path()).unwrap_err(), RaplError::Unreadable(counter));
    }
}
