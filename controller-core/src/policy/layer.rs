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

/// Inputs and outputs of every layer, the last one included.
pub(super) fn shapes(inputs: usize, hidden: &[LayerShape], logits: usize) -> impl Iterator<Item = Shape> {
    let outputs = hidden.iter().map(|layer| usize::from(layer.units)).chain([logits]);
    outputs.scan(inputs, |inputs, outputs| {
        let shape = Shape { inputs: *inputs, outputs };
        *inputs = outputs;
        Some(shape)
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
        let pairs = weights.iter().flat_map(move |row| kernel::weights(row).get(lane).copied().unwrap_or_default());
        Some((*kernel::biases(biases).get(lane)?, pairs.take(shape.inputs)))
    }

    /// Proves that no input can overflow an accumulator: |bias| + half a step of rounding +
    /// 8191·Σ|weight| fits an `i32`. Padding must be neutral, so that an image has one form only.
    pub(super) fn check(mut self, number: u8, shape: Shape, shift: u8, padding_bias: i32) -> Result<(), ImageError> {
        let half = (1u64 << shift) >> 1;
        let mut units = 0..shape.outputs;
        while let Some((biases, weights)) = self.next_block() {
            let biases = kernel::biases(biases);
            let real = biases.map(|_| units.next().is_some());
            let mut magnitudes = biases.map(|bias| u64::from(bias.unsigned_abs()) + half);
            let mut inputs = 0..shape.inputs;
            for row in weights {
                let used = [inputs.next().is_some(), inputs.next().is_some()];
                for ((magnitude, real), pair) in magnitudes.iter_mut().zip(real).zip(kernel::weights(row)) {
                    for (weight, used) in pair.into_iter().zip(used) {
                        if weight.unsigned_abs() > ONE.unsigned_abs() {
                            return Err(ImageError::WeightRange { layer: number });
                        }
                        if weight != 0 && !(real && used) {
                            return Err(ImageError::Padding { layer: number });
                        }
                        *magnitude += u64::from(weight.unsigned_abs()) * u64::from(ONE.unsigned_abs());
                    }
                }
            }
            for ((bias, real), magnitude) in biases.into_iter().zip(real).zip(magnitudes) {
                if !real && bias != padding_bias {
                    return Err(ImageError::Padding { layer: number });
                }
                if real && magnitude > u64::from(i32::MAX.unsigned_abs()) {
                    return Err(ImageError::AccumulatorRange { layer: number });
                }
            }
        }
        Ok(())
    }
}
