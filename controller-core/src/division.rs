//! Division of wide integers, written once and small: the compiler's own takes a kilobyte of a
//! microcontroller's flash for 64 bits, and another in every place that divides 128.

/// Whether 64 bits are divided by one instruction.
const HAS_WIDE_DIVIDER: bool = usize::BITS >= u64::BITS;

/// `numerator / denominator`, rounded towards zero; 0 for a denominator of 0.
#[inline(never)]
pub fn quotient(numerator: u64, denominator: u64) -> u64 {
    if HAS_WIDE_DIVIDER {
        return numerator.checked_div(denominator).unwrap_or(0);
    }
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) => numerator.checked_div(denominator).map_or(0, u64::from),
        _ => divide_long(numerator, denominator),
    }
}

/// The same in steps of some 14 bits, each a division of 32 bits: by the leading 16 bits of the denominator, rounded up, so that
/// no step takes off too much.
#[expect(clippy::cast_possible_truncation, reason = "shifted until they fit")]
fn divide_long(mut rest: u64, denominator: u64) -> u64 {
    let dropped = (u64::BITS - 16).saturating_sub(denominator.leading_zeros());
    let leading = (denominator >> dropped) as u32 + u32::from(dropped > 0);
    let mut quotient = 0;
    while rest >= denominator {
        let beyond = u32::BITS.saturating_sub(rest.leading_zeros());
        let Some(part) = ((rest >> beyond) as u32).checked_div(leading) else { return 0 };
        let step = ((u64::from(part) << beyond) >> dropped).max(1);
        quotient += step;
        rest -= step * denominator;
    }
    quotient
}

/// The same of signed integers, which saturates.
pub fn signed_quotient(numerator: i64, denominator: i64) -> i64 {
    let magnitude = quotient(numerator.unsigned_abs(), denominator.unsigned_abs());
    if (numerator < 0) == (denominator < 0) {
        0i64.saturating_add_unsigned(magnitude)
    } else {
        0i64.saturating_sub_unsigned(magnitude)
    }
}

/// `numerator / denominator` with `fraction` binary places behind the point, rounded towards zero.
/// `None` where the denominator is 0 or the quotient does not fit.
///
/// The numerator must lie above `i128::MIN`.
#[cfg(feature = "published")]
#[inline(never)]
pub fn divide(numerator: i128, denominator: i128, fraction: u32) -> Option<i64> {
    let magnitude = divide_magnitudes(numerator.unsigned_abs(), denominator.unsigned_abs(), fraction)?;
    if (numerator < 0) == (denominator < 0) {
        i64::try_from(magnitude).ok()
    } else {
        0i64.checked_sub_unsigned(magnitude)
    }
}

#[cfg(feature = "published")]
fn divide_magnitudes(numerator: u128, denominator: u128, fraction: u32) -> Option<u64> {
    match (u64::try_from(numerator), u64::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) => divide_narrow(numerator, denominator, fraction),
        _ => divide_wide(numerator, denominator, fraction),
    }
}

/// The same of positive numbers that fit 64 bits: as many places at a time as the remainder has room for.
#[inline(never)]
pub fn divide_narrow(numerator: u64, divisor: u64, fraction: u32) -> Option<u64> {
    if divisor == 0 {
        return None;
    }
    let mut whole = quotient(numerator, divisor);
    let (mut rest, mut left) = (numerator - whole * divisor, fraction);
    while left > 0 {
        let room = rest.leading_zeros();
        let places = room.clamp(1, left);
        if whole.leading_zeros() < places {
            return None;
        }
        rest <<= places;
        // Without room the divisor goes once into what is shifted, whose first bit is lost.
        let digits = if room == 0 { 1 } else { quotient(rest, divisor) };
        whole = (whole << places) + digits;
        rest = rest.wrapping_sub(digits * divisor);
        left -= places;
    }
    Some(whole)
}

/// The same of 128 bits at twice the cost. Nothing is carried, since magnitudes of signed numbers have a bit to spare.
#[cfg(feature = "published")]
fn divide_wide(mut rest: u128, mut divisor: u128, fraction: u32) -> Option<u64> {
    if divisor == 0 {
        return None;
    }
    let (mut places, half) = (fraction, rest >> 1);
    while divisor <= half {
        divisor <<= 1;
        places += 1;
    }
    let mut quotient = 0u64;
    for _ in 0..=places {
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
        fn quotients_of_64_bits_are_those_of_the_compiler(a in any::<i64>(), b in any::<i64>(), less in [0u32..64, 0..64]) {
            let (a, b) = (a >> less[0], b >> less[1]);
            let (x, y) = (a.unsigned_abs(), b.unsigned_abs());
            prop_assert_eq!([quotient(x, y), divide_long(x, y), divide_narrow(x, y, 0).unwrap_or(0)], [x.checked_div(y).unwrap_or(0); 3]);
            prop_assert_eq!(signed_quotient(a, b), if b == 0 { 0 } else { a.saturating_div(b) });
        }

        #[test]
        fn equals_the_division_of_the_compiler(a in wide(95), b in wide(127), fraction in 0u32..=32) {
            let expected = (a << fraction).checked_div(b).and_then(|quotient| i64::try_from(quotient).ok());
            prop_assert_eq!(divide(a, b, fraction), expected, "{} / {}", a, b);
            let (x, y) = (a.unsigned_abs(), b.unsigned_abs());
            let expected = (x << fraction).checked_div(y).and_then(|quotient| u64::try_from(quotient).ok());
            prop_assert_eq!(divide_wide(x, y, fraction), expected, "{} / {}", x, y);
            if let (Ok(x), Ok(y)) = (u64::try_from(x), u64::try_from(y)) {
                prop_assert_eq!(divide_narrow(x, y, fraction), expected, "{} / {}", x, y);
            }
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
        assert_eq!(
            [(u64::MAX, 1), (u64::MAX, u64::MAX), (0, 7), (5, 0)].map(|(a, b)| divide_long(a, b)),
            [u64::MAX, 1, 0, 0]
        );
        let narrow = |a, b| divide_narrow(a, b, 0);
        assert_eq!([narrow(u64::MAX, 1), narrow(u64::MAX, u64::MAX), narrow(0, 7)], [Some(u64::MAX), Some(1), Some(0)]);
        assert_eq!([narrow(u64::MAX / 4 * 3, u64::MAX / 8 * 7), narrow(5, 0)], [Some(0), None]);
        assert_eq!([signed_quotient(i64::MIN, -1), signed_quotient(i64::MIN, 1)], [i64::MAX, i64::MIN]);
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
