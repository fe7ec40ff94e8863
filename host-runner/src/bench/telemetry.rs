//! What one sample of a board costs.

use crate::board::survey::{Place, Survey};
use crate::board::telemetry::{Clock, Sample};
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
    let rank = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    Cost { channels: sample.readings.len(), median_ns: rank(50), p99_ns: rank(99) }
}
