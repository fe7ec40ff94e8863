//! Reads what a board is like before its first change.

use super::actuator::clock::{Range, near};
use super::baseline::{Baseline, FanDrive, GpuRange, Knob};
use super::discover::Found;
use super::discover::gpu::Gpu;
use super::discover::throttle::CoolingKind;
use super::power_mode::GpuLimits;
use super::services::{FAN_SERVICE, Services};
use super::tree::{FileError, FileTree, TreeError};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Takes down every knob that may be turned later.
pub fn take(tree: &dyn FileTree, found: &Found, services: &dyn Services) -> Result<Baseline, FileError> {
    let gpu = found.gpu.as_ref().ok().map(|gpu| gpu_range(tree, found, gpu)).transpose()?;
    Ok(Baseline {
        gpu,
        fans: fans(tree, found)?,
        mode: found.mode.as_ref().ok().map(|mode| mode.id),
        fan_service: services.is_active(FAN_SERVICE) == Some(true),
        ..Baseline::of_this_boot(tree)
    })
}

impl GpuRange {
    /// What the controller may move in: the range that is given back, down to the lowest clock of
    /// the table where somebody (`jetson_clocks`) has pinned it.
    #[must_use]
    pub fn allowed(&self, table_hz: &[u64]) -> Range {
        let lowest = table_hz.first().copied().unwrap_or(0);
        let max_hz = self.max.number().unwrap_or(u64::MAX);
        let min_hz = self.min.number().filter(|min| !near(*min, max_hz)).unwrap_or(lowest);
        Range { min_hz, max_hz: max_hz.max(lowest) }
    }
}

fn gpu_range(tree: &dyn FileTree, found: &Found, gpu: &Gpu) -> Result<GpuRange, FileError> {
    let (mut min, mut max) = (knob(tree, &gpu.file("min_freq"))?, knob(tree, &gpu.file("max_freq"))?);
    let (Some(min_hz), Some(max_hz)) = (min.number(), max.number()) else {
        let cause = TreeError::from(Errno::INVAL);
        return Err(FileError { path: if min.number().is_none() { min.path } else { max.path }, cause });
    };
    let throttled = reads_the_range_in_force(found) && is_throttled(tree, found);
    if throttled {
        let mode = found.mode.as_ref().map(|mode| GpuLimits::of_mode(tree, mode.id)).unwrap_or_default();
        let (lowest, highest) = (gpu.frequencies_hz.first(), gpu.frequencies_hz.last());
        if let Some(highest) = mode.max_hz.or(highest.copied()) {
            max.text = format!("{highest}\n");
        }
        // A lower bound above the cap reads as the cap.
        if let (true, Some(lowest)) = (near(min_hz, max_hz), mode.min_hz.or(lowest.copied())) {
            min.text = format!("{lowest}\n");
        }
    }
    Ok(GpuRange { min, max, throttled })
}

/// Kernel 4.x reads back what was written; later ones the range in force, thermal caps included.
fn reads_the_range_in_force(found: &Found) -> bool {
    !found.identity.kernel.as_ref().is_some_and(|release| release.starts_with("4."))
}

/// The GPU is capped now.
#[must_use]
pub fn is_throttled(tree: &dyn FileTree, found: &Found) -> bool {
    let devices = found.cooling.as_ref().map(|cooling| cooling.devices.as_slice()).unwrap_or_default();
    let caps = |kind: CoolingKind, name: &str| {
        kind == CoolingKind::GpuCap || kind == CoolingKind::Throttling && name.to_ascii_lowercase().starts_with("gpu")
    };
    let active = |path: &Path| super::attribute::integer(tree, path).is_ok_and(|state| state > 0);
    devices.iter().any(|device| caps(device.kind, &device.name) && active(&device.state))
}

/// State of the cooling device that caps a GPU's clock.
#[must_use]
pub fn cap_of(found: &Found, gpu: &Gpu) -> Option<PathBuf> {
    let devices = &found.cooling.as_ref().ok()?.devices;
    let named = devices.iter().find(|device| device.name == format!("devfreq-{}", gpu.name));
    let any = || devices.iter().find(|device| device.kind == CoolingKind::GpuCap);
    named.or_else(any).map(|device| device.state.clone())
}

fn fans(tree: &dyn FileTree, found: &Found) -> Result<Vec<FanDrive>, FileError> {
    let Ok(fan) = &found.fan else { return Ok(Vec::new()) };
    let control = fan.enable.as_ref().or(fan.temperature_control.as_ref());
    let first = FanDrive { pwm: knob(tree, &fan.pwm)?, control: control.map(|path| knob(tree, path)).transpose()? };
    let others = fan.others.iter().map(|pwm| {
        let mut enable = pwm.clone().into_os_string();
        enable.push("_enable");
        let enable = PathBuf::from(enable);
        let control = tree.exists(&enable).then(|| knob(tree, &enable)).transpose()?;
        Ok(FanDrive { pwm: knob(tree, pwm)?, control })
    });
    std::iter::once(Ok(first)).chain(others).collect()
}

fn knob(tree: &dyn FileTree, path: &Path) -> Result<Knob, FileError> {
    Knob::read(tree, path).map_err(|cause| FileError { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::super::services::NoServices;
    use super::super::tree::CapturedTree;
    use super::*;

    fn tree(kernel: &str, min: &str, max: &str, cap: &str) -> CapturedTree {
        let json = serde_json::json!({
            "files": {
                "/proc/sys/kernel/osrelease": kernel,
                "/sys/class/devfreq/17000000.gpu/available_frequencies": "306000000 612000000 918000000 1020000000\n",
                "/sys/class/devfreq/17000000.gpu/min_freq": min,
                "/sys/class/devfreq/17000000.gpu/max_freq": max,
                "/sys/class/thermal/cooling_device2/type": "devfreq-17000000.gpu\n",
                "/sys/class/thermal/cooling_device2/cur_state": cap,
                "/sys/class/thermal/cooling_device3/type": "cpufreq-cpu0\n",
                "/sys/class/thermal/cooling_device3/cur_state": "3\n",
                "/var/lib/nvpmodel/status": "pmode:0001\n",
                "/etc/nvpmodel.conf": "< POWER_MODEL ID=1 NAME=25W >\nGPU MAX_FREQ 918000000\n",
            }
        });
        CapturedTree::parse(&json.to_string()).unwrap()
    }

    fn taken(tree: &CapturedTree) -> (String, String, bool) {
        let gpu = take(tree, &Found::discover(tree), &NoServices).unwrap().gpu.unwrap();
        (gpu.min.text, gpu.max.text, gpu.throttled)
    }

    #[test]
    fn what_is_read_is_kept_byte_for_byte() {
        let kept = taken(&tree("5.15.148-tegra", "306000000\n", "918000000\n", "0\n"));
        assert_eq!(kept, ("306000000\n".into(), "918000000\n".into(), false));
    }

    /// A throttle that is given back would be permanent.
    #[test]
    fn a_throttled_board_is_given_back_with_the_limits_of_its_mode() {
        let kept = taken(&tree("5.15.148-tegra", "306000000\n", "612000000\n", "2\n"));
        assert_eq!(kept, ("306000000\n".into(), "918000000\n".into(), true));
        let pinned = taken(&tree("6.8.12-tegra", "612000000\n", "612000000\n", "2\n"));
        assert_eq!(pinned, ("306000000\n".into(), "918000000\n".into(), true));
    }

    #[test]
    fn kernel_4_reads_what_was_written_throttled_or_not() {
        let kept = taken(&tree("4.9.337-tegra", "306000000\n", "612000000\n", "2\n"));
        assert_eq!(kept, ("306000000\n".into(), "612000000\n".into(), false));
    }

    #[test]
    fn a_pinned_board_may_be_slowed_down_and_never_sped_up() {
        let tree = tree("5.15", "612000000", "612000000", "0");
        let found = Found::discover(&tree);
        let gpu = take(&tree, &found, &NoServices).unwrap().gpu.unwrap();
        let table = &found.gpu.unwrap().frequencies_hz;
        assert_eq!(gpu.allowed(table), Range { min_hz: 306_000_000, max_hz: 612_000_000 });
    }

    #[test]
    fn a_bound_that_is_no_number_is_named() {
        let tree = tree("5.15", "306000000", "?", "0");
        let error = take(&tree, &Found::discover(&tree), &NoServices).unwrap_err().to_string();
        assert!(error.contains("max_freq"), "{error}");
    }
}
