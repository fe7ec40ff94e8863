//! What is run for a comparison: the same tokens in the same batches, on either side.

use super::SEQUENCES;
use crate::llm::batch::Batch;
use crate::llm::cache::Reads;
use crate::llm::ffi::{RunError, TappedContext};
use crate::llm::native::NativeContext;
use crate::llm::request::TokenId;

/// Tokens that are read at once.
const PREFILL: u32 = 48;
/// Tokens that come one after the other.
const STEPS: u32 = 12;

/// Rows of logits.
pub(super) type Rows = Vec<Vec<f32>>;

/// Either side of the comparison.
pub(super) trait Side {
    fn forget(&mut self);
    /// Runs the batch and returns the logits of the tokens that want them.
    fn logits(&mut self, batch: &mut Batch) -> Result<Rows, RunError>;
}

impl Side for NativeContext<'_> {
    fn forget(&mut self) {
        self.clear();
    }

    fn logits(&mut self, batch: &mut Batch) -> Result<Rows, RunError> {
        self.decode(batch)?;
        Ok(batch.rows().iter().map(|&row| NativeContext::logits(self, row).to_vec()).collect())
    }
}

/// The whole model, which leaves behind `depth`.
pub(super) struct Ours<'model> {
    pub(super) context: TappedContext<'model>,
    pub(super) depth: u32,
    pub(super) layers: u32,
}

impl Side for Ours<'_> {
    fn forget(&mut self) {
        self.context.clear();
    }

    fn logits(&mut self, batch: &mut Batch) -> Result<Rows, RunError> {
        if self.depth == self.layers {
            self.context.decode(batch)?;
            return Ok(batch.rows().iter().map(|&row| self.context.native_logits(row).to_vec()).collect());
        }
        self.context.decode_to(batch, self.depth)?;
        Ok((0..batch.rows().len()).map(|nth| self.context.tapped_logits(nth).to_vec()).collect())
    }
}

/// Some token of the vocabulary. All vocabularies have 32.
fn token(sequence: u32, position: u32) -> TokenId {
    (3 + (position * 7 + sequence * 11 + position * position) % 29).cast_signed()
}

fn fill(batch: &mut Batch, sequence: u32, positions: std::ops::Range<u32>) {
    for position in positions {
        batch.push(token(sequence, position), position, sequence, true);
    }
}

pub(super) fn prefill(side: &mut impl Side, batch: &mut Batch) -> Result<Rows, RunError> {
    side.forget();
    batch.clear();
    fill(batch, 0, 0..PREFILL);
    side.logits(batch)
}

pub(super) fn decode(side: &mut impl Side, batch: &mut Batch) -> Result<Rows, RunError> {
    side.forget();
    Ok(turn_of(side, batch, 0)?.concat())
}

pub(super) fn turn_alone(side: &mut impl Side, batch: &mut Batch, sequence: u32) -> Result<Vec<Rows>, RunError> {
    side.forget();
    turn_of(side, batch, sequence)
}

/// A prompt of four tokens, then one token after the other.
fn turn_of(side: &mut impl Side, batch: &mut Batch, sequence: u32) -> Result<Vec<Rows>, RunError> {
    steps().map(|positions| turn(side, batch, sequence, positions)).collect()
}

fn turn(
    side: &mut impl Side,
    batch: &mut Batch,
    sequence: u32,
    positions: std::ops::Range<u32>,
) -> Result<Rows, RunError> {
    batch.clear();
    fill(batch, sequence, positions);
    side.logits(batch)
}

fn steps() -> impl Iterator<Item = std::ops::Range<u32>> {
    std::iter::once(0..4).chain((4..4 + STEPS).map(|position| position..position + 1))
}

/// Eight sequences, one token each in every call.
pub(super) fn batches(side: &mut impl Side, batch: &mut Batch) -> Result<Rows, RunError> {
    side.forget();
    let mut rows = Rows::new();
    for position in 0..STEPS {
        batch.clear();
        (0..SEQUENCES).for_each(|sequence| fill(batch, sequence, position..position + 1));
        rows.extend(side.logits(batch)?);
    }
    Ok(rows)
}

/// Rows of each sequence in each step.
pub(super) fn take_turns(ours: &mut Ours, batch: &mut Batch, turns: &[u32]) -> Result<Vec<Vec<Rows>>, RunError> {
    ours.forget();
    let mut rows = vec![Vec::new(); turns.len()];
    for positions in steps() {
        for (sequence, &depth) in (0..).zip(turns) {
            ours.depth = depth;
            rows[sequence as usize].push(turn(ours, batch, sequence, positions.clone())?);
        }
    }
    Ok(rows)
}

pub(super) fn mix(ours: &mut Ours, batch: &mut Batch, turns: &[u32]) -> Result<Vec<Vec<Rows>>, RunError> {
    ours.forget();
    let mut rows = vec![Vec::new(); turns.len()];
    for position in 0..STEPS {
        batch.clear();
        (0..SEQUENCES).for_each(|sequence| fill(batch, sequence, position..position + 1));
        ours.context.decode_each(batch, turns)?;
        for (nth, (&depth, rows)) in turns.iter().zip(&mut rows).enumerate() {
            let native = depth == ours.layers;
            let logits =
                if native { ours.context.native_logits(batch.rows()[nth]) } else { ours.context.tapped_logits(nth) };
            rows.push(vec![logits.to_vec()]);
        }
    }
    Ok(rows)
}

/// Logits of four tokens after twelve others: stopped and resumed, and run at once.
pub(super) fn resumed(ours: &mut Ours, batch: &mut Batch) -> Result<[Rows; 2], RunError> {
    let native = |ours: &Ours, batch: &Batch| -> Rows {
        batch.rows().iter().map(|&row| ours.context.native_logits(row).to_vec()).collect()
    };
    ours.forget();
    batch.clear();
    fill(batch, 0, 0..STEPS);
    ours.context.decode(batch)?;
    batch.clear();
    fill(batch, 0, STEPS..STEPS + 4);
    let hidden = ours.context.decode_and_keep(batch, ours.depth, Reads::Exact)?.clone();
    ours.context.truncate(0, STEPS);
    ours.context.resume(batch, &hidden, ours.layers, Reads::Exact)?;
    let found = native(ours, batch);
    ours.context.truncate(0, STEPS);
    ours.context.decode(batch)?;
    Ok([found, native(ours, batch)])
}
