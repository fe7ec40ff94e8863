//! One layer of the network in the image: its shape, its blocks, and the proof of its range.

use super::error::ImageError;
use super::image::LayerShape;
use super::kernel::{self, Row};
use crate::observation::ONE;

/// Inputs and outputs of a layer, without padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Shape {
    /// The row of biases, then one row for every pair of padded inputs.
    pub(super) const fn rows_per_block(self) -> usize {
        1 + self.inputs.next_multiple_of(kernel::INPUTS) / 2
    }

    /// All rows of the layer.
    pub(super) const fn rows(self) -> usize {
        self.outputs.div_ceil(kernel::UNITS) * self.rows_per_block()
    }
}

/// Inputs and outputs of every layer, with the shift of a hidden one; the last one has none.
pub(super) fn shapes(
    mut inputs: usize,
    hidden: &[LayerShape],
    logits: usize,
) -> impl Iterator<Item = (Shape, Option<u8>)> {
    (0..=hidden.len()).map(move |number| {
        let layer = hidden.get(number);
        let outputs = layer.map_or(logits, |layer| layer.units.into());
        let shape = Shape { inputs: core::mem::replace(&mut inputs, outputs), outputs };
        (shape, layer.map(|layer| layer.shift))
    })
}

/// Bias of a unit that pads the last block. A hidden one is then 0, and a padding logit is the
/// smallest there is, so that it is never chosen.
pub(super) const fn padding_bias(is_last_layer: bool) -> i32 {
    if is_last_layer { i32::MIN } else { 0 }
}

/// One layer's parameters, still in the image: blocks of rows as `kernel` describes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer<'a> {
    rows: &'a [Row],
    rows_per_block: usize,
}

impl<'a> Layer<'a> {
    /// Cuts a layer of this shape off the front; `None` when there are too few rows.
    pub(super) fn cut(rows: &mut &'a [Row], shape: Shape) -> Option<Self> {
        let (layer, behind) = rows.split_at_checked(shape.rows())?;
        *rows = behind;
        Some(Self { rows: layer, rows_per_block: shape.rows_per_block() })
    }

    /// The biases and the weights of the next four units.
    #[inline]
    pub(super) fn next_block(&mut self) -> Option<(&'a Row, &'a [Row])> {
        let (block, behind) = self.rows.split_at_checked(self.rows_per_block)?;
        self.rows = behind;
        block.split_first()
    }

    /// Bias and weights of a unit; `None` beyond the last.
    pub(super) fn unit(mut self, unit: usize, shape: Shape) -> Option<(i32, impl Iterator<Item = i16> + use<'a>)> {
        if unit >= shape.outputs {
            return None;
        }
        for _ in 0..unit / kernel::UNITS {
            self.next_block()?;
        }
        let (biases, weights) = self.next_block()?;
        let lane = unit % kernel::UNITS;
        let pairs = weights.iter().flat_map(move |row| kernel::weights(row, lane));
        Some((*kernel::biases(biases).get(lane)?, pairs.take(shape.inputs)))
    }

    /// Proves that no input can overflow an accumulator: |bias| + half a step of rounding +
    /// 8191·Σ|weight| fits an `i32`. Padding must be neutral, so that an image has one form only.
    pub(super) fn check(mut self, number: u8, shape: Shape, shift: Option<u8>) -> Result<(), ImageError> {
        let half = (1u32 << shift.unwrap_or(0)) >> 1;
        let mut units = 0..shape.outputs;
        while let Some((biases, weights)) = self.next_block() {
            for (lane, bias) in kernel::biases(biases).into_iter().enumerate() {
                let real = units.next().is_some();
                let mut inputs = if real { 0..shape.inputs } else { 0..0 };
                let mut sum = 0u32;
                for weight in weights.iter().flat_map(|row| kernel::weights(row, lane)) {
                    if weight.unsigned_abs() > ONE.unsigned_abs() {
                        return Err(ImageError::WeightRange { layer: number });
                    }
                    if inputs.next().is_none() && weight != 0 {
                        return Err(ImageError::Padding { layer: number });
                    }
                    sum = sum.saturating_add(weight.unsigned_abs().into());
                }
                let products = sum.saturating_mul(ONE.unsigned_abs().into());
                let magnitude = products.saturating_add(half).saturating_add(bias.unsigned_abs());
                if real && magnitude > i32::MAX.unsigned_abs() {
                    return Err(ImageError::AccumulatorRange { layer: number });
                }
                if !real && bias != padding_bias(shift.is_none()) {
                    return Err(ImageError::Padding { layer: number });
                }
            }
        }
        Ok(())
    }
}
