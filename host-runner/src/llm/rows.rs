//! How much a row of a batch differs from the same row alone.

use super::engine::{Engine, Rows};
use super::error::EngineError;

/// Tokens that each sequence holds before the step that is compared.
const BEFORE: u32 = 8;

impl Engine<'_> {
    /// How far apart logits are when sequences take a token together, up to eight, and when each takes it alone: the
    /// greatest difference, at full depth. Zero with [`Rows::Alone`], and with kernels that add up a row of a batch as
    /// they add up one alone. Whatever ran before in the engine is forgotten.
    pub fn row_difference(&mut self) -> Result<f32, EngineError> {
        let sequences = self.options.max_batch.min(8);
        if self.options.rows == Rows::Alone || self.options.sequence_tokens <= BEFORE {
            return Ok(0.0);
        }
        let together = self.next_logits(0..sequences, true)?;
        let alone = self.next_logits(0..sequences, false)?;
        let pairs = together.iter().zip(&alone).filter(|(a, b)| a.is_finite() && b.is_finite());
        Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
    }

    /// Lets `sequences` read a few tokens each, one after the other, and then take one more. Logits `[sequences, n_vocab]`.
    fn next_logits(&mut self, sequences: std::ops::Range<u32>, together: bool) -> Result<Vec<f32>, EngineError> {
        let (layers, n_vocab) = (self.model.n_layer(), self.model.n_vocab());
        let token = |sequence: u32, position: u32| ((1 + sequence * 31 + position * 7) % n_vocab).cast_signed();
        let mut logits = Vec::new();
        self.context().clear();
        self.batch.clear();
        for sequence in sequences.clone() {
            self.batch.clear();
            for position in 0..BEFORE {
                self.batch.push(token(sequence, position), position, sequence, false);
            }
            self.forward(layers)?;
        }
        self.batch.clear();
        for sequence in sequences {
            if !together {
                self.batch.clear();
            }
            self.batch.push(token(sequence, BEFORE), BEFORE, sequence, true);
            if !together {
                self.forward(layers)?;
                logits.extend_from_slice(self.logits(0, layers));
            }
        }
        if together {
            self.forward(layers)?;
            for nth in 0..self.batch.rows().len() {
                logits.extend_from_slice(self.logits(nth, layers));
            }
        }
        self.context().clear();
        Ok(logits)
    }
}
