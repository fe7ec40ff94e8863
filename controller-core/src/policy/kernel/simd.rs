//! One SIMD register holds a row of weights, another the pair of inputs four times over.

use super::{Row, UNITS};
use wide::{i16x8, i32x4};

/// Two neighbouring inputs, repeated for every unit of a block.
#[derive(Clone, Copy, Debug)]
pub struct Pair(i16x8);

impl Pair {
    pub const ZERO: Self = Self(i16x8::ZERO);

    pub fn new(a: i16, b: i16) -> Self {
        Self(i16x8::new([a, b, a, b, a, b, a, b]))
    }
}

/// `bias + Σ weight·input` of four units. Rows without a pair, and pairs without a row, are left out.
pub fn sums(biases: [i32; UNITS], weights: &[Row], pairs: &[Pair]) -> [i32; UNITS] {
    let products = weights.iter().zip(pairs).map(|(row, pair)| i16x8::new(flat(row)).dot(pair.0));
    products.fold(i32x4::new(biases), |sums, products| sums + products).to_array()
}

/// The eight weights of a row; on a little-endian machine a plain load.
fn flat(row: &Row) -> [i16; 8] {
    let (bytes, _) = row.as_flattened().as_chunks::<2>();
    let mut weights = [0; 8];
    for (weight, bytes) in weights.iter_mut().zip(bytes) {
        *weight = i16::from_le_bytes(*bytes);
    }
    weights
}
