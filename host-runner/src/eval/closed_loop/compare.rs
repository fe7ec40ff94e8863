//! Paired differences over seeds, and what noise leaves of them.

use std::fmt;

/// A mean with the half width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Mean.
    pub mean: f64,
    /// Half width; infinite for a single value.
    pub half_width: f64,
}

/// How one governor stands against another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Better beyond noise.
    Better,
    /// No difference beyond noise.
    Tie,
    /// Worse beyond noise.
    Worse,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::Tie => "tie",
            Self::Worse => "worse",
        })
    }
}

impl Interval {
    /// Of values by Student's t.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let half_width = if values.len() > 1 {
            student_95(count - 1.0) * (squares / (count - 1.0) / count).sqrt()
        } else {
            f64::INFINITY
        };
        Self { mean, half_width }
    }

    /// Of the differences `ours - theirs`, seed by seed.
    #[must_use]
    pub fn of_differences(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(&ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect::<Vec<_>>())
    }

    /// Reads a difference of which more is better.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.mean > self.half_width {
            Verdict::Better
        } else if self.mean < -self.half_width {
            Verdict::Worse
        } else {
            Verdict::Tie
        }
    }
}

/// 97.5th percentiles of Student's t with 1 to 4 degrees of freedom.
const STUDENT_95: [f64; 4] = [12.706, 4.303, 3.182, 2.776];

/// 97.5th percentile of Student's t with so many degrees of freedom, a whole number from 1 on. From 5 on, four terms of
/// the expansion in 1/degrees (Abramowitz and Stegun 26.7.5), within 0.2 %.
fn student_95(degrees: f64) -> f64 {
    if let Some(listed) = STUDENT_95.iter().zip(1..).find_map(|(t, n)| (degrees < f64::from(n) + 0.5).then_some(*t)) {
        return listed;
    }
    let z = 1.959_964f64;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * degrees)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * degrees.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * degrees.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_as_in_the_tables() {
        for (degrees, expected) in
            [(1.0, 12.706), (4.0, 2.776), (5.0, 2.571), (10.0, 2.228), (19.0, 2.093), (120.0, 1.980)]
        {
            assert!((student_95(degrees) / expected - 1.0).abs() < 2e-3, "{degrees}: {}", student_95(degrees));
        }
    }

    #[test]
    fn differences_are_paired() {
        // Seeds differ much, governors little but always in the same direction.
        let theirs: Vec<f64> = (0..20).map(f64::from).collect();
        let ours: Vec<f64> = theirs.iter().enumerate().map(|(i, t)| t + 0.1 + 0.01 * (i % 3) as f64).collect();
        assert_eq!(Interval::of_differences(&ours, &theirs).verdict(), Verdict::Better);
        assert_eq!(Interval::of_differences(&theirs, &ours).verdict(), Verdict::Worse);
        assert_eq!(Interval::of_differences(&ours, &ours).verdict(), Verdict::Tie);
        assert_eq!(Interval::of(&[1.0]).verdict(), Verdict::Tie);
    }
}
