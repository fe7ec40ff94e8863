//! The softmax of one head in integers.
//!
//! A logit that lies `d` below the highest has weight `e^-d` with 32 fraction bits, so the highest
//! has exactly one and the total lies between 1 and the number of values. Up to
//! 8,192 values the probabilities are right to 2e-6 of themselves and 3e-10, and their logarithms
//! to 2e-6.

use crate::reward::{Fixed, exp};
use crate::rng::Pcg32;

/// From here a weight is less than half a unit of its last fraction bit.
const NEGLIGIBLE: Fixed = Fixed::const_from_int(23);

/// The normalization of one head.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    highest: i32,
    /// Sum of all weights, 32 fraction bits, at least one.
    total: u64,
    logit_bits: u8,
}

impl Softmax {
    /// Over the logits that may be chosen; `None` when there are none.
    pub fn of(logits: impl Iterator<Item = i32> + Clone, logit_bits: u8) -> Option<Self> {
        let highest = logits.clone().max()?;
        let unit = Self { highest, total: 0, logit_bits };
        // At most 8,192 weights of at most 2^32.
        Some(Self { total: logits.map(|logit| unit.weight(logit)).sum(), ..unit })
    }

    /// How far a logit lies below the highest, in nats; saturates.
    fn distance(self, logit: i32) -> Fixed {
        let distance = (i128::from(self.highest) - i128::from(logit)) << 32u8.saturating_sub(self.logit_bits);
        Fixed::from_bits(i64::try_from(distance).unwrap_or(i64::MAX))
    }

    fn weight(self, logit: i32) -> u64 {
        let distance = self.distance(logit);
        if distance < NEGLIGIBLE { exp(-distance).to_bits().cast_unsigned() } else { 0 }
    }

    /// Position of a drawn logit. The probability of each is off by less than 2^-20 of itself
    /// beyond the bound of the softmax, because the draw has 64 bits and the total at most 45.
    pub fn draw(self, mut logits: impl Iterator<Item = i32>, rng: &mut Pcg32) -> Option<usize> {
        let random = u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32());
        let mut left = u64::try_from((u128::from(random) * u128::from(self.total)) >> 64).unwrap_or(0);
        logits.position(|logit| {
            let weight = self.weight(logit);
            let hit = left < weight;
            left = left.saturating_sub(weight);
            hit
        })
    }

    /// Natural logarithm of the probability of one of the logits, never above 0; saturates.
    pub fn log_probability(self, logit: i32) -> Fixed {
        (-self.distance(logit)).saturating_sub(ln(self.total))
    }
}

/// Natural logarithm of a number of at least one with 32 fraction bits, right to 5e-9.
///
/// The binary logarithm bit by bit: squaring doubles it, and whenever the square passes two the
/// next bit is one (Knuth, TAOCP 1, 1.2.2, exercise 25 has the idea).
fn ln(x: u64) -> Fixed {
    let exponent = i64::from(31u32.saturating_sub(x.leading_zeros()));
    // In [1, 2) with 31 fraction bits, so that its square fits 64.
    let mut mantissa = (x << x.leading_zeros()) >> 32;
    let mut fraction = 0i64;
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = mantissa >> 32;
        mantissa >>= bit;
        fraction = fraction << 1 | i64::from(bit == 1);
    }
    Fixed::from_bits(exponent << 32 | fraction).saturating_mul(Fixed::LN_2)
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::float_arithmetic, clippy::cast_precision_loss, reason = "f64 is the oracle")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn exact(logits: &[i32], bits: u8) -> Vec<f64> {
        let values: Vec<f64> = logits.iter().map(|&l| f64::from(l) / 2f64.powi(i32::from(bits))).collect();
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = values.iter().map(|v| (v - top).exp()).sum();
        values.iter().map(|v| v - top - sum.ln()).collect()
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(
            logits in proptest::collection::vec(any::<i32>(), 1..300), bits in 0u8..=30, narrow in 0u32..31,
        ) {
            let logits: Vec<i32> = logits.into_iter().map(|l| l >> narrow).collect();
            let softmax = Softmax::of(logits.iter().copied(), bits).unwrap();
            for (&logit, log_p) in logits.iter().zip(exact(&logits, bits)) {
                let found = softmax.log_probability(logit).to_num::<f64>();
                // Far out the f64 oracle itself has few digits left.
                let tolerance = 2e-6 + log_p.abs() * 1e-12;
                prop_assert!((found - log_p.max(-2f64.powi(31))).abs() <= tolerance, "{found} against {log_p}");
                let p = softmax.weight(logit) as f64 / softmax.total as f64;
                prop_assert!((p - log_p.exp()).abs() <= 2e-6 * log_p.exp() + 3e-10);
            }
        }

        #[test]
        fn logarithm_is_right_to_5e_9(x in 1u64 << 32..1 << 46) {
            let expected = (x as f64 / 2f64.powi(32)).ln();
            prop_assert!((ln(x).to_num::<f64>() - expected).abs() < 5e-9);
        }
    }

    #[test]
    fn a_table_of_8192_equal_logits_is_uniform() {
        let logits = std::vec![7i32; 8192];
        let softmax = Softmax::of(logits.iter().copied(), 20).unwrap();
        assert!((softmax.log_probability(7).to_num::<f64>() + 8192f64.ln()).abs() < 2e-6);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0, 1 << 20, 2 << 20, -5 << 20];
        let softmax = Softmax::of(logits.iter().copied(), 20).unwrap();
        let mut rng = Pcg32::new(3);
        let mut hits = [0u32; 4];
        let draws = 100_000;
        for _ in 0..draws {
            hits[softmax.draw(logits.iter().copied(), &mut rng).unwrap()] += 1;
        }
        for (hits, log_p) in hits.into_iter().zip(exact(&logits, 20)) {
            let (p, n) = (log_p.exp(), f64::from(draws));
            let deviation = (p * (1.0 - p) / n).sqrt();
            assert!((f64::from(hits) / n - p).abs() < 5.0 * deviation, "{hits} hits for probability {p}");
        }
    }
}
