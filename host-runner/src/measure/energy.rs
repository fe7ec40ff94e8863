//! Energy of a window of time out of samples of power: trapezoids over the samples' own times, clipped
//! to the window to the microsecond.
//!
//! Between two samples power is taken as a straight line, unless they are further apart than
//! `max_gap`: what happened there nobody knows, so it is left out and the coverage says so. A sensor that
//! averages over a window shows the middle of it; who pushes its samples shifts them by half of it.

use controller_core::time::Instant;
use controller_core::units::MicroJoules;
use std::collections::VecDeque;

/// Samples of power, oldest first; the oldest go when it is full.
#[derive(Clone, Debug)]
pub struct PowerSeries {
    samples: VecDeque<(u64, i64)>,
    capacity: usize,
    max_gap_us: u64,
}

/// The energy of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Energy {
    /// Energy of the covered part, nJ; 1 mW for 1 µs is 1 nJ.
    pub energy_nj: i128,
    /// How much of the window is covered by samples.
    pub covered_us: u64,
    /// Length of the window.
    pub window_us: u64,
}

/// Why a window has no energy.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EnergyError {
    /// Samples are missing.
    #[error("samples of power cover {:.0} % of the window, less than {:.0} %; sample more often or look for a sensor that hangs", .covered_share * 100.0, .needed_share * 100.0)]
    Coverage {
        /// How much is covered.
        covered_share: f64,
        /// How much must be.
        needed_share: f64,
    },
}

impl PowerSeries {
    /// An empty series for `capacity` samples that rejects gaps longer than `max_gap_us`.
    #[must_use]
    pub fn new(capacity: usize, max_gap_us: u64) -> Self {
        Self { samples: VecDeque::with_capacity(capacity.max(1)), capacity: capacity.max(1), max_gap_us }
    }

    /// Adds a sample, mW. One that is not younger than the last is dropped: time does not go back. Never
    /// allocates.
    pub fn push(&mut self, at: Instant, power_mw: i64) {
        let at = at.micros();
        if self.samples.back().is_some_and(|&(last, _)| at <= last) {
            return;
        }
        if self.samples.len() == self.capacity {
            self.samples.pop_front();
        }
        self.samples.push_back((at, power_mw));
    }

    /// When the youngest sample was taken.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.samples.back().map(|&(at, _)| Instant::from_micros(at))
    }

    /// The energy between two moments.
    #[must_use]
    pub fn integrate(&self, from: Instant, to: Instant) -> Energy {
        let (from, to) = (from.micros(), to.micros().max(from.micros()));
        let mut energy = Energy { energy_nj: 0, covered_us: 0, window_us: to - from };
        for (&(start, first), &(end, last)) in self.samples.iter().zip(self.samples.iter().skip(1)) {
            if end - start > self.max_gap_us || end <= from || start >= to {
                continue;
            }
            let (left, right) = (start.max(from), end.min(to));
            energy.energy_nj += trapezoid((start, first), (end, last), left, right);
            energy.covered_us += right - left;
        }
        energy
    }
}

/// Area below the line through two samples between two moments of it, rounded down: the mean of a line is
/// its value in the middle.
fn trapezoid((start, first): (u64, i64), (end, last): (u64, i64), left: u64, right: u64) -> i128 {
    let span = i128::from(end - start);
    let twice_middle = i128::from(left - start) + i128::from(right - start);
    let twice_mean_times_span = 2 * i128::from(first) * span + (i128::from(last) - i128::from(first)) * twice_middle;
    (twice_mean_times_span * i128::from(right - left)).div_euclid(2 * span)
}

impl Energy {
    /// How much of the window is covered, 0 to 1; an empty window is.
    #[must_use]
    pub fn covered_share(&self) -> f64 {
        if self.window_us == 0 { 1.0 } else { self.covered_us as f64 / self.window_us as f64 }
    }

    /// Mean power of the covered part, mW.
    #[must_use]
    pub fn mean_mw(&self) -> Option<f64> {
        (self.covered_us > 0).then(|| self.energy_nj as f64 / self.covered_us as f64)
    }

    /// Energy of the whole window, when enough of it is covered; what is not covered counts at the mean
    /// of what is. Below zero counts as zero.
    pub fn of_window(&self, needed_share: f64) -> Result<MicroJoules, EnergyError> {
        let covered_share = self.covered_share();
        if covered_share < needed_share || (self.covered_us == 0 && self.window_us > 0) {
            return Err(EnergyError::Coverage { covered_share, needed_share });
        }
        if self.window_us == 0 {
            return Ok(MicroJoules(0));
        }
        let scaled = self.energy_nj.max(0) * i128::from(self.window_us) / i128::from(self.covered_us);
        Ok(MicroJoules(u64::try_from(scaled / 1000).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    fn series(samples: &[(u64, i64)], max_gap_us: u64) -> PowerSeries {
        let mut series = PowerSeries::new(samples.len(), max_gap_us);
        for &(time, power) in samples {
            series.push(at(time), power);
        }
        series
    }

    #[test]
    fn a_window_is_cut_to_the_microsecond() {
        let series = series(&[(0, 1000), (1_000_000, 3000)], 2_000_000);
        let whole = series.integrate(at(0), at(1_000_000));
        assert_eq!((whole.energy_nj, whole.covered_us), (2_000_000_000, 1_000_000));
        // 1000 mW + 2 mW/ms: from 250 ms to 500 ms the mean is 1750 mW.
        let part = series.integrate(at(250_000), at(500_000));
        assert_eq!(part.energy_nj, 1750 * 250_000);
        assert_eq!(part.of_window(0.9), Ok(MicroJoules(437_500)));
    }

    #[test]
    fn gaps_are_left_out_and_said() {
        let series = series(&[(0, 1000), (1_000_000, 1000), (4_000_000, 9000), (5_000_000, 1000)], 1_500_000);
        let energy = series.integrate(at(0), at(6_000_000));
        assert_eq!(
            (energy.energy_nj, energy.covered_us, energy.window_us),
            (1_000_000_000 + 5_000_000_000, 2_000_000, 6_000_000)
        );
        let error = energy.of_window(0.9).unwrap_err();
        assert!(error.to_string().contains("cover 33 % of the window, less than 90 %"), "{error}");
        assert_eq!(series.integrate(at(2_000_000), at(3_000_000)).of_window(0.0).map_err(|_| ()), Err(()));
        assert_eq!(energy.mean_mw(), Some(3000.0));
    }

    #[test]
    fn what_is_not_covered_counts_at_the_mean() {
        let series = series(&[(0, 2000), (950_000, 2000)], 2_000_000);
        assert_eq!(series.integrate(at(0), at(1_000_000)).of_window(0.9), Ok(MicroJoules(2_000_000)));
        assert_eq!(series.integrate(at(7), at(7)).of_window(0.9), Ok(MicroJoules(0)));
    }

    #[test]
    fn old_samples_go_and_time_does_not_go_back() {
        let mut series = PowerSeries::new(2, 10);
        for (time, power) in [(5, 1), (5, 9), (3, 9), (6, 1), (8, 2)] {
            series.push(at(time), power);
        }
        assert_eq!(series.samples, [(6, 1), (8, 2)]);
        assert_eq!(series.last(), Some(at(8)));
    }

    prop_compose! {
        fn samples()(steps in prop::collection::vec((1u64..2_000_000, -500i64..100_000), 2..40)) -> Vec<(u64, i64)> {
            let mut time = 0;
            steps.into_iter().map(|(step, power)| { time += step; (time, power) }).collect()
        }
    }

    /// The same area by another way: the line is evaluated in f64 in the middle of many thin slices.
    fn slices(samples: &[(u64, i64)], max_gap: u64, from: u64, to: u64) -> f64 {
        let mut area = 0.0;
        for pair in samples.windows(2) {
            let [(t0, p0), (t1, p1)] = [pair[0], pair[1]];
            let (left, right) = (t0.max(from) as f64, t1.min(to) as f64);
            if t1 - t0 > max_gap || right <= left {
                continue;
            }
            let width = (right - left) / 64.0;
            for slice in 0..64 {
                let middle = left + (f64::from(slice) + 0.5) * width;
                let share = (middle - t0 as f64) / (t1 - t0) as f64;
                area += width * (p0 as f64 + share * (p1 - p0) as f64);
            }
        }
        area
    }

    proptest! {
        #[test]
        fn windows_side_by_side_add_up(samples in samples(), cuts in prop::array::uniform3(0u64..80_000_000)) {
            let series = series(&samples, 1_500_000);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let [a, b, c] = cuts.map(at);
            let (left, right, whole) = (series.integrate(a, b), series.integrate(b, c), series.integrate(a, c));
            prop_assert_eq!(left.covered_us + right.covered_us, whole.covered_us);
            // Rounding down loses less than 1 nJ a piece.
            prop_assert!((0..=1).contains(&(whole.energy_nj - left.energy_nj - right.energy_nj)));
        }

        #[test]
        fn it_is_the_area_below_the_lines(samples in samples(), from in 0u64..40_000_000, length in 0u64..40_000_000) {
            let energy = series(&samples, 1_500_000).integrate(at(from), at(from + length));
            let area = slices(&samples, 1_500_000, from, from + length);
            prop_assert!((energy.energy_nj as f64 - area).abs() <= 50.0 + area.abs() * 1e-9, "{} {area}", energy.energy_nj);
            prop_assert!(energy.covered_us <= energy.window_us);
        }

        #[test]
        fn steady_power_is_power_times_time(power in 0i64..200_000, times in prop::collection::btree_set(0u64..1_000_000, 2..50)) {
            let samples: Vec<_> = times.iter().map(|&time| (time, power)).collect();
            let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
            let energy = series(&samples, u64::MAX).integrate(at(first), at(last));
            prop_assert_eq!(energy.energy_nj, i128::from(power) * i128::from(last - first));
            prop_assert_eq!(energy.covered_us, energy.window_us);
        }
    }
}
