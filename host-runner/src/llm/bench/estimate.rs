//! A median with how sure it is, so that a measurement goes on until its verdict does not hang on chance.

use crate::measure::percentile::{Quartiles, percentile};

/// A median of many values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The median, and a quarter of the values on either side.
    pub quartiles: Quartiles,
    /// With 95 % confidence the median of endlessly many such values lies between `low` and `high`. Whatever their
    /// distribution (sign test; J. D. Gibbons and S. Chakraborti 2011, section 5.2), but as if they were independent:
    /// neighbouring steps on a busy machine are not quite.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// Values.
    pub count: usize,
}

impl Estimate {
    /// Of values in any order; NaN of none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        // So many of n values lie below the median: n/2, give or take 1.96 times sqrt(n)/2.
        let (count, margin) = (values.len(), 98.0 / (values.len() as f64).sqrt());
        let at = |percent: f64| percentile(&values, percent.clamp(0.0, 100.0)).unwrap_or(f64::NAN);
        let one = 100.0 / count as f64;
        let (low, high) = (at(50.0 - margin), at(50.0 + margin + one));
        Self { quartiles: Quartiles::of(values), low, high, count }
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quartiles.median
    }

    /// Whether it is sure on which side of `limit` the median lies.
    #[must_use]
    pub fn settles(&self, limit: f64) -> bool {
        self.high <= limit || limit < self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_core::rng::Pcg32;

    /// Of a hundred values the 41st and the 61st: 95.4 % of all samples hold the median between them (binomial, exactly).
    #[test]
    fn ranks_are_those_of_the_sign_test() {
        let estimate = Estimate::of((1..=100).map(f64::from).collect());
        assert_eq!((estimate.low, estimate.median(), estimate.high, estimate.count), (41.0, 50.0, 61.0, 100));
        let few = Estimate::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((few.low, few.high), (1.0, 3.0), "a few values are sure of nothing more");
        let none = Estimate::of(Vec::new());
        assert!(none.median().is_nan() && none.low.is_nan() && !none.settles(1.0));
    }

    #[test]
    fn a_limit_inside_settles_nothing() {
        let estimate = Estimate::of((1..=100).map(f64::from).collect());
        assert!(estimate.settles(61.0) && estimate.settles(40.9));
        assert!(!estimate.settles(41.0) && !estimate.settles(50.0) && !estimate.settles(60.9));
    }

    /// The promise itself: of a thousand samples of a skewed distribution with median 1, about 950 hold it.
    #[test]
    fn the_median_lies_within() {
        let mut random = Pcg32::new(7);
        let mut uniform = || (f64::from(random.below(1 << 30)) + 0.5) / f64::from(1 << 30);
        let held = (0..1000).filter(|_| {
            let estimate = Estimate::of((0..121).map(|_| (1.0 - uniform()).ln() / 0.5_f64.ln()).collect());
            estimate.low <= 1.0 && 1.0 <= estimate.high
        });
        let held = held.count();
        assert!((930..=985).contains(&held), "{held} of 1000");
    }
}
