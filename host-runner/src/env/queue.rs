//! Requests arrive at random, independent of how fast they are answered, and wait their turn.

use controller_core::rng::Pcg32;
use controller_core::units::MilliRequestsPerSecond;
use std::collections::VecDeque;

/// Span over which the recent arrival rate is counted, seconds.
const RATE_WINDOW_S: f64 = 30.0;

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// Number of the request, from 0.
    pub number: usize,
    /// When it arrived, seconds on the board's clock.
    pub arrived_s: f64,
}

/// Poisson arrivals into a first-in, first-out queue. The same seed gives the same arrivals,
/// whatever the controller does: that is what makes two governors comparable.
#[derive(Clone, Debug)]
pub struct Queue {
    rng: Pcg32,
    /// From each moment on, s, this mean gap between arrivals, s.
    load: Vec<(f64, f64)>,
    next_s: f64,
    arrived: usize,
    total: usize,
    waiting: VecDeque<Waiting>,
    recent: VecDeque<f64>,
}

impl Queue {
    /// `total` requests at a mean rate of `per_second`, which must be above zero.
    #[must_use]
    pub fn new(per_second: f64, total: usize, seed: u64) -> Self {
        Self::with_load(&[(0.0, per_second)], total, seed)
    }

    /// The same with a rate that changes: from each moment (seconds, ascending, the first 0) on, so many requests per
    /// second, above zero.
    #[must_use]
    pub fn with_load(load: &[(f64, f64)], total: usize, seed: u64) -> Self {
        let mut queue = Self {
            rng: Pcg32::new(seed),
            load: load.iter().map(|(from_s, per_second)| (*from_s, 1.0 / per_second)).collect(),
            next_s: 0.0,
            arrived: 0,
            total,
            waiting: VecDeque::new(),
            recent: VecDeque::new(),
        };
        queue.next_s = queue.arrival_after(0.0);
        queue
    }

    /// When the request after one at `now_s` arrives: an exponential gap at the rates in force meanwhile; `libm` gives
    /// the same bits everywhere.
    fn arrival_after(&mut self, mut now_s: f64) -> f64 {
        let uniform = (f64::from(self.rng.next_u32()) + 1.0) / (f64::from(u32::MAX) + 1.0);
        let mut left = -libm::log(uniform);
        let mut gap_s = self.load.first().map_or(f64::INFINITY, |(_, gap_s)| *gap_s);
        for &(from_s, next_gap_s) in &self.load {
            if from_s > now_s {
                if now_s + left * gap_s < from_s {
                    break;
                }
                left -= (from_s - now_s) / gap_s;
                now_s = from_s;
            }
            gap_s = next_gap_s;
        }
        now_s + left * gap_s
    }

    /// Lets everything arrive that has arrived by `now_s`.
    pub fn advance(&mut self, now_s: f64) {
        while self.arrived < self.total && self.next_s <= now_s {
            self.waiting.push_back(Waiting { number: self.arrived, arrived_s: self.next_s });
            self.recent.push_back(self.next_s);
            self.arrived += 1;
            self.next_s = self.arrival_after(self.next_s);
        }
        while self.recent.front().is_some_and(|arrived| *arrived < now_s - RATE_WINDOW_S) {
            self.recent.pop_front();
        }
    }

    /// When the next request arrives; `None` when all have.
    #[must_use]
    pub fn next_arrival_s(&self) -> Option<f64> {
        (self.arrived < self.total).then_some(self.next_s)
    }

    /// Requests that have arrived so far.
    #[must_use]
    pub const fn arrived(&self) -> usize {
        self.arrived
    }

    /// Requests that wait now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long the oldest request has waited, seconds; 0 when nobody waits.
    #[must_use]
    pub fn oldest_wait_s(&self, now_s: f64) -> f64 {
        self.waiting.front().map_or(0.0, |waiting| (now_s - waiting.arrived_s).max(0.0))
    }

    /// How long each request has waited, seconds, oldest first.
    pub fn waits_s(&self, now_s: f64) -> impl Iterator<Item = f64> {
        self.waiting.iter().map(move |waiting| (now_s - waiting.arrived_s).max(0.0))
    }

    /// Takes the `count` oldest requests.
    pub fn take(&mut self, count: usize) -> Vec<Waiting> {
        self.waiting.drain(..count.min(self.waiting.len())).collect()
    }

    /// Arrivals per second over the last half minute, or since the start.
    #[must_use]
    pub fn offered_load(&self, now_s: f64) -> MilliRequestsPerSecond {
        let span = now_s.clamp(1.0, RATE_WINDOW_S);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let rate = (self.recent.len() as f64 / span * 1000.0).round() as u32;
        MilliRequestsPerSecond(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_and_do_not_depend_on_the_service() {
        let mut watched = Queue::new(2.0, 10_000, 3);
        let mut ignored = watched.clone();
        for second in 0..1000 {
            watched.advance(f64::from(second));
        }
        ignored.advance(999.0);
        assert_eq!(watched.len(), ignored.len());
        assert!((1900..2100).contains(&watched.len()), "{}", watched.len());
        let load = watched.offered_load(999.0).0;
        assert!((1200..2900).contains(&load), "{load}");
        let taken = watched.take(3);
        assert_eq!(taken.iter().map(|w| w.number).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(taken.windows(2).all(|pair| pair[0].arrived_s <= pair[1].arrived_s));
    }

    #[test]
    fn the_rate_changes_when_it_should() {
        let mut queue = Queue::with_load(&[(0.0, 1.0), (1000.0, 8.0), (2000.0, 0.5)], usize::MAX, 2);
        let mut arrivals = |until_s: f64| {
            queue.advance(until_s);
            let count = queue.len();
            queue.take(count);
            count
        };
        let counts = [arrivals(1000.0), arrivals(2000.0), arrivals(3000.0)];
        // Within four standard deviations of the Poisson counts.
        for (count, expected) in counts.into_iter().zip([1000.0, 8000.0, 500.0]) {
            assert!((count as f64 - expected).abs() < 4.0 * f64::sqrt(expected), "{counts:?}");
        }
    }

    #[test]
    fn it_ends() {
        let mut queue = Queue::new(5.0, 7, 1);
        queue.advance(1e6);
        assert_eq!((queue.len(), queue.next_arrival_s()), (7, None));
        queue.take(100);
        assert!(queue.is_empty());
    }
}
