//! Rewards of a group to advantages in floating point: the definitions and options of
//! [`controller_core::advantage`], without its bound on the size of a group.

pub use controller_core::advantage::{AdvantageError, Baseline, Floor, Scaling, Spread};

/// Plain GRPO with a floor below which a spread counts as noise, in reward units.
#[must_use]
pub fn grpo(noise_floor: f64) -> Scaling<f64> {
    Scaling { baseline: Baseline::GroupMean, spread: Spread::Population, floor: Floor::AtLeast(noise_floor) }
}

/// The advantages of a group. Where the divisor is 0, so is every difference, and the advantages
/// are 0.
pub fn group_relative(rewards: &[f64], scaling: Scaling<f64>) -> Result<Vec<f64>, AdvantageError> {
    let members = rewards.len();
    if members < 2 {
        return Err(AdvantageError::TooSmall { members });
    }
    let (Floor::AtLeast(floor) | Floor::Added(floor)) = scaling.floor;
    if floor < 0.0 {
        return Err(AdvantageError::NegativeFloor);
    }
    let count = members as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let squares: f64 = rewards.iter().map(|r| (r - mean) * (r - mean)).sum();
    let divisor = match scaling.spread {
        Spread::Population => count,
        Spread::Sample => count - 1.0,
        Spread::None => return Ok(rewards.iter().map(|r| (r - mean) * weight(scaling.baseline, count)).collect()),
    };
    let deviation = (squares / divisor).sqrt();
    let scale = match scaling.floor {
        Floor::AtLeast(floor) => deviation.max(floor),
        Floor::Added(floor) => deviation + floor,
    };
    let advantage = |r: &f64| if scale > 0.0 { (r - mean) * weight(scaling.baseline, count) / scale } else { 0.0 };
    Ok(rewards.iter().map(advantage).collect())
}

/// The advantages of a group whose members have shares of it (which sum to one), the same for all that were drawn, their
/// probability for those that were not: mean and spread are those of the distribution, and each member counts as often as it
/// would have been drawn. One alone has the advantage zero.
#[must_use]
pub fn of_distribution(rewards: &[f64], shares: &[f64], noise_floor: f64) -> Vec<f64> {
    let mean: f64 = rewards.iter().zip(shares).map(|(r, p)| p * r).sum();
    let scale = spread(rewards, shares).max(noise_floor).max(f64::MIN_POSITIVE);
    let count = rewards.len() as f64;
    rewards.iter().zip(shares).map(|(r, p)| count * p * (r - mean) / scale).collect()
}

/// Standard deviation of a distribution of rewards.
#[must_use]
pub fn spread(rewards: &[f64], shares: &[f64]) -> f64 {
    let mean: f64 = rewards.iter().zip(shares).map(|(r, p)| p * r).sum();
    let variance: f64 = rewards.iter().zip(shares).map(|(r, p)| p * (r - mean) * (r - mean)).sum();
    variance.sqrt()
}

/// The mean of all others lies `n/(n-1)` times as far away as the mean of all.
fn weight(baseline: Baseline, count: f64) -> f64 {
    match baseline {
        Baseline::GroupMean => 1.0,
        Baseline::LeaveOneOut => count / (count - 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_core::advantage as fixed;
    use controller_core::reward::Fixed;
    use proptest::prelude::*;

    #[test]
    fn standardizes_above_the_floor_and_damps_below_it() {
        let wide = group_relative(&[1.0, 3.0], grpo(0.1)).unwrap();
        assert_eq!(wide, [-1.0, 1.0]);
        let narrow = group_relative(&[1.0, 1.002], grpo(0.1)).unwrap();
        assert!(narrow.iter().all(|a| a.abs() < 0.011), "{narrow:?}");
        assert_eq!(group_relative(&[5.0], grpo(0.0)), Err(AdvantageError::TooSmall { members: 1 }));
        assert_eq!(group_relative(&[5.0, 5.0], grpo(0.0)).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn leave_one_out_compares_with_the_others() {
        let scaling = Scaling { baseline: Baseline::LeaveOneOut, spread: Spread::None, floor: Floor::AtLeast(0.0) };
        assert_eq!(group_relative(&[1.0, 2.0, 6.0], scaling).unwrap(), [-3.0, -1.5, 4.5]);
    }

    #[test]
    fn members_count_as_often_as_they_would_be_drawn() {
        let rewards = [1.0, 2.0, 5.0];
        let likely = of_distribution(&rewards, &[0.5, 0.25, 0.25], 0.0);
        // The same four draws as a plain group: 1, 1, 2, 5.
        let drawn = group_relative(&[1.0, 1.0, 2.0, 5.0], grpo(0.0)).unwrap();
        let expected = [2.0 * drawn[0], drawn[2], drawn[3]].map(|a| a * 3.0 / 4.0);
        assert!(likely.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{likely:?} against {expected:?}");
        assert_eq!(of_distribution(&[7.0], &[1.0], 0.0), [0.0]);
    }

    proptest! {
        #[test]
        fn the_core_computes_the_same(
            rewards in proptest::collection::vec(-2_000_000..2_000_000i32, 2..=fixed::MAX_GROUP),
            floor in 0u32..20_000, added in any::<bool>(), leave_one_out in any::<bool>(), spread in 0..3usize,
        ) {
            let scaling = |floor: Floor<f64>| Scaling {
                baseline: if leave_one_out { Baseline::LeaveOneOut } else { Baseline::GroupMean },
                spread: [Spread::Population, Spread::Sample, Spread::None][spread],
                floor,
            };
            let floor = Fixed::from_num(floor) / 1_000_000;
            let real = scaling(if added { Floor::Added(floor.to_num()) } else { Floor::AtLeast(floor.to_num()) });
            let Scaling { baseline, spread, .. } = real;
            let floor = if added { Floor::Added(floor) } else { Floor::AtLeast(floor) };
            let found = fixed::group_relative(&rewards, fixed::Scaling { baseline, spread, floor }).unwrap();
            let values: Vec<f64> = rewards.iter().map(|r| f64::from(*r) / 1e6).collect();
            for (found, expected) in found.iter().zip(group_relative(&values, real).unwrap()) {
                prop_assert!((found.to_num::<f64>() - expected).abs() <= 1e-8, "{found} against {expected}");
            }
        }
    }
}
