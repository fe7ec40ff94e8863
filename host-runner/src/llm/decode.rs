//! Writing the answers of a batch.

use super::engine::{Engine, Pass, Rows};
use super::error::EngineError;
use super::prefill::Prefilled;
use super::request::TokenId;
use super::sequence::{Sequence, StopReason};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text of `tokens`.
    pub text: String,
    /// The answer's tokens, without the one that ended it.
    pub tokens: Vec<TokenId>,
    /// Why it ended.
    pub stop: StopReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Nats, one for each token chosen: those of the answer and the one that ended it, if the model ended it.
    pub entropies: Vec<f32>,
}

impl Answer {
    /// Mean entropy of the tokens chosen, nats.
    #[must_use]
    pub fn mean_entropy(&self) -> f64 {
        mean(self.entropies.iter())
    }
}

/// All answers of a batch and what they took.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeReport {
    /// In the order of the requests.
    pub answers: Vec<Answer>,
    /// Layers that ran.
    pub layers: u32,
    /// Sequences in each step. The first tokens come from the prefill, so `n` tokens take `n - 1` steps.
    pub active: Vec<u16>,
    /// Every run of the model, in order.
    pub passes: Vec<Pass>,
    /// Time of all steps.
    pub wall: Duration,
    /// The part of it in the output head behind an exit. At full depth the head is part of llama.cpp's own graph, and
    /// this is zero.
    pub head: Duration,
}

impl DecodeReport {
    /// Tokens of all answers together.
    #[must_use]
    pub fn generated_tokens(&self) -> usize {
        self.answers.iter().map(|answer| answer.tokens.len()).sum()
    }

    /// Layers that ran, summed over the tokens that they ran on.
    #[must_use]
    pub fn layer_runs(&self) -> u64 {
        self.passes.iter().map(|pass| u64::from(pass.tokens) * u64::from(pass.layers)).sum()
    }

    /// Mean entropy of all tokens chosen, nats.
    #[must_use]
    pub fn mean_entropy(&self) -> f64 {
        mean(self.answers.iter().flat_map(|answer| &answer.entropies))
    }
}

fn mean<'a>(entropies: impl Iterator<Item = &'a f32>) -> f64 {
    let (sum, count) = entropies.fold((0.0, 0_u64), |(sum, count), &entropy| (sum + f64::from(entropy), count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

impl Prefilled<'_, '_> {
    /// Decodes until every answer has ended or `stop` becomes true, which is looked at before each step.
    pub fn decode(self, stop: &AtomicBool) -> Result<DecodeReport, EngineError> {
        let layers = self.layers;
        self.run(stop, |engine, running, first| engine.step(running, first, layers))
    }

    /// Calls `advance` for more tokens until every answer has ended. It gets sequences that run together, and llama.cpp's
    /// number of the first of them.
    pub(super) fn run(
        self,
        stop: &AtomicBool,
        mut advance: impl FnMut(&mut Engine, &mut [Sequence], u32) -> Result<(), EngineError>,
    ) -> Result<DecodeReport, EngineError> {
        let Self { engine, layers, sequences: mut running, .. } = self;
        let started = Instant::now();
        let mut ended = Vec::with_capacity(running.len());
        let mut active = Vec::new();
        engine.passes.clear();
        engine.retire(&mut running, &mut ended);
        while !running.is_empty() {
            if stop.load(Ordering::Relaxed) {
                for sequence in &mut running {
                    sequence.stop = Some(StopReason::Cancelled);
                }
            } else {
                active.push(u16::try_from(running.len()).unwrap_or(u16::MAX));
                let together = if engine.options.rows == Rows::Together { running.len() } else { 1 };
                for (sequences, first) in running.chunks_mut(together).zip(0..) {
                    advance(engine, sequences, first)?;
                }
            }
            engine.retire(&mut running, &mut ended);
        }
        let (wall, head) = (started.elapsed(), engine.context().take_head_time());
        ended.sort_by_key(|sequence| sequence.request);
        let answers = ended.into_iter().map(|sequence| engine.answer(sequence)).collect();
        let passes = std::mem::take(&mut engine.passes);
        Ok(DecodeReport { answers, layers, active, passes, wall, head })
    }
}

impl Engine<'_> {
    /// One token more for every sequence; `first` is llama.cpp's number of the first one.
    pub(super) fn step(&mut self, running: &mut [Sequence], first: u32, layers: u32) -> Result<(), EngineError> {
        self.batch.clear();
        for (sequence, id) in running.iter().zip(first..) {
            let (token, position) = sequence.next();
            self.batch.push(token, position, id, true);
        }
        self.forward(layers)?;
        self.choose(running.iter_mut())
    }

    /// Moves the sequences that have ended out of `running`. The last one takes the place of one that leaves, with its
    /// KV cache: llama.cpp runs sequences without gaps as one graph (see [`super::batch::Batch`]).
    pub(super) fn retire(&mut self, running: &mut Vec<Sequence>, ended: &mut Vec<Sequence>) {
        for place in (0..running.len()).rev() {
            if running[place].stop.is_none() {
                continue;
            }
            let last = running.len() - 1;
            let by = self.vacate(place, last);
            running[last].pending.iter_mut().for_each(|pending| pending.hidden.shift(by));
            ended.push(running.swap_remove(place));
        }
    }

    /// Forgets the sequence at `place`; the one at `last` takes its cells, which is so many cells further.
    pub(super) fn vacate(&mut self, place: usize, last: usize) -> i64 {
        let [place, last] = [place, last].map(|id| u32::try_from(id).expect("a batch has at most 256 sequences"));
        if place == last {
            self.context().remove(last);
        } else {
            self.context().rename(last, place);
        }
        self.context().stride() * (i64::from(place) - i64::from(last))
    }

    pub(super) fn answer(&self, sequence: Sequence) -> Answer {
        Answer {
            text: sequence.text(self.model),
            stop: sequence.stop.unwrap_or(StopReason::Cancelled),
            prompt_tokens: u32::try_from(sequence.prompt.len()).unwrap_or(u32::MAX),
            tokens: sequence.tokens,
            entropies: sequence.entropies,
        }
    }
}
