//! One SIMD register holds a row of weights, another the pair of inputs four times over.

use super::{Row, UNITS};
use crate::observation::ONE;
use wide::{i16x8, i32x4, i32x8};

/// Two neighbouring inputs, repeated for every unit of a block.
#[derive(Clone, Copy, Debug)]
pub struct Pair(i16x8);

impl Pair {
    pub const ZERO: Self = Self(i16x8::ZERO);

    #[inline]
    pub fn new(a: i16, b: i16) -> Self {
        Self(i16x8::new([a, b, a, b, a, b, a, b]))
    }
}

/// `bias + Σ weight·input` of four units.
#[derive(Clone, Copy, Debug)]
pub struct Sums(i32x4);

impl Sums {
    /// Sums four pairs a step. Rows without a pair, and pairs without a row, are left out, and so
    /// is a last step of fewer than four.
    #[inline]
    pub fn new(biases: &Row, weights: &[Row], pairs: &[Pair]) -> Self {
        let (weights, _) = weights.as_chunks::<4>();
        let (pairs, _) = pairs.as_chunks::<4>();
        let biases = i32x4::new(super::biases(biases));
        Self(weights.iter().zip(pairs).fold(biases, |sums, (rows, pairs)| {
            rows.iter().zip(pairs).fold(sums, |sums, (row, pair)| sums + flat(row).dot(pair.0))
        }))
    }

    /// Shifts to the scale of an activation, halves up, and cuts to 0 and 13 bits.
    #[inline]
    pub fn activate(self, shift: u8) -> [Pair; 2] {
        let half = (1i32 << shift) >> 1;
        let shifted = (self.0 + i32x4::splat(half)) >> i32::from(shift);
        let [a, b, c, d] = shifted.to_array();
        let narrow = i16x8::from_i32x8_saturate(i32x8::new([a, b, c, d, 0, 0, 0, 0]));
        let [a, b, c, d, ..] = narrow.max(i16x8::ZERO).min(i16x8::splat(ONE)).to_array();
        [Pair::new(a, b), Pair::new(c, d)]
    }

    /// Whether one of the four lies above `limit`.
    #[inline]
    pub fn any_above(self, limit: i32) -> bool {
        self.0.simd_gt(i32x4::splat(limit)).any()
    }

    #[inline]
    pub fn to_array(self) -> [i32; UNITS] {
        self.0.to_array()
    }
}

/// The eight weights of a row; on a little-endian machine a plain load.
#[inline]
fn flat(row: &Row) -> i16x8 {
    let (bytes, _) = row.as_flattened().as_chunks::<2>();
    let mut weights = [0; 8];
    for (weight, bytes) in weights.iter_mut().zip(bytes) {
        *weight = i16::from_le_bytes(*bytes);
    }
    i16x8::new(weights)
}
