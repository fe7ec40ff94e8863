//! The figures of a run.

use super::rig::Batch;
use super::{Ending, Run};
use crate::measure::percentile::percentile;

/// The figures of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Batches done.
    pub batches: usize,
    /// Length of the run, s.
    pub duration_s: f64,
    /// Highest temperature, the true one where the board is simulated, °C.
    pub max_temperature_c: f64,
    /// Time above the limit, s.
    pub above_limit_s: f64,
    /// Time in which heat held the clock down, s.
    pub throttled_s: f64,
    /// From the fan's stop to the first throttled batch, s.
    pub throttles_after_s: Option<f64>,
    /// Rails and fan, gaps included, by generated tokens.
    pub energy_per_token_j: Option<f64>,
    /// Generated tokens by time, of the whole and of the last fifty batches.
    pub tokens_per_s: [Option<f64>; 2],
    /// Nearest-rank percentiles of the batches' latency, s.
    pub latency_s: [Option<f64>; 2],
}

impl Run {
    /// Its figures.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let tokens = |batches: &[Batch]| batches.iter().map(|batch| f64::from(batch.generated_tokens)).sum::<f64>();
        let billed = self.batches.iter().filter(|batch| batch.energy_j.is_some());
        let billed_tokens: f64 = billed.map(|batch| f64::from(batch.generated_tokens)).sum();
        let rate = |batches: &[Batch], from_s: f64| {
            let last = batches.last()?;
            (last.end_s > from_s).then(|| tokens(batches) / (last.end_s - from_s))
        };
        let tail = &self.batches[self.batches.len().saturating_sub(50)..];
        let mut latencies: Vec<f64> = self.batches.iter().map(Batch::latency_s).collect();
        latencies.sort_by(f64::total_cmp);
        let fan_off_s = self.batches.iter().find(|batch| !batch.fan_working).map(|batch| batch.start_s);
        let throttled = self.batches.iter().find(|batch| batch.throttled_s > 0.0).map(|batch| batch.start_s);
        Summary {
            batches: self.batches.len(),
            duration_s: self.whole.duration_s,
            max_temperature_c: self.whole.max_temperature_c,
            above_limit_s: self.whole.above_limit_s,
            throttled_s: self.whole.throttled_s,
            throttles_after_s: throttled.zip(fan_off_s).map(|(throttled, off)| throttled - off),
            energy_per_token_j: Some(self.whole.energy_j / billed_tokens).filter(|value| value.is_finite()),
            tokens_per_s: [
                self.batches.first().and_then(|first| rate(&self.batches, first.start_s)),
                tail.first().and_then(|first| rate(tail, first.start_s)),
            ],
            latency_s: [50.0, 95.0].map(|percent| percentile(&latencies, percent)),
        }
    }

    /// Every batch was done, the limit was never passed and the board never throttled itself.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.ending == Ending::Complete && self.whole.above_limit_s <= 0.0 && self.whole.throttled_s <= 0.0
    }
}
