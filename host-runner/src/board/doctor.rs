//! What a controlled run would miss on a board, what fights it, and the command that mends it.

use super::attribute::integer;
use super::baseline::Baseline;
use super::discover::Found;
use super::discover::gpu::Gpu;
use super::lock::{Lock, LockError};
use super::power_mode;
use super::services::{FAN_SERVICE, Services};
use super::snapshot::is_throttled;
use super::tree::{FileTree, TreeError};
use serde::Serialize;
use std::path::Path;

/// Hotter than any part works: Jetsons shut down below 110 °C. m°C.
const HOTTEST_MC: i64 = 150_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Good,
    /// A run works, but not as well as it could.
    Warning,
    /// A run cannot control this board.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub says: String,
    /// The command that mends it.
    pub mend: Option<String>,
}

/// What this user may do with a file of the board.
pub trait Access {
    /// It could be written.
    fn can_write(&self, path: &Path) -> Result<(), std::io::Error>;
}

/// Looks at everything that a run needs. Writes nothing, but for the lock, which is taken for a moment where it exists.
#[must_use]
pub fn examine(
    tree: &dyn FileTree,
    found: &Found,
    services: &dyn Services,
    state: &Path,
    access: &dyn Access,
) -> Vec<Finding> {
    let mut report = Report(Vec::new());
    report.state(state);
    match &found.gpu {
        Ok(gpu) => report.gpu(tree, found, gpu, access),
        Err(missing) => report.fault(
            "GPU clock",
            missing.to_string(),
            "run any CUDA program once (the node appears at the GPU's first power-up), then look again",
        ),
    }
    report.sensors(tree, found);
    report.fan(tree, found, services, access);
    report.rivals(services);
    report.0
}

struct Report(Vec<Finding>);

impl Report {
    fn good(&mut self, check: &'static str, says: impl Into<String>) {
        self.0.push(Finding { check, severity: Severity::Good, says: says.into(), mend: None });
    }

    fn warn(&mut self, check: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        let mend = Some(mend.into());
        self.0.push(Finding { check, severity: Severity::Warning, says: says.into(), mend });
    }

    fn fault(&mut self, check: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        let mend = Some(mend.into());
        self.0.push(Finding { check, severity: Severity::Fault, says: says.into(), mend });
    }

    /// What an earlier run has left, and who holds the board now.
    fn state(&mut self, state: &Path) {
        let held = state.join("lock").exists().then(|| Lock::take(state).err()).flatten();
        if let Some(LockError::Held { holder }) = held {
            self.fault(
                "controller",
                format!("process {holder} controls this board now"),
                format!("sudo kill {holder}"),
            );
            return;
        }
        match Baseline::load(state) {
            Ok(None) => self.good("controller", "nobody controls this board, and nothing is left to give back"),
            Ok(Some(_)) => self.warn(
                "controller",
                "a run was killed, or `fan on` is in force: the board is not as it was",
                "sudo energyllm board restore",
            ),
            Err(error) => {
                self.fault("controller", error.to_string(), format!("sudo rm {}/baseline.json", state.display()));
            }
        }
    }

    fn gpu(&mut self, tree: &dyn FileTree, found: &Found, gpu: &Gpu, access: &dyn Access) {
        match (gpu.frequencies_hz.first(), gpu.frequencies_hz.last()) {
            (Some(lowest), Some(highest)) => {
                let count = gpu.frequencies_hz.len();
                self.good(
                    "GPU clocks",
                    format!("{}: {count} from {} to {} MHz", gpu.name, mhz(*lowest), mhz(*highest)),
                );
            }
            _ => self.fault(
                "GPU clocks",
                format!("{} lists none", gpu.name),
                "update the board support package: without available_frequencies nothing is ever written",
            ),
        }
        for name in ["min_freq", "max_freq"] {
            let path = gpu.file(name);
            match access.can_write(&path) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::ROFS.raw_os_error()) => self.fault(
                    "write access",
                    format!("{} lies on a read-only file system", path.display()),
                    "in a container: docker run --volume /sys:/sys ...; in a systemd unit: no ProtectKernelTunables=",
                ),
                Err(error) => self.fault(
                    "write access",
                    format!("{}: {error}", path.display()),
                    "run as root, or install packaging/90-energyllm.rules and join the group energyllm",
                ),
            }
        }
        if let (Some(min), Some(max)) = gpu.bounds_hz(tree) {
            let highest = gpu.frequencies_hz.last().copied().unwrap_or(max);
            if min == max {
                self.warn(
                    "GPU range",
                    format!("pinned at {} MHz, by jetson_clocks perhaps; nothing above it will be chosen", mhz(max)),
                    "sudo jetson_clocks --restore",
                );
            } else if max < highest && !is_throttled(tree, found) {
                let mode = found.mode.as_ref().ok().and_then(|mode| mode.name.clone());
                let mode = mode.map_or_else(String::new, |name| format!(" by the power mode {name}"));
                let mend = power_mode::fastest(tree).map_or_else(
                    || "sudo nvpmodel -m MODE   (grep POWER_MODEL /etc/nvpmodel.conf lists them)".to_owned(),
                    |(id, name)| format!("sudo nvpmodel -m {id}   ({name})"),
                );
                self.warn(
                    "GPU range",
                    format!("capped at {} of {} MHz{mode}; nothing above it will be chosen", mhz(max), mhz(highest)),
                    mend,
                );
            } else {
                self.good("GPU range", format!("{} to {} MHz", mhz(min), mhz(max)));
            }
        }
        if is_throttled(tree, found) {
            self.warn("heat", "the GPU is throttled now; its range cannot be read", "let the board cool down first");
        }
        match gpu.governor(tree).as_deref() {
            Some("nvhost_podgov") | None => {}
            Some(other) => self.warn(
                "GPU governor",
                format!("{other}, not nvhost_podgov: the clock does not follow the load when the board is given back"),
                format!("echo nvhost_podgov | sudo tee {}", gpu.file("governor").display()),
            ),
        }
    }

    fn sensors(&mut self, tree: &dyn FileTree, found: &Found) {
        match &found.thermal {
            Ok(thermal) => {
                let reads = |path: &Path| match integer(tree, path) {
                    Err(TreeError::Hangs) => None,
                    // -256 °C is a sensor without power.
                    temperature => Some(temperature.ok().filter(|temperature| *temperature > -40_000)),
                };
                let zones = thermal.zones.iter().map(|zone| (zone, reads(&zone.temperature)));
                let (hanging, answering): (Vec<_>, Vec<_>) = zones.partition(|(_, reads)| reads.is_none());
                for (zone, _) in hanging {
                    self.fault(
                        "temperature",
                        format!("{}: the driver of {} does not answer", zone.temperature.display(), zone.name),
                        "sudo dmesg | tail   (it names the device that hangs); restart the board",
                    );
                }
                let readings: Vec<_> =
                    answering.iter().filter_map(|(zone, reads)| Some((zone, reads.flatten()?))).collect();
                for (zone, temperature) in readings.iter().filter(|(_, temperature)| *temperature > HOTTEST_MC) {
                    self.fault(
                        "temperature",
                        format!(
                            "{}: {} says {temperature} m°C, which no board survives",
                            zone.temperature.display(),
                            zone.name
                        ),
                        "sudo dmesg | tail   (it may name the sensor that is broken); restart the board",
                    );
                }
                let zones = readings.iter().filter(|(_, temperature)| *temperature <= HOTTEST_MC).count();
                let limit = thermal
                    .soft_limit()
                    .map_or("no trip point".into(), |limit| format!("soft limit {} °C", f64::from(limit.0) / 1000.0));
                let says = format!("{zones} of {} zones read, {limit}", thermal.zones.len());
                match zones {
                    0 => self.fault("temperature", says, "wake the board (run a CUDA program), then look again"),
                    _ => self.good("temperature", says),
                }
            }
            Err(missing) => {
                self.fault(
                    "temperature",
                    missing.to_string(),
                    "boot a kernel of NVIDIA's: no decision is made blindly",
                );
            }
        }
        // A run refuses a board whose power it cannot measure.
        match found.power.as_ref().map(|power| &power.total) {
            Ok(Ok(total)) => self.good("power", format!("total {}", total.rule)),
            Ok(Err(missing)) => self.fault(
                "power",
                missing.to_string(),
                "energyllm run --board jetson --ina3221 BUS:ADDRESS:CHANNEL:SHUNT, where a chip at the board's input can be asked",
            ),
            Err(missing) => self.fault(
                "power",
                missing.to_string(),
                "sudo modprobe ina3221; on a carrier without the driver: energyllm run --board jetson --ina3221 \
                 BUS:ADDRESS:CHANNEL:SHUNT",
            ),
        }
    }

    fn fan(&mut self, tree: &dyn FileTree, found: &Found, services: &dyn Services, access: &dyn Access) {
        let Ok(fan) = &found.fan else {
            self.warn("fan", "none that can be set", "give the board a fan, or keep its power mode low");
            return;
        };
        match access.can_write(&fan.pwm) {
            Ok(()) => self.good("fan", fan.pwm.display().to_string()),
            Err(error) => self.warn(
                "fan",
                format!("{}: {error}; it stays the vendor's", fan.pwm.display()),
                "run as root, or install packaging/90-energyllm.rules",
            ),
        }
        // JetPack 4 has no such service: there the kernel's own table drives the fan.
        if let Some(control) = &fan.temperature_control {
            if integer(tree, control) == Ok(0) {
                let control = control.display();
                self.warn(
                    "fan control",
                    format!("{control} is 0: nobody drives the fan"),
                    format!("echo 1 | sudo tee {control}"),
                );
            }
        } else if services.is_active(FAN_SERVICE) == Some(false) {
            self.warn(
                "fan service",
                "not running: nobody drives the fan",
                format!("sudo systemctl start {FAN_SERVICE}"),
            );
        }
    }

    /// Programs that write the same knobs.
    fn rivals(&mut self, services: &dyn Services) {
        for (service, does) in [
            ("jtop.service", "may set fan, clocks and power mode again at any time"),
            ("jetson_clocks.service", "pins the clocks at boot"),
        ] {
            if services.is_active(service) == Some(true) {
                self.warn("rival", format!("{service} {does}"), format!("sudo systemctl stop {service}"));
            }
        }
    }
}

fn mhz(hz: u64) -> u64 {
    hz / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::super::services::{NoServices, ServiceError};
    use super::super::tree::CapturedTree;
    use super::*;

    /// Files with another content than the board's.
    type Change<'a> = &'a [(&'a str, &'a str)];

    struct Everything;
    struct Nothing;

    impl Access for Everything {
        fn can_write(&self, _: &Path) -> Result<(), std::io::Error> {
            Ok(())
        }
    }

    impl Access for Nothing {
        fn can_write(&self, _: &Path) -> Result<(), std::io::Error> {
            Err(rustix::io::Errno::ROFS.into())
        }
    }

    fn board(change: &[(&str, &str)]) -> CapturedTree {
        let mut files = serde_json::json!({
            "/proc/device-tree/compatible": "nvidia,p3701-0005\0nvidia,tegra234\0",
            "/sys/class/devfreq/17000000.gpu/available_frequencies": "306000000 612000000",
            "/sys/class/devfreq/17000000.gpu/min_freq": "306000000",
            "/sys/class/devfreq/17000000.gpu/max_freq": "612000000",
            "/sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov",
            "/sys/class/thermal/thermal_zone0/type": "tj-thermal",
            "/sys/class/thermal/thermal_zone0/temp": "45000",
            "/sys/class/hwmon/hwmon3/name": "ina3221",
            "/sys/class/hwmon/hwmon3/in1_label": "VDD_IN",
            "/sys/class/hwmon/hwmon3/in1_input": "5000",
            "/sys/class/hwmon/hwmon3/curr1_input": "900",
        });
        for (path, text) in change {
            files[*path] = (*text).into();
        }
        CapturedTree::parse(&serde_json::json!({ "files": files }).to_string()).unwrap()
    }

    fn examined(tree: &CapturedTree, access: &dyn Access) -> Vec<Finding> {
        let state = tempfile::tempdir().unwrap();
        examine(tree, &Found::discover(tree), &NoServices, state.path(), access)
    }

    fn worst(findings: &[Finding], check: &str) -> Option<Severity> {
        findings.iter().filter(|finding| finding.check == check).map(|finding| finding.severity).max()
    }

    #[test]
    fn a_board_in_order_has_no_fault_and_every_complaint_has_a_mend() {
        let findings = examined(&board(&[]), &Everything);
        assert!(findings.iter().all(|finding| finding.severity < Severity::Fault), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.mend.is_some() == (finding.severity > Severity::Good)));
    }

    #[test]
    fn each_trouble_is_found() {
        let node = "/sys/class/devfreq/17000000.gpu";
        let zone = "/sys/class/thermal/thermal_zone0/temp";
        let cases: [(Change<'_>, &str, Severity); 8] = [
            (&[("/sys/class/hwmon/hwmon3/name", "nvme")], "power", Severity::Fault),
            (&[("/sys/class/hwmon/hwmon3/in1_label", "VDD_CPU")], "power", Severity::Fault),
            (&[(&format!("{node}/min_freq"), "612000000")], "GPU range", Severity::Warning),
            (&[(&format!("{node}/max_freq"), "500000000")], "GPU range", Severity::Warning),
            (&[(&format!("{node}/available_frequencies"), "")], "GPU clocks", Severity::Fault),
            (&[(&format!("{node}/governor"), "userspace")], "GPU governor", Severity::Warning),
            (&[(zone, "-256000")], "temperature", Severity::Fault),
            (&[(zone, "9223372036854775807")], "temperature", Severity::Fault),
        ];
        for (change, check, severity) in cases {
            assert_eq!(worst(&examined(&board(change), &Everything), check), Some(severity), "{change:?}");
        }
        let read_only = examined(&board(&[]), &Nothing);
        assert_eq!(worst(&read_only, "write access"), Some(Severity::Fault));
        assert!(read_only.iter().any(|finding| finding.mend.as_ref().is_some_and(|mend| mend.contains("docker"))));
    }

    /// A system that knows no service of the vendor's, as on `JetPack` 4.
    #[derive(Debug)]
    struct Stopped;

    impl Services for Stopped {
        fn is_active(&self, _: &str) -> Option<bool> {
            Some(false)
        }

        fn stop(&self, service: &str) -> Result<(), ServiceError> {
            NoServices.stop(service)
        }

        fn start(&self, service: &str) -> Result<(), ServiceError> {
            NoServices.start(service)
        }

        fn set_power_mode(&self, id: u32) -> Result<(), ServiceError> {
            NoServices.set_power_mode(id)
        }
    }

    #[test]
    fn whoever_drives_the_fan_is_looked_for_where_he_is() {
        let (pwm, target) = ("/sys/class/hwmon/hwmon1", "/sys/devices/pwm-fan");
        let hwmon: Change<'_> = &[(&format!("{pwm}/name"), "pwmfan"), (&format!("{pwm}/pwm1"), "66")];
        for (change, check) in [
            (hwmon.to_vec(), Some("fan service")),
            (vec![(&*format!("{target}/target_pwm"), "66"), (&*format!("{target}/temp_control"), "1")], None),
            (
                vec![(&*format!("{target}/target_pwm"), "66"), (&*format!("{target}/temp_control"), "0")],
                Some("fan control"),
            ),
        ] {
            let (tree, state) = (board(&change), tempfile::tempdir().unwrap());
            let findings = examine(&tree, &Found::discover(&tree), &Stopped, state.path(), &Everything);
            let complaint = findings.iter().find(|finding| finding.severity > Severity::Good);
            assert_eq!(complaint.map(|finding| finding.check), check, "{findings:?}");
        }
    }

    #[test]
    fn the_mode_that_lifts_a_cap_is_named_by_its_number_on_this_board() {
        let tree = board(&[
            ("/sys/class/devfreq/17000000.gpu/max_freq", "500000000"),
            (
                "/etc/nvpmodel.conf",
                "< POWER_MODEL ID=0 NAME=15W >\nGPU MAX_FREQ 500000000\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
            ),
        ]);
        let findings = examined(&tree, &Everything);
        let mend =
            findings.iter().find(|finding| finding.check == "GPU range").and_then(|finding| finding.mend.clone());
        assert_eq!(mend.as_deref(), Some("sudo nvpmodel -m 2   (MAXN_SUPER)"));
    }

    #[test]
    fn what_a_killed_run_has_left_is_told() {
        let (tree, state) = (board(&[]), tempfile::tempdir().unwrap());
        Baseline::of_this_boot(&tree).save(state.path()).unwrap();
        let examine = || examine(&tree, &Found::discover(&tree), &NoServices, state.path(), &Everything);
        assert_eq!(worst(&examine(), "controller"), Some(Severity::Warning));
        let lock = Lock::take(state.path()).unwrap();
        assert_eq!(worst(&examine(), "controller"), Some(Severity::Fault));
        drop(lock);
        std::fs::write(state.path().join("baseline.json"), "x").unwrap();
        assert_eq!(worst(&examine(), "controller"), Some(Severity::Fault));
    }
}
