//! What a turn was worth: named components and their total, in fixed point.
//!
//! Intermediate values are [`Fixed`], signed 32.32 bits, with saturating operations; results are
//! integers in millionths ([`MICRO`] = 1). The total is exactly the sum of the components.
//!
//! | variant | what it is |
//! |---|---|
//! | [`service`] | ours and the default: energy per generated token at the offered load, a response-time limit, a temperature margin and a quality floor for depth |
//! | [`unified`] | the published formula, kept for comparison |
//! | [`step`] | the published code of the training logs, kept for comparison |
//! | [`early_exit`] | the published early-exit code, kept for comparison |
//!
//! The last three share [`published`] and need the feature `published`. Rewards of different variants are never comparable: the variant is part of every record.

#[cfg(feature = "published")]
pub mod early_exit;
mod exp;
#[cfg(feature = "published")]
pub mod published;
#[cfg(feature = "reference")]
pub mod reference;
pub mod service;
#[cfg(feature = "published")]
pub mod step;
#[cfg(feature = "published")]
pub mod unified;

#[cfg(feature = "published")]
use crate::division::divide;
use crate::division::divide_narrow;
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

pub use exp::exp;

/// Signed fixed point with 32 integer and 32 fraction bits.
pub type Fixed = fixed::types::I32F32;

/// One, in the unit of [`Components`].
pub const MICRO: i32 = 1_000_000;

/// Which reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// [`unified`].
    Unified,
    /// [`service`].
    Service,
    /// [`step`].
    Step,
    /// [`early_exit`].
    EarlyExit,
}

wire!(enum Variant { 0 => Unified, 1 => Service, 2 => Step, 3 => EarlyExit });

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unified => "unified",
            Self::Service => "service",
            Self::Step => "step",
            Self::EarlyExit => "early_exit",
        })
    }
}

/// The terms of a reward in millionths, saturating at ±2147.48. Penalties are negative or zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    /// What is wanted: work for little energy.
    pub efficiency: i32,
    /// Penalty for answers that came late.
    pub response: i32,
    /// Penalty for heat.
    pub temperature: i32,
    /// Penalty for power above its limit.
    pub power: i32,
    /// Penalty for answers that got worse through early exit; [`early_exit`] also adds its bonus for
    /// few layers here.
    pub quality: i32,
}

wire!(struct Components { efficiency, response, temperature, power, quality });

/// A reward: its variant, its components and their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reward {
    /// Which formula.
    pub variant: Variant,
    /// The terms, in millionths.
    pub components: Components,
    /// Their sum, in millionths, saturating.
    pub total: i32,
}

wire!(struct Reward { variant, components, total });

impl Reward {
    fn new(variant: Variant, components: Components) -> Self {
        let Components { efficiency, response, temperature, power, quality } = components;
        let total = [response, temperature, power, quality].into_iter().fold(efficiency, i32::saturating_add);
        Self { variant, components, total }
    }
}

/// Why a reward has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewardError {
    /// A range whose upper end is not above its lower end.
    EmptyRange(&'static str),
    /// A quantity that must be above zero is not.
    NotPositive(&'static str),
    /// A share in thousandths that exceeds the whole.
    AboveOne(&'static str),
    /// A list that must have an entry for the chosen depth has none.
    NoQuality,
    /// Something that this variant needs was not measured.
    Missing(&'static str),
    /// A quantity is NaN, or so many are infinite that the result would be.
    NotFinite(&'static str),
    /// The turn has no temperature.
    NoTemperature,
}

impl fmt::Display for RewardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyRange(what) => {
                write!(f, "the range of {what} is empty; its upper end must lie above its lower end")
            }
            Self::NotPositive(what) => write!(f, "{what} must be above zero"),
            Self::AboveOne(what) => write!(f, "{what} must be at most 1000 thousandths, the quality of full depth"),
            Self::NoQuality => write!(f, "no quality is known for the chosen depth; list one per depth"),
            Self::Missing(what) => write!(f, "{what} is unknown, and this reward needs it"),
            Self::NotFinite(what) => write!(f, "{what} is not a number; check the sensor or the log it came from"),
            Self::NoTemperature => write!(f, "the turn has no temperature, so its reward is unknown"),
        }
    }
}

impl core::error::Error for RewardError {}

// The arithmetic of more than 64 bits is kept once in the flash of a microcontroller, not once per use.

/// Nearest millionth, saturating.
#[inline(never)]
fn to_micro(value: Fixed) -> i32 {
    let (whole, part) = (value.to_bits() >> 32, value.to_bits() & 0xFFFF_FFFF);
    let micro = whole * i64::from(MICRO) + ((part * i64::from(MICRO) + (1 << 31)) >> 32);
    i32::try_from(micro).unwrap_or(if micro > 0 { i32::MAX } else { i32::MIN })
}

/// `a / b`, towards zero; `None` where it is too large or b is 0.
#[cfg(feature = "published")]
#[inline(never)]
fn quotient(a: Fixed, b: Fixed) -> Option<Fixed> {
    divide(a.to_bits().into(), b.to_bits().into(), Fixed::FRAC_NBITS).map(Fixed::from_bits)
}

/// `a · b`, towards minus infinity, saturating.
#[inline(never)]
fn product(a: Fixed, b: Fixed) -> Fixed {
    let scaled = (i128::from(a.to_bits()) * i128::from(b.to_bits())) >> 32;
    Fixed::from_bits(i64::try_from(scaled).unwrap_or(if scaled > 0 { i64::MAX } else { i64::MIN }))
}

/// `numerator / denominator`, towards zero, saturating.
#[inline(never)]
fn share(numerator: u64, denominator: u64) -> Fixed {
    let bits = divide_narrow(numerator, denominator, Fixed::FRAC_NBITS).unwrap_or(u64::MAX);
    Fixed::from_bits(i64::try_from(bits).unwrap_or(i64::MAX))
}

/// `numerator / denominator` of integers, towards zero, saturating; `denominator` must be above zero.
#[cfg(feature = "published")]
#[inline(never)]
fn ratio(numerator: i128, denominator: i128) -> Fixed {
    let limit = if numerator < 0 { -i64::MAX } else { i64::MAX };
    Fixed::from_bits(divide(numerator, denominator, Fixed::FRAC_NBITS).unwrap_or(limit).max(-i64::MAX))
}

/// `above / span`, clipped to 0..1: where a value lies that is `above` the zero of a range.
#[cfg(feature = "published")]
fn position(above: Fixed, span: Fixed, what: &'static str) -> Result<Fixed, RewardError> {
    if span == Fixed::ZERO {
        return Err(RewardError::EmptyRange(what));
    }
    // A quotient too large for the type lies beyond one of the ends.
    let beyond = if (above < Fixed::ZERO) == (span < Fixed::ZERO) { Fixed::ONE } else { Fixed::ZERO };
    Ok(quotient(above, span).unwrap_or(beyond).clamp(Fixed::ZERO, Fixed::ONE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_product_is_that_of_the_fixed_crate(a in any::<i64>(), b in any::<i64>(), less in [0u32..64, 0..64]) {
            let (a, b) = (Fixed::from_bits(a >> less[0]), Fixed::from_bits(b >> less[1]));
            prop_assert_eq!(product(a, b), a.saturating_mul(b));
        }

        #[test]
        fn shares_and_millionths_are_those_of_wider_numbers(a in any::<u64>(), b in any::<u64>(), bits in any::<i64>(), less in [0u32..64, 0..64, 0..64]) {
            let (a, b, value) = (a >> less[0], (b >> less[1]).max(1), Fixed::from_bits(bits >> less[2]));
            prop_assert_eq!(share(a, b), ratio(a.into(), b.into()));
            let micro = (i128::from(value.to_bits()) * i128::from(MICRO) + (1 << 31)) >> 32;
            prop_assert_eq!(i128::from(to_micro(value)), micro.clamp(i32::MIN.into(), i32::MAX.into()));
        }
    }

    #[test]
    fn micro_rounds_to_nearest_and_saturates() {
        let half = Fixed::from_bits(1 << 31);
        assert_eq!(to_micro(half), 500_000);
        assert_eq!(to_micro(Fixed::MAX), i32::MAX);
        assert_eq!(to_micro(Fixed::MIN), i32::MIN);
        assert_eq!(to_micro(ratio(1, 3)), 333_333);
        assert_eq!(to_micro(ratio(2, -3)), -666_667);
    }

    #[test]
    fn position_clips_at_both_ends_even_where_the_quotient_is_too_large() {
        let tiny = Fixed::from_bits(1);
        let at = |above, span| position(above, span, "a range").unwrap();
        for (above, span, expected) in [
            (Fixed::MAX, tiny, Fixed::ONE),
            (Fixed::MIN, tiny, Fixed::ZERO),
            (Fixed::MIN, -tiny, Fixed::ONE),
            (Fixed::MAX, -tiny, Fixed::ZERO),
            (Fixed::ZERO, tiny, Fixed::ZERO),
            (-Fixed::ONE, -Fixed::from(2u8), Fixed::ONE / 2),
        ] {
            assert_eq!(at(above, span), expected, "{above} / {span}");
        }
        assert_eq!(position(tiny, Fixed::ZERO, "a range"), Err(RewardError::EmptyRange("a range")));
    }

    #[test]
    fn total_saturates() {
        let components = Components { response: i32::MIN, temperature: -5, ..Components::default() };
        assert_eq!(Reward::new(Variant::Service, components).total, i32::MIN);
    }
}
