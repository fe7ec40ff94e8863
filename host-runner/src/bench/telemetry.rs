//! What one sample of a board costs.

use crate::board::survey::{Place, Survey};
use crate::board::telemetry::{Clock, Sample};
use crate::measure::percentile::percentile;
use std::time::Instant;

/// Times of one sample, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Channels in a sample.
    pub channels: usize,
    /// Half of the samples took no longer.
    pub median_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
}

/// Samples everything that is found in a place, `samples` times.
#[must_use]
pub fn measure(place: &Place, samples: usize) -> Cost {
    let survey = Survey::make(place);
    let clock = Clock::start();
    let mut sample = Sample::default();
    sample.read(&*survey.meter, &clock);
    let mut times: Vec<u64> = (0..samples.max(1))
        .map(|_| {
            let start = Instant::now();
            sample.read(&*survey.meter, &clock);
            u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    let [median_ns, p99_ns] = [50.0, 99.0].map(|percent| percentile(&times, percent).unwrap_or(0));
    Cost { channels: sample.readings.len(), median_ns, p99_ns }
}
