//! One 32-bit word holds two weights, another two inputs: the form that a Cortex-M4 multiplies
//! half by half (`smlabb`, `smlatt`) without unpacking. Four pairs a step and four units are written
//! out, without closures over arrays, so that it stays fast when the compiler is told to make the
//! firmware small.
#![allow(clippy::inline_always, reason = "a call per product would cost more than the product")]

use super::{Row, UNITS};
use crate::observation::ONE;

/// Two neighbouring inputs, the first in the low half.
#[derive(Clone, Copy, Debug)]
pub struct Pair(u32);

impl Pair {
    pub const ZERO: Self = Self(0);

    pub const fn new(first: i16, second: i16) -> Self {
        Self(first.cast_unsigned() as u32 | (second.cast_unsigned() as u32) << 16)
    }
}

/// `bias + Σ weight·input` of four units.
#[derive(Clone, Copy, Debug)]
pub struct Sums([i32; UNITS]);

impl Sums {
    /// Sums four pairs a step. Rows without a pair, and pairs without a row, are left out, and so
    /// is a last step of fewer than four.
    #[inline(always)]
    pub fn new(biases: &Row, weights: &[Row], pairs: &[Pair]) -> Self {
        let (weights, _) = weights.as_chunks::<4>();
        let (pairs, _) = pairs.as_chunks::<4>();
        let mut sums = super::biases(biases);
        for ([w0, w1, w2, w3], [x0, x1, x2, x3]) in weights.iter().zip(pairs) {
            sums = add_row(add_row(add_row(add_row(sums, w0, *x0), w1, *x1), w2, *x2), w3, *x3);
        }
        Self(sums)
    }

    /// Shifts to the scale of an activation, halves up, and cuts to 0 and 13 bits.
    #[inline(always)]
    pub fn activate(self, shift: u8) -> [Pair; 2] {
        let half = (1i32 << shift) >> 1;
        // After the clamp the value fits.
        let cut = |sum: i32| i16::try_from((sum.wrapping_add(half) >> shift).clamp(0, i32::from(ONE))).unwrap_or(ONE);
        let [a, b, c, d] = self.0;
        [Pair::new(cut(a), cut(b)), Pair::new(cut(c), cut(d))]
    }

    /// Whether one of the four lies above `limit`.
    #[inline(always)]
    pub fn any_above(self, limit: i32) -> bool {
        let [a, b, c, d] = self.0;
        a > limit || b > limit || c > limit || d > limit
    }

    #[inline(always)]
    pub const fn to_array(self) -> [i32; UNITS] {
        self.0
    }
}

#[inline(always)]
fn add_row([s0, s1, s2, s3]: [i32; UNITS], [w0, w1, w2, w3]: &Row, Pair(pair): Pair) -> [i32; UNITS] {
    [add_products(s0, w0, pair), add_products(s1, w1, pair), add_products(s2, w2, pair), add_products(s3, w3, pair)]
}

#[inline(always)]
fn add_products(sum: i32, weights: &[u8; 4], pair: u32) -> i32 {
    let weights = u32::from_le_bytes(*weights);
    let lower = low(weights).wrapping_mul(low(pair));
    sum.wrapping_add(lower).wrapping_add(high(weights).wrapping_mul(high(pair)))
}

#[inline(always)]
fn low(word: u32) -> i32 {
    high(word << 16)
}

#[inline(always)]
fn high(word: u32) -> i32 {
    word.cast_signed() >> 16
}
