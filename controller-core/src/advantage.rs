//! Rewards of a group to advantages: how much better than its siblings each member was.
//!
//! `A = (r - baseline) / scale`, computed from exact integer sums: no member is rounded before the
//! division, so equal rewards give exactly 0 and the advantages of a group mean add up to 0 but for
//! the last bits. Variants:
//!
//! | name in the literature | baseline | spread |
//! |---|---|---|
//! | GRPO (Z. Shao et al. 2024, section 4.1) | [`Baseline::GroupMean`] | [`Spread::Population`] or [`Spread::Sample`] |
//! | Dr. GRPO (Z. Liu et al. 2025) | [`Baseline::GroupMean`] | [`Spread::None`] |
//! | RLOO (A. Ahmadian et al. 2024) | [`Baseline::LeaveOneOut`] | [`Spread::None`] |
//!
//! Against the same formulas in real numbers the error stays below 2^-30 of the advantage plus
//! 2^-31; values beyond ±2^31 saturate.

use crate::reward::{Fixed, MICRO};
use core::fmt;
use heapless::Vec;

/// Most members of a group.
pub const MAX_GROUP: usize = 64;

/// What a member is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The mean of the whole group.
    GroupMean,
    /// The mean of all others. The same as [`Self::GroupMean`] times `n / (n-1)`.
    LeaveOneOut,
}

/// What a difference is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The standard deviation with divisor n.
    Population,
    /// The standard deviation with divisor n - 1.
    Sample,
    /// Nothing: advantages stay in units of reward, and groups that differ by little teach little.
    None,
}

/// How a small standard deviation is kept from blowing noise up to full-sized advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor<N = Fixed> {
    /// `max(std, floor)`: nothing changes above the floor. In reward units.
    AtLeast(N),
    /// `std + floor`, as the published code has it with 1e-8. In reward units.
    Added(N),
}

/// How advantages are made of rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling<N = Fixed> {
    /// What a member is compared with.
    pub baseline: Baseline,
    /// What the difference is divided by.
    pub spread: Spread,
    /// Floor of the divisor; without effect for [`Spread::None`].
    pub floor: Floor<N>,
}

/// Why a group has no advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvantageError {
    /// Nobody to compare with.
    TooSmall {
        /// Members of the group.
        members: usize,
    },
    /// More than [`MAX_GROUP`] members.
    TooLarge {
        /// Members of the group.
        members: usize,
    },
    /// A floor below 0.
    NegativeFloor,
}

impl fmt::Display for AdvantageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { members } => {
                write!(f, "a group of {members} has nobody to compare with; groups need two members")
            }
            Self::TooLarge { members } => {
                write!(f, "a group of {members} exceeds the {MAX_GROUP} that fit; split it")
            }
            Self::NegativeFloor => write!(f, "the floor of the standard deviation is below 0; give 0 or more"),
        }
    }
}

impl core::error::Error for AdvantageError {}

/// The advantages of a group. Rewards are totals in millionths, as [`crate::reward::Reward`] has
/// them. Where the divisor is 0, so is every difference, and the advantages are 0.
pub fn group_relative(rewards: &[i32], scaling: Scaling) -> Result<Vec<Fixed, MAX_GROUP>, AdvantageError> {
    let members = rewards.len();
    if members < 2 {
        return Err(AdvantageError::TooSmall { members });
    }
    if members > MAX_GROUP {
        return Err(AdvantageError::TooLarge { members });
    }
    let (Floor::AtLeast(floor) | Floor::Added(floor)) = scaling.floor;
    if floor < Fixed::ZERO {
        return Err(AdvantageError::NegativeFloor);
    }
    let count = i128::try_from(members).unwrap_or(i128::MAX);
    let sum: i128 = rewards.iter().map(|reward| i128::from(*reward)).sum();
    // n times the difference from the mean, exactly; at most 2^38.
    let differences = || rewards.iter().map(|reward| i128::from(*reward) * count - sum);
    // With d = n·(r - mean): the mean of all others is d/(n-1) away, the mean of all d/n.
    let weight = match scaling.baseline {
        Baseline::GroupMean => count,
        Baseline::LeaveOneOut => count - 1,
    };
    let squares: u128 = differences().map(|difference| difference.unsigned_abs().pow(2)).sum();
    let divisor = match scaling.spread {
        Spread::Population => count,
        Spread::Sample => count - 1,
        Spread::None => return Ok(differences().map(|d| quotient(d << 32, weight * i128::from(MICRO))).collect()),
    };
    let deviation = Deviation::of(squares, divisor);
    let floor = deviation.in_same_unit(floor, count);
    let scale = match scaling.floor {
        Floor::AtLeast(_) => deviation.value.max(floor),
        Floor::Added(_) => deviation.value + floor,
    };
    // (d/weight) / (scale/n)
    Ok(differences().map(|d| quotient((d * count) << (32 + deviation.bits), weight * scale)).collect())
}

/// n times the standard deviation in millionths, with as many fraction bits as fit, at most 32.
struct Deviation {
    value: i128,
    bits: u32,
}

impl Deviation {
    /// From the sum of d² with d = n·(r - mean), since n²·std² = Σd² / divisor.
    fn of(squares: u128, divisor: i128) -> Self {
        let bits = (squares.leading_zeros() / 2).min(32);
        let square = (squares << (2 * bits)).checked_div(divisor.unsigned_abs()).unwrap_or(0);
        // A root has at most 64 bits.
        Self { value: i128::try_from(square.isqrt()).unwrap_or(i128::MAX), bits }
    }

    fn in_same_unit(&self, floor: Fixed, count: i128) -> i128 {
        (i128::from(floor.to_bits()) * i128::from(MICRO) * count) >> (32 - self.bits)
    }
}

/// Nearest, saturating; 0 for a divisor of 0.
fn quotient(numerator: i128, denominator: i128) -> Fixed {
    let half = denominator / 2;
    let biased = if numerator < 0 { numerator - half } else { numerator + half };
    let value = biased.checked_div(denominator).unwrap_or(0);
    Fixed::from_bits(i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN }))
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::float_arithmetic, reason = "f64 is the oracle")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASELINES: [Baseline; 2] = [Baseline::GroupMean, Baseline::LeaveOneOut];
    const SPREADS: [Spread; 3] = [Spread::Population, Spread::Sample, Spread::None];

    fn grpo(floor: Floor) -> Scaling {
        Scaling { baseline: Baseline::GroupMean, spread: Spread::Population, floor }
    }

    /// The textbook's way: means first, then differences, in real numbers.
    fn oracle(rewards: &[i32], scaling: Scaling) -> std::vec::Vec<f64> {
        let values: std::vec::Vec<f64> = rewards.iter().map(|r| f64::from(*r) / 1e6).collect();
        let (count, sum) = (values.len() as f64, values.iter().sum::<f64>());
        let squares: f64 = values.iter().map(|r| (r - sum / count).powi(2)).sum();
        let deviation = match scaling.spread {
            Spread::Population => (squares / count).sqrt(),
            Spread::Sample => (squares / (count - 1.0)).sqrt(),
            Spread::None => 1.0,
        };
        let scale = match scaling.floor {
            _ if scaling.spread == Spread::None => 1.0,
            Floor::AtLeast(floor) => deviation.max(floor.to_num()),
            Floor::Added(floor) => deviation + floor.to_num::<f64>(),
        };
        let baseline = |r: f64| match scaling.baseline {
            Baseline::GroupMean => sum / count,
            Baseline::LeaveOneOut => (sum - r) / (count - 1.0),
        };
        values.iter().map(|r| if scale == 0.0 { 0.0 } else { (r - baseline(*r)) / scale }).collect()
    }

    proptest! {
        #[test]
        fn every_variant_stays_within_its_bound(
            rewards in proptest::collection::vec(prop_oneof![-2_000_000..2_000_000i32, Just(0), Just(1)], 2..=MAX_GROUP),
            floor in prop_oneof![Just(0.0), 1e-6..1e-2f64], added in any::<bool>(),
        ) {
            let floor = Fixed::from_num(floor);
            let floor = if added { Floor::Added(floor) } else { Floor::AtLeast(floor) };
            for baseline in BASELINES {
                for spread in SPREADS {
                    let scaling = Scaling { baseline, spread, floor };
                    let found = group_relative(&rewards, scaling).unwrap();
                    for (found, expected) in found.iter().zip(oracle(&rewards, scaling)) {
                        let error = (found.to_num::<f64>() - expected).abs();
                        let bound = expected.abs() * 2f64.powi(-30) + 2f64.powi(-31);
                        prop_assert!(error <= bound, "{scaling:?}: {found} against {expected}");
                    }
                }
            }
        }

        #[test]
        fn a_shift_of_all_rewards_changes_nothing(rewards in proptest::collection::vec(-1_000_000..1_000_000i32, 2..20), shift in -1_000_000..1_000_000i32) {
            let moved: std::vec::Vec<i32> = rewards.iter().map(|r| r + shift).collect();
            let scaling = grpo(Floor::AtLeast(Fixed::ZERO));
            prop_assert_eq!(group_relative(&rewards, scaling), group_relative(&moved, scaling));
        }

        #[test]
        fn no_rewards_overflow(rewards in proptest::collection::vec(prop_oneof![Just(i32::MIN), Just(i32::MAX)], 2..=MAX_GROUP)) {
            for baseline in BASELINES {
                for spread in SPREADS {
                    for floor in [Floor::AtLeast(Fixed::MAX), Floor::Added(Fixed::MAX), Floor::AtLeast(Fixed::ZERO)] {
                        let advantages = group_relative(&rewards, Scaling { baseline, spread, floor }).unwrap();
                        prop_assert_eq!(advantages.len(), rewards.len());
                    }
                }
            }
        }
    }

    #[test]
    fn hand_worked_cases() {
        let rewards = [1_000_000, 3_000_000];
        let one = Fixed::ONE;
        let at = |scaling| group_relative(&rewards, scaling).unwrap();
        assert_eq!(at(grpo(Floor::AtLeast(Fixed::ZERO))), [-one, one]);
        // The floor of 4 counts instead of the deviation of 1, or on top of it.
        assert_eq!(at(grpo(Floor::AtLeast(one * 4))), [-one / 4, one / 4]);
        assert_eq!(at(grpo(Floor::Added(one * 3))), [-one / 4, one / 4]);
        let plain = Scaling { spread: Spread::None, ..grpo(Floor::AtLeast(Fixed::ZERO)) };
        assert_eq!(at(plain), [-one, one]);
        assert_eq!(at(Scaling { baseline: Baseline::LeaveOneOut, ..plain }), [one * -2, one * 2]);
    }

    #[test]
    fn equal_rewards_teach_nothing() {
        let scaling = grpo(Floor::AtLeast(Fixed::ZERO));
        assert_eq!(group_relative(&[400_000; 13], scaling).unwrap(), [Fixed::ZERO; 13]);
    }

    #[test]
    fn what_has_no_advantage_is_an_error() {
        let scaling = grpo(Floor::AtLeast(Fixed::ZERO));
        assert_eq!(group_relative(&[], scaling), Err(AdvantageError::TooSmall { members: 0 }));
        assert_eq!(group_relative(&[5], scaling), Err(AdvantageError::TooSmall { members: 1 }));
        let members = MAX_GROUP + 1;
        assert_eq!(group_relative(&[5; MAX_GROUP + 1], scaling), Err(AdvantageError::TooLarge { members }));
        assert_eq!(group_relative(&[1, 2], grpo(Floor::Added(-Fixed::ONE))), Err(AdvantageError::NegativeFloor));
    }
}
