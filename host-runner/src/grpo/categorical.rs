//! One categorical distribution, kept as log-probabilities.

use super::vector::{exponentials, largest, wide};
use controller_core::rng::Pcg32;

/// A probability for each of several choices.
#[derive(Clone, Debug, PartialEq)]
pub struct Categorical {
    log_probabilities: Vec<f64>,
    probabilities: Vec<f64>,
}

/// Logits that make no distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogitError {
    /// No logits.
    #[error("there are no logits, so there is nothing to choose from")]
    Empty,
    /// NaN or infinite.
    #[error("logit {index} is not a finite number; the policy that made it has diverged")]
    NotFinite {
        /// The first such logit.
        index: usize,
    },
}

impl Categorical {
    /// Normalizes logits; the same bits on every platform.
    #[must_use]
    pub fn new(logits: &[f64]) -> Self {
        let top = largest(logits);
        let less = |from: &[f64], by: f64| wide(|| from.iter().map(|z| z - by).collect::<Vec<f64>>());
        let mut probabilities = less(logits, top);
        exponentials(&mut probabilities);
        let log_sum = top + libm::log(probabilities.iter().sum::<f64>());
        let log_probabilities = less(logits, log_sum);
        probabilities.copy_from_slice(&log_probabilities);
        exponentials(&mut probabilities);
        Self { log_probabilities, probabilities }
    }

    /// Normalizes logits that may be anything.
    pub fn checked(logits: &[f64]) -> Result<Self, LogitError> {
        match logits.iter().position(|z| !z.is_finite()) {
            Some(index) => Err(LogitError::NotFinite { index }),
            None if logits.is_empty() => Err(LogitError::Empty),
            None => Ok(Self::new(logits)),
        }
    }

    /// The log-probability of every choice.
    #[must_use]
    pub fn log_probabilities(&self) -> &[f64] {
        &self.log_probabilities
    }

    /// The probability of every choice.
    #[must_use]
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// The most probable choice; ties go to the lowest index.
    #[must_use]
    pub fn greedy(&self) -> usize {
        let value = |index: usize| self.log_probabilities[index];
        (0..self.log_probabilities.len()).rev().max_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap_or(0)
    }

    /// Draws a choice.
    pub fn sample(&self, rng: &mut Pcg32) -> usize {
        let mut left = f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let drawn = self.probabilities.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        // Rounding can leave a sliver above the last value.
        drawn.unwrap_or(self.log_probabilities.len() - 1)
    }

    /// Entropy in nats.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        self.probabilities.iter().zip(&self.log_probabilities).map(|(p, log_p)| -p * log_p).sum()
    }

    /// Kullback-Leibler divergence from `reference` in nats, exact.
    #[must_use]
    pub fn kl(&self, reference: &Self) -> f64 {
        let pairs = self.log_probabilities.iter().zip(&reference.log_probabilities);
        self.probabilities.iter().zip(pairs).map(|(p, (log_p, log_q))| p * (log_p - log_q)).sum()
    }

    /// Total variation distance from `other`, 0 to 1: the largest difference that the two give to the
    /// probability of any set of choices.
    #[must_use]
    pub fn distance(&self, other: &Self) -> f64 {
        let pairs = self.probabilities.iter().zip(&other.probabilities);
        pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_a_distribution() {
        let even = Categorical::new(&[3.0, 3.0]);
        assert!((even.entropy() - 2f64.ln()).abs() < 1e-15);
        let sure = Categorical::new(&[0.0, 1000.0]);
        assert_eq!((sure.greedy(), even.greedy()), (1, 0));
        assert!((sure.distance(&even) - 0.5).abs() < 1e-15);
        // KL(p || q) = Σ p ln(p/q), here all of p's mass is on the second choice.
        assert!((sure.kl(&even) - 2f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn what_is_no_distribution_is_an_error() {
        assert_eq!(Categorical::checked(&[]), Err(LogitError::Empty));
        assert_eq!(Categorical::checked(&[1.0, f64::NAN]), Err(LogitError::NotFinite { index: 1 }));
        assert_eq!(Categorical::checked(&[f64::INFINITY]), Err(LogitError::NotFinite { index: 0 }));
        assert_eq!(Categorical::checked(&[1.0, 2.0]), Ok(Categorical::new(&[1.0, 2.0])));
    }
}
