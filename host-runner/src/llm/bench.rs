//! What depth is worth, against llama.cpp itself.
//!
//! Four contenders take turns in one process: the whole model and a copy with `k` layers, each run by llama.cpp without
//! a callback, and our engine at full depth and at depth `k`. Each turn is a few decode steps from the same cache, and
//! counts CPU time. Ratios are formed within a round of turns, so that what other programs do to the machine falls on
//! both sides; the median and the quartiles of the rounds are reported.

use super::batch::Batch;
use super::cache::Reads;
use super::check;
use super::conformance::{ConformanceError, write_copy};
use super::ffi::{self, ContextShape, Hidden, Precision, TappedContext};
use super::gguf::Header;
use super::model::{Model, ModelError, ModelOptions};
use super::native::NativeContext;
use super::sampling::Distribution;
use crate::board::desktop::rapl::{Rapl, RaplError};
use crate::measure::percentile::Quartiles;
use crate::resources::{cpu_seconds, resident_bytes};
use std::path::Path;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Depths below full.
    pub depths: Vec<u32>,
    /// Sequences in a step.
    pub batches: Vec<u32>,
    /// Tokens drafted before a check.
    pub drafts: Vec<u32>,
    /// Rounds of turns.
    pub rounds: usize,
    /// Decode steps in a turn.
    pub steps: u32,
    /// CPU threads.
    pub threads: u32,
}

/// One depth at one batch size.
#[derive(Debug, Clone)]
pub struct DepthCost {
    /// Layers.
    pub depth: u32,
    /// Sequences.
    pub batch: u32,
    /// CPU milliseconds per token at this depth, our engine.
    pub ms_per_token: Quartiles,
    /// The same, llama.cpp with the truncated copy.
    pub native_ms_per_token: Quartiles,
    /// Our engine at this depth over llama.cpp with the truncated copy.
    pub to_truncated: Quartiles,
    /// Our engine at this depth over llama.cpp with the whole model.
    pub to_whole: Quartiles,
    /// What `to_whole` would be if only bytes of weights counted: (k layers + head) / (all layers + head).
    pub ideal: f64,
    /// Our engine at full depth over llama.cpp with the whole model.
    pub full_to_native: Quartiles,
    /// Joules of the processor packages per token decoded at this depth, whatever else the machine does included; none
    /// where they cannot be read.
    pub joules_per_token: Option<f64>,
    /// Our prefill of 32 tokens at this depth over llama.cpp's with the truncated copy.
    pub prefill_to_truncated: Quartiles,
}

/// One draft length.
#[derive(Debug, Clone)]
pub struct DraftCost {
    /// Layers that draft.
    pub depth: u32,
    /// Sequences.
    pub batch: u32,
    /// Tokens drafted.
    pub drafts: u32,
    /// A round of drafting and checking over a plain step: it pays when a round gives more tokens than this.
    pub round_to_step: Quartiles,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct BenchReport {
    /// Depths.
    pub depths: Vec<DepthCost>,
    /// Draft lengths.
    pub drafts: Vec<DraftCost>,
    /// Memory of this process with our engine over that with a bare llama.cpp context, same model, same sizes.
    pub memory_ratio: Option<f64>,
    /// Why there is no energy.
    pub no_energy: Option<RaplError>,
}

/// How long a depth decodes while its energy is read.
const ENERGY_TIME: Duration = Duration::from_secs(2);
const PROMPT: u32 = 32;

/// Measures the model at `path`. `note` hears what is being done.
pub fn bench(path: &Path, options: &BenchOptions, mut note: impl FnMut(&str)) -> Result<BenchReport, ConformanceError> {
    let model = Model::load(path, &ModelOptions::default())?;
    model.require_exits()?;
    let header = Header::open(path).map_err(|source| ModelError::File { path: path.into(), source })?;
    let layers = model.n_layer();
    for &depth in &options.depths {
        if !(1..layers).contains(&depth) {
            return Err(ConformanceError::Depths { low: depth, high: depth, layers: layers - 1 });
        }
    }
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("truncated.gguf");
    let mut report = BenchReport { depths: Vec::new(), drafts: Vec::new(), memory_ratio: None, no_energy: None };
    let mut rapl = Rapl::open().map_err(|error| report.no_energy = Some(error)).ok();
    for &sequences in &options.batches {
        let most = options.drafts.iter().max().copied().unwrap_or(0) + 1;
        let shape = ContextShape {
            sequences,
            sequence_tokens: 256,
            batch_tokens: (sequences * PROMPT.max(most)).max(check::BATCH_TOKENS),
            threads: options.threads.clamp(1, 512).cast_signed(),
            precision: Precision::Half,
        };
        let mut batch = Batch::new(shape.batch_tokens);
        let mut native = NativeContext::new(&model, &shape).map_err(ConformanceError::Run)?;
        let steps = options.steps;
        let mut bare = Bare { context: &mut native, sequences };
        bare.turn(&mut batch, steps)?;
        if report.memory_ratio.is_none() {
            let with_native = resident_bytes();
            drop(native);
            let mut ours = tapped(&model, shape, &mut batch)?;
            Ours { context: &mut ours, sequences, depth: layers, layers }.turn(&mut batch, steps)?;
            report.memory_ratio = resident_bytes().zip(with_native).map(|(ours, native)| ours as f64 / native as f64);
            drop(ours);
            native = NativeContext::new(&model, &shape).map_err(ConformanceError::Run)?;
        }
        let mut tapped = tapped(&model, shape, &mut batch)?;
        for &depth in &options.depths {
            note(&format!("batch {sequences}, depth {depth}"));
            write_copy(path, depth, &copy)?;
            let shallow = Model::load(&copy, &ModelOptions::default())?;
            let mut truncated = NativeContext::new(&shallow, &shape).map_err(ConformanceError::Run)?;
            let mut rounds: Vec<[Turn; 4]> = Vec::new();
            for round in 0..=options.rounds {
                let mut turns = [Turn::default(); 4];
                for place in 0..4 {
                    // Another one begins each time.
                    let who = (place + round) % 4;
                    turns[who] = match who {
                        0 => Bare { context: &mut native, sequences }.turn(&mut batch, steps)?,
                        1 => Bare { context: &mut truncated, sequences }.turn(&mut batch, steps)?,
                        2 => Ours { context: &mut tapped, sequences, depth: layers, layers }.turn(&mut batch, steps)?,
                        _ => Ours { context: &mut tapped, sequences, depth, layers }.turn(&mut batch, steps)?,
                    };
                }
                // The first round warms up.
                if round > 0 {
                    rounds.push(turns);
                }
            }
            let mut ours = Ours { context: &mut tapped, sequences, depth, layers };
            let joules_per_token = match &mut rapl {
                None => None,
                Some(rapl) => match ours.energy(&mut batch, steps, rapl)? {
                    Ok(joules) => Some(joules),
                    Err(error) => {
                        report.no_energy = Some(error);
                        None
                    }
                },
            };
            let each = |of: &dyn Fn(&[Turn; 4]) -> f64| Quartiles::of(rounds.iter().map(of).collect());
            let per_token = 1e3 / f64::from(steps * sequences);
            report.depths.push(DepthCost {
                depth,
                batch: sequences,
                ms_per_token: each(&|turns| turns[3].decode * per_token),
                native_ms_per_token: each(&|turns| turns[1].decode * per_token),
                to_truncated: each(&|turns| turns[3].decode / turns[1].decode),
                to_whole: each(&|turns| turns[3].decode / turns[0].decode),
                ideal: ideal(&header, depth),
                full_to_native: each(&|turns| turns[2].decode / turns[0].decode),
                joules_per_token,
                prefill_to_truncated: each(&|turns| turns[3].prefill / turns[1].prefill),
            });
            for &drafts in &options.drafts {
                let mut ratios = Vec::new();
                for _ in 0..options.rounds.min(10) {
                    let mut ours = Ours { context: &mut tapped, sequences, depth: layers, layers };
                    let step = ours.turn(&mut batch, steps)?.decode / f64::from(steps);
                    ratios.push(ours.draft(&mut batch, depth, drafts)? / step);
                }
                let round_to_step = Quartiles::of(ratios);
                report.drafts.push(DraftCost { depth, batch: sequences, drafts, round_to_step });
            }
        }
    }
    Ok(report)
}

fn tapped<'m>(model: &'m Model, shape: ContextShape, batch: &mut Batch) -> Result<TappedContext<'m>, ConformanceError> {
    let mut context = TappedContext::new(model, shape).map_err(|_| ConformanceError::Run(ffi::last_error()))?;
    check::run(&mut context, batch, model, shape.sequences)?;
    Ok(context)
}

/// Share of the weights that a step at this depth reads.
fn ideal(header: &Header, depth: u32) -> f64 {
    let layer_of = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse::<u32>().ok();
    let tied = !header.tensors().any(|name| name == "output.weight");
    let head = header.bytes(|name| name == if tied { "token_embd.weight" } else { "output.weight" });
    let below = header.bytes(|name| layer_of(name).is_some_and(|layer| layer < depth));
    let all = header.bytes(|name| layer_of(name).is_some());
    (below + head) as f64 / (all + head) as f64
}

/// CPU seconds of one turn.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    prefill: f64,
    decode: f64,
}

/// Whoever decodes: the same batches for all.
trait Contender {
    fn sequences(&self) -> u32;
    fn forget(&mut self);
    /// Runs the batch and looks at the logits of every row, as someone who chooses tokens does.
    fn run(&mut self, batch: &mut Batch) -> Result<(), ConformanceError>;

    fn turn(&mut self, batch: &mut Batch, steps: u32) -> Result<Turn, ConformanceError> {
        self.forget();
        let started = cpu_seconds();
        fill(batch, self.sequences(), 0..PROMPT);
        self.run(batch)?;
        let prefilled = cpu_seconds();
        for position in PROMPT..PROMPT + steps {
            fill(batch, self.sequences(), position..position + 1);
            self.run(batch)?;
        }
        let ended = cpu_seconds();
        Ok(Turn { prefill: prefilled - started, decode: ended - prefilled })
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

struct Bare<'a, 'model> {
    context: &'a mut NativeContext<'model>,
    sequences: u32,
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

struct Ours<'a, 'model> {
    context: &'a mut TappedContext<'model>,
    sequences: u32,
    depth: u32,
    layers: u32,
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
    fn energy(
        &mut self,
        batch: &mut Batch,
        steps: u32,
        rapl: &mut Rapl,
    ) -> Result<Result<f64, RaplError>, ConformanceError> {
        let (mut joules, mut tokens, mut spent) = (0.0, 0_u64, Duration::ZERO);
        while spent < ENERGY_TIME {
            self.forget();
            fill(batch, self.sequences, 0..PROMPT);
            self.run(batch)?;
            let (before, started) = (rapl.joules(), Instant::now());
            for position in PROMPT..PROMPT + steps {
                fill(batch, self.sequences, position..position + 1);
                self.run(batch)?;
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
    fn draft(&mut self, batch: &mut Batch, depth: u32, drafts: u32) -> Result<f64, ConformanceError> {
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
