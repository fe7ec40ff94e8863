//! Sensors that do not tell the truth.

use controller_core::rng::Pcg32;
use controller_core::telemetry::{Absence, Reading, Telemetry};
use controller_core::units::MilliCelsius;

/// How the temperature sensor fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorFault {
    /// It cannot be read.
    Dropout,
    /// It answers with its last value and the time of that.
    Stuck,
    /// It answers with a value up to 60 K away from the truth.
    Spike,
}

/// Failures of the temperature sensor in some of the turns.
#[derive(Clone, Debug)]
pub struct SensorFaults {
    rng: Pcg32,
    per_mille: u32,
    present: Option<SensorFault>,
    turns_left: u32,
    last: Reading<MilliCelsius>,
}

impl SensorFaults {
    /// A failure begins in `per_mille` of a thousand turns, and lasts for 1 to 10 of them.
    #[must_use]
    pub const fn new(seed: u64, per_mille: u32) -> Self {
        let last = Reading::Absent(Absence::NotYetRead);
        Self { rng: Pcg32::new(seed), per_mille, present: None, turns_left: 0, last }
    }

    /// What the controller gets to see instead of the truth, and how the sensor fails.
    pub fn see(&mut self, truth: &Telemetry) -> (Telemetry, Option<SensorFault>) {
        if self.turns_left == 0 {
            self.present = None;
            if self.rng.below(1000) < self.per_mille {
                let faults = [SensorFault::Dropout, SensorFault::Stuck, SensorFault::Spike];
                self.present = faults.get(self.rng.below(3) as usize).copied();
                self.turns_left = 1 + self.rng.below(10);
            }
        }
        self.turns_left = self.turns_left.saturating_sub(1);
        let temperature = match self.present {
            None => {
                self.last = truth.temperature;
                truth.temperature
            }
            Some(SensorFault::Dropout) => Reading::Absent(Absence::ReadFailed),
            Some(SensorFault::Stuck) => self.last,
            Some(SensorFault::Spike) => self.spike(truth.temperature),
        };
        (Telemetry { temperature, ..*truth }, self.present)
    }

    fn spike(&mut self, truth: Reading<MilliCelsius>) -> Reading<MilliCelsius> {
        let Reading::Present { value, taken_at } = truth else { return truth };
        let off = i32::try_from(self.rng.below(120_001)).unwrap_or(0) - 60_000;
        Reading::at(MilliCelsius(value.0.saturating_add(off)), taken_at)
    }
}
