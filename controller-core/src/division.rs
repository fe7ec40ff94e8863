//! Division of wide integers, written once: the compiler's own division of 128 bits takes more
//! than a kilobyte of a microcontroller's flash in every place that uses it.

/// `numerator / denominator` with `fraction` binary places behind the point, rounded towards zero.
/// `None` where the denominator is 0 or the quotient does not fit.
///
/// The numerator must lie above `i128::MIN`. What fits into 64 bits is divided there; anything
/// else bit by bit, which takes some 30 instructions a bit on a 32-bit machine.
#[inline(never)]
pub fn divide(numerator: i128, denominator: i128, fraction: u32) -> Option<i64> {
    let magnitude = divide_magnitudes(numerator.unsigned_abs(), denominator.unsigned_abs(), fraction)?;
    if (numerator < 0) == (denominator < 0) {
        i64::try_from(magnitude).ok()
    } else {
        0i64.checked_sub_unsigned(magnitude)
    }
}

fn divide_magnitudes(mut rest: u128, mut divisor: u128, fraction: u32) -> Option<u64> {
    if rest.leading_zeros() >= u64::BITS + fraction
        && let Ok(narrow) = u64::try_from(divisor)
    {
        return u64::try_from(rest << fraction).ok()?.checked_div(narrow);
    }
    if divisor == 0 {
        return None;
    }
    let whole_places = divisor.leading_zeros().saturating_sub(rest.leading_zeros());
    if whole_places + fraction > u64::BITS {
        return None;
    }
    divisor <<= whole_places;
    let mut quotient = 0u64;
    for _ in 0..=whole_places + fraction {
        if quotient.leading_zeros() == 0 {
            return None;
        }
        quotient <<= 1;
        if rest >= divisor {
            rest -= divisor;
            quotient |= 1;
        }
        rest <<= 1;
    }
    Some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers of every length.
    fn wide(bits: u32) -> impl Strategy<Value = i128> {
        (any::<i128>(), 128 - bits..128).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn equals_the_division_of_the_compiler(a in wide(95), b in wide(127), fraction in 0u32..=32) {
            let expected = (a << fraction).checked_div(b).and_then(|quotient| i64::try_from(quotient).ok());
            prop_assert_eq!(divide(a, b, fraction), expected, "{} / {}", a, b);
        }

        #[test]
        fn equals_it_where_the_quotient_just_fits(quotient in any::<i64>(), b in wide(60), fraction in 0u32..=32) {
            let a = (i128::from(quotient) * b) >> fraction;
            let expected = (a << fraction).checked_div(b).and_then(|quotient| i64::try_from(quotient).ok());
            prop_assert_eq!(divide(a, b, fraction), expected);
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(divide(1, 0, 0), None);
        assert_eq!([divide(1 << 40, 0, 32), divide(1 << 100, 0, 32)], [None; 2]);
        assert_eq!(divide(0, 0, 0), None);
        assert_eq!(divide(0, -5, 32), Some(0));
        let (min, max) = (i128::from(i64::MIN), i128::from(i64::MAX));
        assert_eq!([divide(min, 1, 0), divide(min, -1, 0)], [Some(i64::MIN), None]);
        assert_eq!(
            [divide(max, 1, 0), divide(max + 1, 1, 0), divide(max, -1, 0)],
            [Some(i64::MAX), None, Some(-i64::MAX)]
        );
        assert_eq!(divide(max, 1, 1), None);
        assert_eq!(divide(i128::MAX, i128::MAX, 32), Some(1 << 32));
    }
}
