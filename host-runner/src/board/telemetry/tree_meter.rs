//! The channels of a board whose sensors are files.

use super::{Average, Channel, Meter, Quantity, Role};
use crate::board::attribute::integer;
use crate::board::discover::Found;
use crate::board::discover::power::{Rail, Source as RailSource};
use crate::board::discover::thermal::Kind;
use crate::board::discover::throttle::CoolingKind;
use crate::board::tree::{FileTree, TreeError};
use crate::measure::counter::EnergyCounter;
use controller_core::telemetry::Absence;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What drivers of JetPack 4 and 5 report for a sensor without power is -256 °C.
const OFFLINE_BELOW_MC: i64 = -100_000;

/// How a channel's value is made of files.
#[derive(Debug)]
pub enum TreeSource {
    /// The number in a file.
    Number(PathBuf),
    /// The number in a file, divided.
    Divided(PathBuf, i64),
    /// The product of two numbers, divided by 1000: mV times mA to mW.
    Product(PathBuf, PathBuf),
    /// A temperature, m°C; far below zero is a sensor without power.
    Temperature(PathBuf),
    /// A clock in Hz; 0 is a unit without power.
    Clock(PathBuf),
    /// An energy counter in µJ, as mean power since the read before.
    Energy(PathBuf, Mutex<EnergyCounter>),
}

/// The channels of a tree.
pub struct TreeMeter {
    tree: Arc<dyn FileTree>,
    channels: Vec<Channel>,
    sources: Vec<TreeSource>,
    complete: bool,
}

impl TreeMeter {
    /// A meter without channels.
    #[must_use]
    pub fn new(tree: Arc<dyn FileTree>) -> Self {
        Self { tree, channels: Vec::new(), sources: Vec::new(), complete: true }
    }

    /// The channels of a Jetson, as far as they were found.
    ///
    /// The GPU's clock comes late: without it the meter is incomplete, and should be built anew.
    #[must_use]
    pub fn jetson(tree: Arc<dyn FileTree>, found: &Found) -> Self {
        let mut meter = Self::new(tree);
        meter.complete = found.gpu.is_ok() || !found.is_jetson();
        meter.add_power(found);
        meter.add_temperatures(found);
        meter.add_gpu(found);
        meter.add_fan(found);
        meter.add_throttling(found);
        meter
    }

    /// Adds a channel.
    pub fn add(&mut self, name: &str, quantity: Quantity, role: Role, average: Average, source: TreeSource) {
        let place = match &source {
            TreeSource::Number(path)
            | TreeSource::Divided(path, _)
            | TreeSource::Temperature(path)
            | TreeSource::Clock(path)
            | TreeSource::Energy(path, _) => path.display().to_string(),
            TreeSource::Product(a, b) => format!("{} x {}", a.display(), b.display()),
        };
        self.channels.push(Channel { name: name.to_owned(), quantity, role, average, place });
        self.sources.push(source);
    }

    fn add_power(&mut self, found: &Found) {
        let Ok(power) = &found.power else { return };
        let of_total = power.total.as_ref().map_or(&[][..], |total| &total.rails);
        for (place, rail) in power.rails.iter().enumerate() {
            let role = if of_total.contains(&place) { Role::Total } else { Role::Shown };
            let average = rail.window_us.map_or(Average::Moment, Average::Window);
            self.add(&rail.name, Quantity::Power, role, average, rail_source(rail));
        }
        for rail in &power.rails {
            for alarm in &rail.alarms {
                // The critical limit is that of single conversions (OC3), the other that of the mean (OC2).
                let is_critical = alarm.to_string_lossy().contains("crit");
                let (kind, role) = if is_critical { ("critical", Role::Throttle) } else { ("limit", Role::Strain) };
                let name = format!("{}-{kind}-alarm", rail.name);
                let source = TreeSource::Number(alarm.clone());
                self.add(&name, Quantity::State, role, Average::Moment, source);
            }
        }
    }

    fn add_temperatures(&mut self, found: &Found) {
        let Ok(thermal) = &found.thermal else { return };
        let none_counts = thermal.zones.iter().all(|zone| zone.kind != Kind::Board);
        for zone in thermal.zones.iter().filter(|zone| zone.kind != Kind::Dummy) {
            let counts = none_counts || zone.kind == Kind::Board;
            let role = if counts { Role::Temperature } else { Role::Shown };
            let source = TreeSource::Temperature(zone.temperature.clone());
            self.add(&zone.name, Quantity::Temperature, role, Average::Moment, source);
        }
    }

    fn add_gpu(&mut self, found: &Found) {
        if let Ok(gpu) = &found.gpu {
            let clock = TreeSource::Clock(gpu.file("cur_freq"));
            self.add("gpu", Quantity::Clock, Role::GpuClock, Average::Moment, clock);
            if let Ok(load) = &gpu.load {
                self.add("gpu", Quantity::Load, Role::Shown, Average::Moment, TreeSource::Number(load.clone()));
            }
        }
        if let Ok(memory) = &found.memory {
            self.add("emc", Quantity::Clock, Role::Shown, Average::Moment, TreeSource::Clock(memory.rate.clone()));
        }
    }

    fn add_fan(&mut self, found: &Found) {
        if let Ok(fan) = &found.fan {
            self.add("fan", Quantity::FanDrive, Role::Fan, Average::Moment, TreeSource::Number(fan.drive.clone()));
            for (number, other) in fan.others.iter().enumerate() {
                let name = format!("fan{}", number + 2);
                self.add(&name, Quantity::FanDrive, Role::Shown, Average::Moment, TreeSource::Number(other.clone()));
            }
        }
        if let Ok(meter) = &found.tachometer {
            self.add("fan", Quantity::FanSpeed, Role::Shown, Average::Moment, TreeSource::Number(meter.rpm.clone()));
        }
    }

    fn add_throttling(&mut self, found: &Found) {
        if let Ok(cooling) = &found.cooling {
            for device in &cooling.devices {
                let role = match device.kind {
                    CoolingKind::Throttling => Role::Strain,
                    CoolingKind::Alert | CoolingKind::GpuCap | CoolingKind::Cap => Role::Throttle,
                    CoolingKind::Fan | CoolingKind::Other => Role::Shown,
                };
                let source = TreeSource::Number(device.state.clone());
                self.add(&device.name, Quantity::State, role, Average::Moment, source);
            }
        }
        if let Ok(over_current) = &found.over_current {
            for counter in &over_current.counters {
                let file = counter.file_name().unwrap_or_default().to_string_lossy();
                let name = file.split('_').next().unwrap_or_default();
                // Of Orin and Thor: OC1 is a supply that sags, OC2 a mean current above its limit. OC3 counts single
                // conversions, thousands an hour in the fastest modes, without harm.
                let is_strain = matches!(&*file, "oc1_event_cnt" | "oc2_event_cnt");
                let role = if is_strain { Role::Strain } else { Role::Shown };
                self.add(name, Quantity::Events, role, Average::Moment, TreeSource::Number(counter.clone()));
            }
        }
    }
}

fn rail_source(rail: &Rail) -> TreeSource {
    match &rail.source {
        RailSource::Product { millivolts, milliamps } => TreeSource::Product(millivolts.clone(), milliamps.clone()),
        RailSource::MilliWatts(path) => TreeSource::Number(path.clone()),
        RailSource::MicroWatts(path) => TreeSource::Divided(path.clone(), 1000),
    }
}

impl Meter for TreeMeter {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&self, channel: usize) -> Result<i64, Absence> {
        let read = |path: &Path| integer(&*self.tree, path).map_err(absence);
        match self.sources.get(channel).ok_or(Absence::NoSensor)? {
            TreeSource::Number(path) => read(path),
            TreeSource::Divided(path, by) => Ok(read(path)? / by),
            TreeSource::Product(a, b) => Ok(read(a)?.checked_mul(read(b)?).ok_or(Absence::ReadFailed)? / 1000),
            TreeSource::Temperature(path) => match read(path)? {
                value if value < OFFLINE_BELOW_MC => Err(Absence::PoweredDown),
                value => Ok(value),
            },
            TreeSource::Clock(path) => match read(path)? {
                0 => Err(Absence::PoweredDown),
                hertz => Ok(hertz / 1000),
            },
            TreeSource::Energy(path, counter) => {
                let energy = u64::try_from(read(path)?).map_err(|_| Absence::ReadFailed)?;
                let now = std::time::Instant::now();
                let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
                counter.update(energy, now).ok_or(Absence::NotYetRead)
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

/// EAGAIN and ENODATA come from a part without power or a channel that is off, and are not tried again
/// before the next sample.
fn absence(error: TreeError) -> Absence {
    const NO_DATA: i32 = Errno::NODATA.raw_os_error();
    const NO_DEVICE: i32 = Errno::NODEV.raw_os_error();
    match error {
        TreeError::Again | TreeError::Io(NO_DATA) => Absence::PoweredDown,
        TreeError::NotFound | TreeError::Io(NO_DEVICE) => Absence::NoSensor,
        TreeError::Denied | TreeError::Hangs | TreeError::Io(_) => Absence::ReadFailed,
    }
}
