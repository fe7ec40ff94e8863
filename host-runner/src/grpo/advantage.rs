//! Rewards of a group to advantages: how much better than its siblings each member was.

/// How advantages are scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Standard deviations below this count as this much, so that groups which differ by noise
    /// alone do not turn noise into full-sized advantages. In reward units.
    pub noise_floor: f64,
}

/// `(r - mean) / max(std, noise floor)` with the population standard deviation. An empty group
/// gives nothing; a group of one gives 0.
#[must_use]
pub fn group_relative(rewards: &[f64], scaling: Scaling) -> Vec<f64> {
    let count = rewards.len().max(1) as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let variance = rewards.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count;
    let scale = variance.sqrt().max(scaling.noise_floor);
    rewards.iter().map(|r| if scale > 0.0 { (r - mean) / scale } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardizes_above_the_floor_and_damps_below_it() {
        let wide = group_relative(&[1.0, 3.0], Scaling { noise_floor: 0.1 });
        assert_eq!(wide, [-1.0, 1.0]);
        let narrow = group_relative(&[1.0, 1.002], Scaling { noise_floor: 0.1 });
        assert!(narrow.iter().all(|a| a.abs() < 0.011), "{narrow:?}");
        assert_eq!(group_relative(&[5.0], Scaling { noise_floor: 0.0 }), [0.0]);
    }
}
