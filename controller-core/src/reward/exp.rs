//! The exponential function in fixed point.

use super::Fixed;

/// log2(e) and ln(2) with 32 fraction bits.
const LOG2_E: i128 = 6_196_328_019;
const LN_2: i64 = 2_977_044_472;

/// e^x, saturating at [`Fixed::MAX`] above about 21.48 and at 0 below about -22.2.
///
/// x = n·ln 2 + r with r in [0, ln 2); e^r is a Taylor sum of ten terms, whose remainder is below
/// 3e-9, and 2^n is a shift. The relative error is below 1e-8, plus one unit in the last place
/// (2^-32) for results below one.
#[must_use]
#[inline(never)] // many callers, little flash
pub fn exp(x: Fixed) -> Fixed {
    // The product of 63 and 33 bits, less 64, fits an i64.
    let exponent = i64::try_from((i128::from(x.to_bits()) * LOG2_E) >> 64).unwrap_or(0);
    if exponent > 30 {
        return Fixed::MAX;
    }
    if exponent < -33 {
        return Fixed::ZERO;
    }
    let r = x.to_bits() - exponent * LN_2;
    // Horner: 1 + r(1 + r/2 (1 + r/3 (...))), all below 2, with 32 fraction bits.
    let one = 1i64 << 32;
    let mut sum = one;
    for k in (1..=10i64).rev() {
        let product = (i128::from(r) * i128::from(sum)) >> 32;
        sum = one + i64::try_from(product).unwrap_or(0) / k;
    }
    let bits = if exponent >= 0 { sum << exponent } else { sum >> -exponent };
    Fixed::from_bits(bits)
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::float_arithmetic, reason = "f64 is the oracle")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_its_bound(bits in -25i64 << 32..21i64 << 32) {
            let x = Fixed::from_bits(bits);
            let expected = x.to_num::<f64>().exp();
            let found = exp(x).to_num::<f64>();
            let bound = expected * 1e-8 + 2.4e-10;
            prop_assert!((found - expected).abs() <= bound, "{x}: {found} against {expected}");
        }

        #[test]
        fn never_falls_as_its_argument_rises(a in any::<i64>(), b in any::<i64>()) {
            prop_assume!(a.abs_diff(b) > 64);
            prop_assert!(exp(Fixed::from_bits(a.min(b))) <= exp(Fixed::from_bits(a.max(b))));
        }
    }

    #[test]
    fn ends_saturate() {
        assert_eq!(exp(Fixed::ZERO), Fixed::ONE);
        assert_eq!(exp(Fixed::MAX), Fixed::MAX);
        assert_eq!(exp(Fixed::MIN), Fixed::ZERO);
    }
}
