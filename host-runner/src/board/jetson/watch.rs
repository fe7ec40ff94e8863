//! The board's temperature, second by second, for the fan and for the record.

use super::super::actuator::Thermometer;
use super::super::telemetry::Sampler;
use controller_core::telemetry::Reading;
use controller_core::time::{Duration, Instant};
use controller_core::units::MilliCelsius;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Older readings are no temperature: three sampling periods of the slowest sensible sampler.
const MAX_AGE: Duration = Duration::from_secs(3);

/// Colder than anything.
const NONE: i32 = i32::MIN;

/// What has been seen of the temperature.
#[derive(Debug)]
pub struct Watch {
    limit: MilliCelsius,
    /// Since the start, m°C.
    peak: AtomicI32,
    /// Since it was taken last, m°C.
    turn_peak: AtomicI32,
    above_us: AtomicU64,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Watch {
    /// A watch on this limit.
    #[must_use]
    pub const fn new(limit: MilliCelsius) -> Self {
        Self {
            limit,
            peak: AtomicI32::new(NONE),
            turn_peak: AtomicI32::new(NONE),
            above_us: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// A thermometer for the fan, which is read every second, and so keeps the watch.
    #[must_use]
    pub fn thermometer(self: &Arc<Self>, sampler: &Arc<Sampler>) -> Thermometer {
        let (watch, sampler) = (Arc::clone(self), Arc::clone(sampler));
        let latest = Mutex::new(sampler.latest());
        Box::new(move || {
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            sampler.refresh(&mut latest);
            let temperature = latest.sample.temperature(latest.meter.channels());
            watch.see(temperature, sampler.clock().now())
        })
    }

    /// The temperature now, where there is one that is not too old.
    #[must_use]
    pub fn temperature(&self, sampler: &Sampler) -> Option<MilliCelsius> {
        let latest = sampler.latest();
        self.see(latest.sample.temperature(latest.meter.channels()), sampler.clock().now())
    }

    /// Takes a reading in and gives it back, when it is not too old.
    pub fn see(&self, reading: Reading<MilliCelsius>, now: Instant) -> Option<MilliCelsius> {
        let temperature = reading.fresh(now, MAX_AGE);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, true)) = *last {
            self.above_us.fetch_add(now.since(before).micros(), Ordering::Relaxed);
        }
        *last = Some((now, temperature.is_some_and(|temperature| temperature > self.limit)));
        let temperature = temperature?;
        self.peak.fetch_max(temperature.0, Ordering::Relaxed);
        self.turn_peak.fetch_max(temperature.0, Ordering::Relaxed);
        Some(temperature)
    }

    /// The highest temperature since this was asked last.
    #[must_use]
    pub fn take_peak(&self) -> Option<MilliCelsius> {
        let peak = self.turn_peak.swap(NONE, Ordering::Relaxed);
        (peak != NONE).then_some(MilliCelsius(peak))
    }

    /// The highest temperature so far, °C; NaN before the first.
    #[must_use]
    pub fn peak_c(&self) -> f64 {
        match self.peak.load(Ordering::Relaxed) {
            NONE => f64::NAN,
            peak => f64::from(peak) / 1000.0,
        }
    }

    /// Seconds above the limit so far.
    #[must_use]
    pub fn above_limit_s(&self) -> f64 {
        self.above_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_core::telemetry::Absence;

    #[test]
    fn peaks_and_time_above_the_limit_are_kept() {
        let watch = Watch::new(MilliCelsius(95_000));
        assert!(watch.peak_c().is_nan() && watch.take_peak().is_none());
        let second = |second: u64| Instant::from_micros(second * 1_000_000);
        for (at, temperature) in [(0, 90_000), (1, 96_000), (2, 97_000), (3, 94_000), (4, 93_000)] {
            let reading = Reading::at(MilliCelsius(temperature), second(at));
            assert_eq!(watch.see(reading, second(at)), Some(MilliCelsius(temperature)));
        }
        assert!((watch.above_limit_s() - 2.0).abs() < 1e-9);
        assert_eq!((watch.take_peak(), watch.take_peak()), (Some(MilliCelsius(97_000)), None));
        assert!((watch.peak_c() - 97.0).abs() < 1e-9);
        assert_eq!(watch.see(Reading::at(MilliCelsius(50_000), second(4)), second(8)), None, "too old");
        assert_eq!(watch.see(Reading::Absent(Absence::ReadFailed), second(9)), None);
    }
}
