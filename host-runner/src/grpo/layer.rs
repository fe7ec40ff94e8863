//! One layer of a network: forward over one observation or many, and backward.

#![expect(clippy::inline_always, reason = "loops must be compiled with the instruction set that was chosen")]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over lanes of fixed length are what becomes one vector instruction"
)]

use super::vector::{Wide, wide};
use controller_core::observation::ONE;

/// One layer: `outputs x inputs` weights, row by row, and one bias per output.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Number of inputs.
    pub inputs: usize,
    /// Weights, row-major.
    pub weights: Vec<f64>,
    /// Biases.
    pub biases: Vec<f64>,
}

impl Layer {
    pub(super) fn zeros_like(other: &Self) -> Self {
        Self { inputs: other.inputs, weights: vec![0.0; other.weights.len()], biases: vec![0.0; other.biases.len()] }
    }

    pub(super) fn apply(&self, input: &[f64]) -> Vec<f64> {
        let rows = self.weights.chunks_exact(self.inputs).zip(&self.biases);
        rows.map(|(row, bias)| row.iter().zip(input).fold(*bias, |sum, (w, x)| sum + w * x)).collect()
    }
}

/// Units that are worked on side by side.
const LANES: usize = 32;

impl Layer {
    /// [`Self::apply`] for rows of inputs, one after the other.
    pub(super) fn apply_batch(&self, inputs: &[f64], out: &mut Vec<f64>) {
        let outputs = self.biases.len();
        out.resize(inputs.len() / self.inputs.max(1) * outputs, 0.0);
        let mut packed = vec![Tile::default(); self.inputs];
        let mut tiles = vec![Tile::default(); inputs.len() / self.inputs.max(1)];
        for start in (0..outputs).step_by(LANES) {
            let units = LANES.min(outputs - start);
            let mut biases = Tile::default();
            biases.as_flattened_mut()[..units].copy_from_slice(&self.biases[start..start + units]);
            let rows = self.weights[start * self.inputs..].chunks_exact(self.inputs).take(units);
            for (lane, row) in rows.enumerate() {
                packed.iter_mut().zip(row).for_each(|(column, weight)| column.as_flattened_mut()[lane] = *weight);
            }
            wide(Forward { inputs, width: self.inputs, biases, packed: &packed, tiles: &mut tiles });
            for (row, tile) in out.chunks_exact_mut(outputs).zip(&tiles) {
                row[start..start + units].copy_from_slice(&tile.as_flattened()[..units]);
            }
        }
    }

    /// Adds to `sums` the gradient of the parameters and to `incoming` that of the inputs. Samples and units come in their
    /// order for every sum; inputs are taken a few at a time, so that what is summed up stays in registers.
    pub(super) fn backward_batch(&self, inputs: &[f64], deltas: &[f64], sums: &mut Self, incoming: &mut [f64]) {
        let outputs = self.biases.len();
        for deltas in deltas.chunks_exact(outputs) {
            wide(|| sums.biases.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += delta));
        }
        let columns = |start| Columns { start, width: COLUMNS.min(self.inputs - start), stride: self.inputs };
        let mut blocks: Vec<Block> = (0..self.inputs)
            .step_by(COLUMNS)
            .map(columns)
            .map(|columns| Block { columns, inputs: columns.take(inputs), back: columns.take(incoming) })
            .collect();
        wide(Backward { blocks: &mut blocks, weights: &self.weights, deltas, outputs, sums: &mut sums.weights });
        for block in &blocks {
            block.columns.put(&block.back, incoming);
        }
    }
}

/// The sums of some units, a vector register at a time.
type Tile = [[f64; 8]; LANES / 8];

/// Some units for all samples.
struct Forward<'a> {
    inputs: &'a [f64],
    width: usize,
    biases: Tile,
    /// For every input, the weights of the units.
    packed: &'a [Tile],
    tiles: &'a mut [Tile],
}

impl Wide for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { inputs, width, biases, packed, tiles } = self;
        for (input, tile) in inputs.chunks_exact(width).zip(tiles) {
            let mut sums = biases;
            for (weights, x) in packed.iter().zip(input) {
                for part in 0..LANES / 8 {
                    for lane in 0..8 {
                        sums[part][lane] += weights[part][lane] * x;
                    }
                }
            }
            *tile = sums;
        }
    }
}

/// Some inputs of all samples, and the gradients that come back to them.
struct Block {
    columns: Columns,
    inputs: Vec<[f64; COLUMNS]>,
    back: Vec<[f64; COLUMNS]>,
}

/// All units for all samples. The blocks of inputs are the inner loop: what the samples' gradients of a few units take
/// stays in the nearest cache for all of them.
struct Backward<'a> {
    blocks: &'a mut [Block],
    weights: &'a [f64],
    deltas: &'a [f64],
    outputs: usize,
    sums: &'a mut [f64],
}

impl Wide for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { blocks, weights, deltas, outputs, sums } = self;
        let mut unit = 0;
        while unit + UNITS <= outputs {
            for Block { columns, inputs, back } in &mut *blocks {
                columns.accumulate::<UNITS>(weights, unit, (deltas, outputs), inputs, sums, back);
            }
            unit += UNITS;
        }
        while unit < outputs {
            for Block { columns, inputs, back } in &mut *blocks {
                columns.accumulate::<1>(weights, unit, (deltas, outputs), inputs, sums, back);
            }
            unit += 1;
        }
    }
}

/// Inputs that the backward pass takes at a time.
const COLUMNS: usize = 8;
/// Units that it takes at a time.
const UNITS: usize = 4;

/// Some columns of matrices with `stride` columns, padded with zeros.
#[derive(Clone, Copy)]
struct Columns {
    start: usize,
    width: usize,
    stride: usize,
}

impl Columns {
    fn of_row(self, row: &[f64]) -> [f64; COLUMNS] {
        let mut out = [0.0; COLUMNS];
        out[..self.width].copy_from_slice(&row[self.start..self.start + self.width]);
        out
    }

    fn take(self, matrix: &[f64]) -> Vec<[f64; COLUMNS]> {
        matrix.chunks_exact(self.stride).map(|row| self.of_row(row)).collect()
    }

    fn put(self, columns: &[[f64; COLUMNS]], matrix: &mut [f64]) {
        for (columns, row) in columns.iter().zip(matrix.chunks_exact_mut(self.stride)) {
            row[self.start..self.start + self.width].copy_from_slice(&columns[..self.width]);
        }
    }

    #[inline(always)]
    fn accumulate<const N: usize>(
        self,
        weights: &[f64],
        unit: usize,
        (deltas, outputs): (&[f64], usize),
        inputs: &[[f64; COLUMNS]],
        sums: &mut [f64],
        back: &mut [[f64; COLUMNS]],
    ) {
        let place = |lane: usize| (unit + lane) * self.stride..(unit + lane + 1) * self.stride;
        let rows: [[f64; COLUMNS]; N] = std::array::from_fn(|lane| self.of_row(&weights[place(lane)]));
        let mut totals: [[f64; COLUMNS]; N] = std::array::from_fn(|lane| self.of_row(&sums[place(lane)]));
        for ((deltas, x), back) in deltas.chunks_exact(outputs).zip(inputs).zip(back) {
            let deltas = &deltas[unit..unit + N];
            let (x, mut returned) = (*x, *back);
            for lane in 0..N {
                let delta = deltas[lane];
                for column in 0..COLUMNS {
                    totals[lane][column] += delta * x[column];
                    returned[column] += delta * rows[lane][column];
                }
            }
            *back = returned;
        }
        for (lane, total) in totals.iter().enumerate() {
            sums[place(lane)][self.start..self.start + self.width].copy_from_slice(&total[..self.width]);
        }
    }
}

/// How the frozen policy rounds the activations of a hidden layer: to multiples of `step`, halves up, at most
/// [`controller_core::observation::ONE`] of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Distance of two values; a power of two.
    pub step: f64,
}

impl Grid {
    pub(super) fn top(self) -> f64 {
        f64::from(ONE) * self.step
    }

    /// The value of the grid for a sum.
    #[inline(always)]
    pub(super) fn round(self, sum: f64) -> f64 {
        (sum / self.step + 0.5).floor().clamp(0.0, f64::from(ONE)) * self.step
    }
}
