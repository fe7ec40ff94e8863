//! Who takes part: llama.cpp as it comes, and our engine. All run the same batches.

use crate::board::desktop::rapl::{Rapl, RaplError};
use crate::llm::batch::Batch;
use crate::llm::cache::Reads;
use crate::llm::conformance::ConformanceError;
use crate::llm::ffi::{Hidden, TappedContext};
use crate::llm::native::NativeContext;
use crate::llm::sampling::Distribution;
use crate::resources::cpu_seconds;
use std::time::{Duration, Instant};

/// How long a depth decodes while its energy is read.
const ENERGY_TIME: Duration = Duration::from_secs(2);
/// Tokens of every prompt.
pub(super) const PROMPT: u32 = 32;

/// Whoever decodes: the same batches for all.
pub(super) trait Contender {
    fn sequences(&self) -> u32;
    fn forget(&mut self);
    /// Runs the batch and looks at the logits of every row, as someone who chooses tokens does.
    fn run(&mut self, batch: &mut Batch) -> Result<(), ConformanceError>;

    /// Reads the prompts anew. CPU seconds.
    fn prefill(&mut self, batch: &mut Batch) -> Result<f64, ConformanceError> {
        self.forget();
        fill(batch, self.sequences(), 0..PROMPT);
        let started = cpu_seconds();
        self.run(batch)?;
        Ok(cpu_seconds() - started)
    }

    /// One token more for each sequence, behind the prompt and `step` others. CPU seconds.
    fn step(&mut self, batch: &mut Batch, step: u32) -> Result<f64, ConformanceError> {
        fill(batch, self.sequences(), PROMPT + step..PROMPT + step + 1);
        let started = cpu_seconds();
        self.run(batch)?;
        Ok(cpu_seconds() - started)
    }

    /// A prefill and so many steps, without a look at a clock: under valgrind the process's crashes (rustix 1.1 reads it
    /// from the vDSO).
    fn untimed(&mut self, batch: &mut Batch, steps: u32) -> Result<(), ConformanceError> {
        self.forget();
        fill(batch, self.sequences(), 0..PROMPT);
        self.run(batch)?;
        for position in PROMPT..PROMPT + steps {
            fill(batch, self.sequences(), position..position + 1);
            self.run(batch)?;
        }
        Ok(())
    }

    /// A prefill and so many steps; CPU seconds of the steps.
    fn turn(&mut self, batch: &mut Batch, steps: u32) -> Result<f64, ConformanceError> {
        self.prefill(batch)?;
        (0..steps).map(|step| self.step(batch, step)).sum()
    }
}

fn fill(batch: &mut Batch, sequences: u32, positions: std::ops::Range<u32>) {
    batch.clear();
    for sequence in 0..sequences {
        for position in positions.clone() {
            let token = 3 + (position * 7 + sequence * 11 + position * position) % 29;
            batch.push(token.cast_signed(), position, sequence, position + 1 == positions.end);
        }
    }
}

pub(super) struct Bare<'a, 'model> {
    pub(super) context: &'a mut NativeContext<'model>,
    pub(super) sequences: u32,
}

impl Contender for Bare<'_, '_> {
    fn sequences(&self) -> u32 {
        self.sequences
    }

    fn forget(&mut self) {
        self.context.clear();
    }

    fn run(&mut self, batch: &mut Batch) -> Result<(), ConformanceError> {
        self.context.decode(batch)?;
        for &row in batch.rows() {
            std::hint::black_box(greatest(self.context.logits(row)));
        }
        Ok(())
    }
}

/// What greedy decoding without an entropy needs.
fn greatest(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, token| if logits[token] > logits[best] { token } else { best })
}

pub(super) struct Ours<'a, 'model> {
    pub(super) context: &'a mut TappedContext<'model>,
    pub(super) sequences: u32,
    pub(super) depth: u32,
    pub(super) layers: u32,
}

impl Contender for Ours<'_, '_> {
    fn sequences(&self) -> u32 {
        self.sequences
    }

    fn forget(&mut self) {
        self.context.clear();
    }

    fn run(&mut self, batch: &mut Batch) -> Result<(), ConformanceError> {
        let native = self.depth == self.layers;
        if native {
            self.context.decode(batch)?;
        } else {
            self.context.decode_to(batch, self.depth)?;
        }
        for (nth, &row) in batch.rows().iter().enumerate() {
            let logits = if native { self.context.native_logits(row) } else { self.context.tapped_logits(nth) };
            std::hint::black_box(Distribution::of(logits));
        }
        Ok(())
    }
}

impl Ours<'_, '_> {
    /// Joules per token of decoding for a while, prompts left out.
    pub(super) fn energy(
        &mut self,
        batch: &mut Batch,
        steps: u32,
        rapl: &mut Rapl,
    ) -> Result<Result<f64, RaplError>, ConformanceError> {
        let (mut joules, mut tokens, mut spent) = (0.0, 0_u64, Duration::ZERO);
        while spent < ENERGY_TIME {
            self.prefill(batch)?;
            let (before, started) = (rapl.joules(), Instant::now());
            for step in 0..steps {
                self.step(batch, step)?;
            }
            spent += started.elapsed();
            match before.and_then(|before| Ok(rapl.joules()? - before)) {
                Ok(more) => joules += more,
                Err(error) => return Ok(Err(error)),
            }
            tokens += u64::from(steps * self.sequences);
        }
        Ok(Ok(joules / (tokens as f64).max(1.0)))
    }

    /// CPU seconds of a round: drafts behind `depth`, then the rest of the layers over all of them.
    pub(super) fn draft(&mut self, batch: &mut Batch, depth: u32, drafts: u32) -> Result<f64, ConformanceError> {
        let start = self.context.positions(0);
        let started = cpu_seconds();
        let mut kept = vec![Hidden::default(); self.sequences as usize];
        for position in start..=start + drafts {
            fill(batch, self.sequences, position..position + 1);
            let hidden = self.context.decode_and_keep(batch, depth, Reads::Exact)?;
            kept.iter_mut().enumerate().for_each(|(nth, kept)| kept.push(hidden, nth));
            for nth in 0..batch.rows().len() {
                std::hint::black_box(Distribution::of(self.context.tapped_logits(nth)));
            }
        }
        let mut all = Hidden::default();
        batch.clear();
        for (hidden, sequence) in kept.iter().zip(0..) {
            all.extend(hidden);
            self.context.truncate(sequence, start);
            for position in start..=start + drafts {
                batch.push(5, position, sequence, true);
            }
        }
        self.context.resume(batch, &all, self.layers, Reads::Exact)?;
        for &row in batch.rows() {
            std::hint::black_box(Distribution::of(self.context.native_logits(row)));
        }
        let seconds = cpu_seconds() - started;
        (0..self.sequences).for_each(|sequence| self.context.truncate(sequence, start));
        Ok(seconds)
    }
}
