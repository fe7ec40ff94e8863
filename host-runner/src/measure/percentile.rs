//! The one definition of a percentile in this program: the nearest rank, so it is always one of the values.

/// The smallest value that is not below `percent` % of all values, `None` of none. `sorted` ascends; `percent` lies
/// between 0, the lowest value, and 100, the highest.
///
/// R. J. Hyndman and Y. Fan (1996), "Sample Quantiles in Statistical Packages", definition 1: no interpolation, so the
/// median of an even number of values is the lower one of the middle two.
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], percent: f64) -> Option<T> {
    // Multiplied first: the quotient of a whole number of ranks is then exact.
    let rank = (sorted.len() as f64 * percent / 100.0).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of values")]
    let place = (rank.max(1.0) as usize).min(sorted.len()).checked_sub(1)?;
    sorted.get(place).copied()
}

/// The median of values in any order.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    percentile(&values, 50.0)
}

/// Median and quartiles; NaN of no values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter is not above.
    pub lower: f64,
    /// Half is not above.
    pub median: f64,
    /// Three quarters are not above.
    pub upper: f64,
}

impl Quartiles {
    /// Of values in any order.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |percent: f64| percentile(&values, percent).unwrap_or(f64::NAN);
        Self { lower: at(25.0), median: at(50.0), upper: at(75.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_nearest_rank() {
        let values: Vec<u32> = (1..=20).collect();
        let found = [0.0, 2.5, 5.0, 50.0, 95.0, 95.1, 97.5, 100.0].map(|percent| percentile(&values, percent).unwrap());
        assert_eq!(found, [1, 1, 1, 10, 19, 20, 20, 20]);
        assert_eq!(percentile::<u32>(&[], 50.0), None);
        assert_eq!(median(vec![4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.0));
        let quartiles = Quartiles::of((0..5).map(f64::from).collect());
        assert_eq!(quartiles, Quartiles { lower: 1.0, median: 2.0, upper: 3.0 });
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }

    proptest! {
        /// By the words of the definition, in integers: hundredths of a percent.
        #[test]
        fn it_keeps_its_promise(mut values in prop::collection::vec(0u32..50, 1..200), hundredths in 0usize..=10_000) {
            values.sort_unstable();
            let enough = |value: u32| {
                values.iter().filter(|other| **other <= value).count() * 10_000 >= hundredths * values.len()
            };
            let expected = values.iter().copied().find(|value| enough(*value));
            let percent = hundredths as f64 / 100.0;
            prop_assert_eq!(percentile(&values, percent), expected);
        }
    }
}
