//! The inner sums of a layer: four units at once, over pairs of inputs.
//!
//! # Layout of a block
//!
//! Four units form a block of 16-byte rows: first their four biases (`i32`), then, for every pair
//! of inputs, the four units' weights for it (`[i16; 2]` each). That order serves the machines we
//! know: a row is one SIMD register of dual products (`pmaddwd` on x86), and on a Cortex-M it is
//! four words that meet the same input word in a register (`smlabb`, `smlatt`). Nothing has to
//! be summed across lanes, and memory is read once, front to back.
//!
//! # Two ways to the same sums
//!
//! `simd` and `words` compute the same integers; which one is built depends on the processor
//! only. Sums wrap, so that no check stands between the products; the parser of the image proved
//! that none can overflow, in whatever order they are added.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod simd;
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(dead_code, reason = "tested here, used elsewhere")
)]
mod words;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use simd::{Pair, Sums};
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use words::{Pair, Sums};

/// Units of one block.
pub(super) const UNITS: usize = 4;

/// Inputs of a layer are padded to a multiple of this, so that no loop has a remainder.
pub(super) const INPUTS: usize = 8;

/// Four biases, or four units' weights for one pair of inputs.
pub(super) type Row = [[u8; 4]; UNITS];

/// The four integers of a bias row.
#[inline]
pub(super) const fn biases([a, b, c, d]: &Row) -> [i32; UNITS] {
    [i32::from_le_bytes(*a), i32::from_le_bytes(*b), i32::from_le_bytes(*c), i32::from_le_bytes(*d)]
}

/// The pair of integers that a weight row has for one of its four units.
pub(super) fn weights(row: &Row, unit: usize) -> [i16; 2] {
    row.get(unit).map_or([0; 2], |&[a0, a1, b0, b1]| [i16::from_le_bytes([a0, a1]), i16::from_le_bytes([b0, b1])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Every unit on its own, in 64 bits.
    fn expected(biases: [i32; UNITS], weights: &[[[i16; 2]; UNITS]], inputs: &[[i16; 2]]) -> [i64; UNITS] {
        core::array::from_fn(|unit| {
            let products = weights.iter().zip(inputs).map(|(row, x)| {
                let [w0, w1] = row[unit];
                i64::from(w0) * i64::from(x[0]) + i64::from(w1) * i64::from(x[1])
            });
            i64::from(biases[unit]) + products.sum::<i64>()
        })
    }

    fn row_of(weights: &[[i16; 2]; UNITS]) -> Row {
        weights.map(|[a, b]| {
            let ([a0, a1], [b0, b1]) = (a.to_le_bytes(), b.to_le_bytes());
            [a0, a1, b0, b1]
        })
    }

    proptest! {
        #[test]
        fn both_kernels_equal_plain_sums(
            start in any::<[i16; UNITS]>(),
            rows in proptest::collection::vec(any::<([[[i16; 2]; UNITS]; 4], [[i16; 2]; 4])>(), 0..9),
            shift in 0u8..=30,
        ) {
            let narrow = |x: i16| x % 8192;
            let biases = start.map(i32::from);
            let inputs: Vec<[i16; 2]> = rows.iter().flat_map(|(_, x)| x.map(|pair| pair.map(narrow))).collect();
            let wide: Vec<_> = rows.iter().flat_map(|(w, _)| w.map(|row| row.map(|pair| pair.map(narrow)))).collect();
            let expected = expected(biases, &wide, &inputs);
            let start_row = biases.map(i32::to_le_bytes);
            let activation = |sum: i64| {
                let rounded = (sum + ((1i64 << shift) >> 1)).div_euclid(1 << shift);
                i16::try_from(rounded.clamp(0, 8191)).unwrap()
            };
            let [a, b, c, d] = expected.map(activation);
            let rows: Vec<Row> = wide.iter().map(row_of).collect();
            prop_assert!(rows.iter().zip(&wide).all(|(row, w)| core::array::from_fn(|unit| weights(row, unit)) == *w));
            let pairs: Vec<_> = inputs.iter().map(|&[a, b]| simd::Pair::new(a, b)).collect();
            let sums = simd::Sums::new(&start_row, &rows, &pairs);
            prop_assert_eq!(sums.to_array().map(i64::from), expected);
            prop_assert_eq!(std::format!("{:?}", sums.activate(shift)), std::format!("{:?}", [simd::Pair::new(a, b), simd::Pair::new(c, d)]));
            let pairs: Vec<_> = inputs.iter().map(|&[a, b]| words::Pair::new(a, b)).collect();
            let sums = words::Sums::new(&start_row, &rows, &pairs);
            prop_assert_eq!(sums.to_array().map(i64::from), expected);
            prop_assert_eq!(std::format!("{:?}", sums.activate(shift)), std::format!("{:?}", [words::Pair::new(a, b), words::Pair::new(c, d)]));
        }
    }
}
