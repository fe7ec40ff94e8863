//! What a board says while it works: channels, samples of them, and what the controller takes from them.
//!
//! A *channel* is one quantity from one place. A [`Meter`] has channels and reads them; a [`Sampler`]
//! reads all of them again and again in threads of its own, so that a driver that hangs costs one
//! channel and not the control loop. A *sample* has one [`Reading`] for each channel, each with the time
//! at which it was taken or the reason why it is absent.

mod sampler;
mod tree_meter;

pub use sampler::{Latest, Plan, Sampler, Stuck};
pub use tree_meter::{TreeMeter, TreeSource};

use controller_core::telemetry::{Absence, Reading, Telemetry};
use controller_core::time::Instant;
use controller_core::units::{KiloHertz, MilliCelsius, MilliWatts};
use serde::Serialize;

/// One quantity from one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Name on the board, such as `VDD_IN` or `gpu-thermal`.
    pub name: String,
    /// What it is, with its unit.
    pub quantity: Quantity,
    /// What it means to the controller.
    pub role: Role,
    /// What a value covers.
    pub average: Average,
    /// Where it is read, for people.
    pub place: String,
}

/// A physical quantity with the unit of its readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// mW.
    Power,
    /// m°C.
    Temperature,
    /// kHz.
    Clock,
    /// Per mille.
    Load,
    /// 0 to 255.
    FanDrive,
    /// Revolutions per minute.
    FanSpeed,
    /// State of a cooling device, 0 for idle; or of an alarm.
    State,
    /// Events since boot.
    Events,
}

impl Quantity {
    /// The unit, as it ends a column's name.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Power => "mw",
            Self::Temperature => "mc",
            Self::Clock => "khz",
            Self::Load => "permille",
            Self::FanDrive => "pwm",
            Self::FanSpeed => "rpm",
            Self::State => "state",
            Self::Events => "events",
        }
    }
}

/// What a channel means to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Part of the board's total power; the total is the sum of these.
    Total,
    /// A temperature that counts for control.
    Temperature,
    /// The GPU's clock.
    GpuClock,
    /// The fan's drive.
    Fan,
    /// Above 0 while the hardware throttles.
    Throttle,
    /// The board is at the end of its supply, or its firmware throttles it: a state above 0, or a counter that rises.
    Strain,
    /// Shown and recorded only.
    Shown,
}

/// What one value covers in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The moment.
    Moment,
    /// The mean over this many microseconds before it.
    Window(u64),
    /// The mean since the value before.
    SinceLast,
}

impl Channel {
    /// Name of the channel's column in a recording, such as `VDD_IN_mw`.
    #[must_use]
    pub fn column(&self) -> String {
        format!("{}_{}", self.name, self.quantity.unit())
    }
}

/// Something with channels.
pub trait Meter: Send + Sync {
    /// The channels; the same for as long as the meter lives.
    fn channels(&self) -> &[Channel];

    /// Reads one channel; may block as long as the driver does. [`Absence::NoSensor`] of a channel that
    /// was there means that the meter should be built anew.
    fn read(&self, channel: usize) -> Result<i64, Absence>;

    /// Nothing that is known to come late is still absent.
    fn is_complete(&self) -> bool {
        true
    }
}

/// Several meters as one.
pub struct Meters {
    meters: Vec<Box<dyn Meter>>,
    channels: Vec<Channel>,
}

impl Meters {
    /// The channels of all meters, in their order.
    #[must_use]
    pub fn new(meters: Vec<Box<dyn Meter>>) -> Self {
        let channels = meters.iter().flat_map(|meter| meter.channels().to_vec()).collect();
        Self { meters, channels }
    }
}

impl Meter for Meters {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&self, mut channel: usize) -> Result<i64, Absence> {
        for meter in &self.meters {
            let count = meter.channels().len();
            if channel < count {
                return meter.read(channel);
            }
            channel -= count;
        }
        Err(Absence::NoSensor)
    }

    fn is_complete(&self) -> bool {
        self.meters.iter().all(|meter| meter.is_complete())
    }
}

/// One reading for each channel of a meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Readings in the order of the channels.
    pub readings: Vec<Reading<i64>>,
}

impl Sample {
    /// A sample before anything was read.
    #[must_use]
    pub fn unread(channels: usize) -> Self {
        Self { readings: vec![Reading::Absent(Absence::NotYetRead); channels] }
    }

    /// Takes over another sample without allocating, once it had as many channels before.
    pub fn copy_from(&mut self, other: &Self) {
        self.readings.clear();
        self.readings.extend_from_slice(&other.readings);
    }

    /// Reads every channel once, here and now.
    pub fn read(&mut self, meter: &dyn Meter, clock: &Clock) {
        let count = meter.channels().len();
        self.readings.resize(count, Reading::Absent(Absence::NotYetRead));
        for (channel, reading) in self.readings.iter_mut().enumerate() {
            *reading = read_channel(meter, channel, clock);
        }
    }

    fn with_role<'a>(&'a self, channels: &'a [Channel], role: Role) -> impl Iterator<Item = Reading<i64>> + 'a {
        channels
            .iter()
            .zip(&self.readings)
            .filter(move |(channel, _)| channel.role == role)
            .map(|(_, reading)| *reading)
    }

    /// The board's total power: the sum of its parts, as old as the oldest of them. Absent when a part is.
    #[must_use]
    pub fn total_power(&self, channels: &[Channel]) -> Reading<MilliWatts> {
        fold(self.with_role(channels, Role::Total), i64::saturating_add, true, |sum| MilliWatts(clamp(sum)))
    }

    /// The highest temperature that counts. It is as old as the oldest of them: a zone that hangs could
    /// be the hottest by now. A zone without power does not count.
    #[must_use]
    pub fn temperature(&self, channels: &[Channel]) -> Reading<MilliCelsius> {
        let highest = |highest: i64| {
            MilliCelsius(i32::try_from(highest).unwrap_or(if highest < 0 { i32::MIN } else { i32::MAX }))
        };
        fold(self.with_role(channels, Role::Temperature), i64::max, false, highest)
    }

    /// The GPU's clock; absent while it has no power.
    #[must_use]
    pub fn gpu_clock(&self, channels: &[Channel]) -> Reading<KiloHertz> {
        fold(self.with_role(channels, Role::GpuClock), i64::max, false, |clock| KiloHertz(clamp(clock)))
    }

    /// The fan's drive, 0 to 255.
    #[must_use]
    pub fn fan_drive(&self, channels: &[Channel]) -> Reading<u8> {
        let drive = |drive: i64| u8::try_from(drive.clamp(0, 255)).unwrap_or(u8::MAX);
        fold(self.with_role(channels, Role::Fan), i64::max, false, drive)
    }

    /// The hardware throttles, as far as anybody can see.
    #[must_use]
    pub fn throttles(&self, channels: &[Channel]) -> bool {
        let tells = |channel: &Channel| {
            channel.quantity == Quantity::State && matches!(channel.role, Role::Throttle | Role::Strain)
        };
        let states = channels.iter().zip(&self.readings).filter(|(channel, _)| tells(channel));
        states.into_iter().any(|(_, reading)| reading.value().is_some_and(|state| state > 0))
    }

    /// What the controller looks at; queue and load are the caller's.
    #[must_use]
    pub fn telemetry(&self, channels: &[Channel]) -> Telemetry {
        Telemetry {
            temperature: self.temperature(channels),
            power: self.total_power(channels),
            gpu_clock: self.gpu_clock(channels),
            fan_pwm: self.fan_drive(channels),
            ..Telemetry::UNKNOWN
        }
    }
}

/// Joins readings to one that is as old as the oldest of them. With `all`, one that is absent is enough
/// to have none; otherwise those that are there count. No reading at all is no sensor.
fn fold<T: Copy>(
    readings: impl Iterator<Item = Reading<i64>>,
    join: impl Fn(i64, i64) -> i64,
    all: bool,
    convert: impl Fn(i64) -> T,
) -> Reading<T> {
    let mut joined: Option<(i64, Instant)> = None;
    let mut absence = None;
    for reading in readings {
        match reading {
            Reading::Present { value, taken_at } => {
                joined =
                    Some(joined.map_or((value, taken_at), |(sum, oldest)| (join(sum, value), oldest.min(taken_at))));
            }
            Reading::Absent(why) if all => return Reading::Absent(why),
            Reading::Absent(why) => absence = absence.or(Some(why)),
        }
    }
    match joined {
        Some((value, oldest)) => Reading::at(convert(value), oldest),
        None => Reading::Absent(absence.unwrap_or(Absence::NoSensor)),
    }
}

fn clamp(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

/// A monotonic clock in the controller's time; copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that shows 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// Reads one channel; the time of the reading is the middle of the call.
fn read_channel(meter: &dyn Meter, channel: usize, clock: &Clock) -> Reading<i64> {
    let before = clock.now().micros();
    let value = meter.read(channel);
    let after = clock.now().micros();
    match value {
        Ok(value) => Reading::at(value, Instant::from_micros(before + (after - before) / 2)),
        Err(absence) => Reading::Absent(absence),
    }
}

#[cfg(test)]
mod tests;
