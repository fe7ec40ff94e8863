//! NVIDIA GPUs through NVML, the library of their driver, which is loaded while the program runs: without
//! it there is a named absence.

use crate::board::discover::Missing;
use crate::board::telemetry::{Average, Channel, Meter, Quantity, Role};
use crate::measure::counter::EnergyCounter;
use controller_core::telemetry::Absence;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml as Library};
use std::ffi::OsStr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The GPUs of this machine.
pub struct Nvml {
    library: Library,
    channels: Vec<Channel>,
    sources: Vec<(u32, Source)>,
    /// Model of each GPU.
    pub models: Vec<String>,
}

enum Source {
    /// Energy since the driver was loaded, as mean power since the read before.
    Energy(Mutex<EnergyCounter>),
    Power,
    Temperature,
    GraphicsClock,
    MemoryClock,
    Load,
}

impl Nvml {
    /// Loads the library of the driver.
    pub fn discover() -> Result<Self, Missing> {
        Self::load(None)
    }

    fn load(path: Option<&OsStr>) -> Result<Self, Missing> {
        let missing = |cause: NvmlError| Missing {
            what: "NVIDIA GPU",
            looked_for: vec![format!("libnvidia-ml.so.1 of the driver ({cause})")],
        };
        let library = match path {
            Some(path) => Library::builder().lib_path(path).init(),
            None => Library::init(),
        };
        let library = library.map_err(missing)?;
        let count = library.device_count().map_err(missing)?;
        let mut found = Self { library, channels: Vec::new(), sources: Vec::new(), models: Vec::new() };
        for index in 0..count {
            found.add(index);
        }
        if found.channels.is_empty() {
            let looked_for = vec![format!("power, temperature or clocks of {count} GPUs through NVML")];
            return Err(Missing { what: "NVIDIA GPU", looked_for });
        }
        Ok(found)
    }

    /// The channels that this GPU answers; boards with nvgpu (Orin) answer none.
    fn add(&mut self, index: u32) {
        let Ok(device) = self.library.device_by_index(index) else { return };
        let name = device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned());
        let answers = |source: &Source| !matches!(read(&device, source), Err(Absence::NoSensor));
        let counter = Source::Energy(Mutex::new(EnergyCounter::new(u64::MAX)));
        let power = if answers(&counter) { (counter, Average::SinceLast) } else { (Source::Power, Average::Moment) };
        let all = [
            (power.0, Quantity::Power, Role::Total, power.1, "energy or power"),
            (Source::Temperature, Quantity::Temperature, Role::Temperature, Average::Moment, "temperature"),
            (Source::GraphicsClock, Quantity::Clock, Role::GpuClock, Average::Moment, "graphics clock"),
            (Source::MemoryClock, Quantity::Clock, Role::Shown, Average::Moment, "memory clock"),
            (Source::Load, Quantity::Load, Role::Shown, Average::Moment, "utilization"),
        ];
        let kept: Vec<_> = all.into_iter().filter(|(source, ..)| answers(source)).collect();
        for (source, quantity, role, average, what) in kept {
            let channel = match source {
                Source::MemoryClock => format!("gpu{index}-memory"),
                _ => format!("gpu{index}"),
            };
            let place = format!("NVML, GPU {index}: {what}");
            self.channels.push(Channel { name: channel, quantity, role, average, place });
            self.sources.push((index, source));
        }
        self.models.push(name);
    }
}

impl Meter for Nvml {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&self, channel: usize) -> Result<i64, Absence> {
        let (index, source) = self.sources.get(channel).ok_or(Absence::NoSensor)?;
        read(&self.library.device_by_index(*index).map_err(|error| absence(&error))?, source)
    }
}

fn read(device: &Device<'_>, source: &Source) -> Result<i64, Absence> {
    let kilohertz = |clock| device.clock_info(clock).map(|megahertz| i64::from(megahertz) * 1000);
    match source {
        Source::Energy(counter) => {
            let millijoules = device.total_energy_consumption().map_err(|error| absence(&error))?;
            let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
            counter.update(millijoules.saturating_mul(1000), Instant::now()).ok_or(Absence::NotYetRead)
        }
        Source::Power => device.power_usage().map(i64::from).map_err(|error| absence(&error)),
        Source::Temperature => device
            .temperature(TemperatureSensor::Gpu)
            .map(|celsius| i64::from(celsius) * 1000)
            .map_err(|error| absence(&error)),
        Source::GraphicsClock => kilohertz(Clock::Graphics).map_err(|error| absence(&error)),
        Source::MemoryClock => kilohertz(Clock::Memory).map_err(|error| absence(&error)),
        Source::Load => {
            device.utilization_rates().map(|rates| i64::from(rates.gpu) * 10).map_err(|error| absence(&error))
        }
    }
}

/// What the library cannot do here is no sensor; everything else may work again.
fn absence(error: &NvmlError) -> Absence {
    match error {
        NvmlError::NotSupported
        | NvmlError::NoPermission
        | NvmlError::InvalidArg
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::FunctionNotFound => Absence::NoSensor,
        _ => Absence::ReadFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_library_is_a_named_absence() {
        let message = Nvml::load(Some(OsStr::new("/nowhere/libnvidia-ml.so.1"))).err().unwrap().to_string();
        assert!(message.starts_with("no NVIDIA GPU; looked for libnvidia-ml.so.1 of the driver ("), "{message}");
    }

    /// Where there is a GPU its readings are those of a GPU; elsewhere the absence is named.
    #[test]
    fn this_machine_has_a_gpu_or_an_absence() {
        match Nvml::discover() {
            Err(missing) => eprintln!("SKIPPED: {missing}"),
            Ok(gpus) => {
                assert!(!gpus.models.is_empty());
                for (place, channel) in gpus.channels().iter().enumerate() {
                    match (channel.quantity, gpus.read(place)) {
                        (Quantity::Temperature, Ok(temperature)) => assert!((1_000..130_000).contains(&temperature)),
                        (Quantity::Power, Ok(power)) => assert!((0..2_000_000).contains(&power)),
                        (Quantity::Load, Ok(load)) => assert!((0..=1000).contains(&load)),
                        _ => {}
                    }
                }
            }
        }
    }
}
