//! What depth is worth, against llama.cpp itself.
//!
//! Four contenders take turns in one process: the whole model and a copy with `k` layers, each run by llama.cpp without
//! a callback, and our engine at full depth and at depth `k`. A turn is one decode step, and counts CPU time. Ratios are
//! formed between steps that follow each other, so that what other programs do to the machine falls on both sides. The
//! median of all steps counts, and the measurement goes on until it is sure on which side of its limit that lies.

mod alone;
mod contender;
mod estimate;

use super::batch::Batch;
use super::check;
use super::conformance::{ConformanceError, write_copy};
use super::ffi::{self, ContextShape, Precision, TappedContext};
use super::gguf::Header;
use super::model::{Model, ModelError, ModelOptions};
use super::native::NativeContext;
use crate::board::desktop::rapl::{Rapl, RaplError};
use crate::measure::percentile::Quartiles;
use crate::resources::resident_bytes;
pub use alone::{Who, run_alone};
use contender::{Bare, Contender, Ours, PROMPT};
pub use estimate::Estimate;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most that an exit may cost over llama.cpp with the truncated copy.
pub const EXIT_LIMIT: f64 = 1.10;
/// Most that full depth may cost over llama.cpp without a callback.
pub const FULL_LIMIT: f64 = 1.03;
/// Most memory over that of a bare llama.cpp context.
pub const MEMORY_LIMIT: f64 = 1.05;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Depths below full.
    pub depths: Vec<u32>,
    /// Sequences in a step.
    pub batches: Vec<u32>,
    /// Tokens drafted before a check.
    pub drafts: Vec<u32>,
    /// Rounds, each of which begins with the prompts.
    pub rounds: usize,
    /// Rounds after which a depth is left even if a verdict hangs on chance.
    pub most_rounds: usize,
    /// Decode steps of each contender in a round.
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
    pub to_truncated: Estimate,
    /// Our engine at this depth over llama.cpp with the whole model.
    pub to_whole: Quartiles,
    /// What `to_whole` would be if only bytes of weights counted: (k layers + head) / (all layers + head).
    pub ideal: f64,
    /// Joules of the processor per token decoded at this depth, whatever else the machine does included; none
    /// where they cannot be read.
    pub joules_per_token: Option<f64>,
    /// Our prefill of 32 tokens at this depth over llama.cpp's with the truncated copy.
    pub prefill_to_truncated: Quartiles,
}

/// Full depth at one batch size.
#[derive(Debug, Clone)]
pub struct FullCost {
    /// Sequences.
    pub batch: u32,
    /// Our engine at full depth over llama.cpp with the whole model, in the steps of all depths.
    pub to_native: Estimate,
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
    /// Full depth.
    pub full: Vec<FullCost>,
    /// Draft lengths.
    pub drafts: Vec<DraftCost>,
    /// Memory of this process with our engine over that with a bare llama.cpp context, same model, same sizes.
    pub memory_ratio: Option<f64>,
    /// Why there is no energy.
    pub no_energy: Option<RaplError>,
}

/// Measures the model at `path`. `note` hears what is being done; `stop`, once true, ends it behind the round under way.
pub fn bench(
    path: &Path,
    options: &BenchOptions,
    stop: &AtomicBool,
    mut note: impl FnMut(&str),
) -> Result<BenchReport, ConformanceError> {
    let model = Model::load(path, &ModelOptions::default())?;
    model.require_exits()?;
    let header = Header::open(path).map_err(|source| ModelError::File { path: path.into(), source })?;
    let layers = model.n_layer();
    for &depth in &options.depths {
        if !(1..layers).contains(&depth) {
            return Err(ConformanceError::NotBelow { depth, layers });
        }
    }
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("truncated.gguf");
    let mut report =
        BenchReport { depths: Vec::new(), full: Vec::new(), drafts: Vec::new(), memory_ratio: None, no_energy: None };
    let mut rapl = Rapl::open().map_err(|error| report.no_energy = Some(error)).ok();
    for &sequences in &options.batches {
        let most = options.drafts.iter().max().copied().unwrap_or(0) + 1;
        let shape = shape_of(sequences, most, options.threads)?;
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
        let mut full = Vec::new();
        let (mut whole, mut tapped) = (tapped(&model, shape, &mut batch)?, tapped(&model, shape, &mut batch)?);
        for &depth in &options.depths {
            note(&format!("batch {sequences}, depth {depth}"));
            write_copy(path, depth, &copy)?;
            let shallow = Model::load(&copy, &ModelOptions::default())?;
            let mut truncated = NativeContext::new(&shallow, &shape).map_err(ConformanceError::Run)?;
            let mut contenders: [&mut dyn Contender; 4] = [
                &mut Bare { context: &mut native, sequences },
                &mut Bare { context: &mut truncated, sequences },
                &mut Ours { context: &mut whole, sequences, depth: layers, layers },
                &mut Ours { context: &mut tapped, sequences, depth, layers },
            ];
            let costs = compete(&mut contenders, &mut batch, options, &mut full, stop)?;
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
            let each = |of: fn(&[f64; 4]) -> f64| costs.steps.iter().map(of).collect::<Vec<f64>>();
            let per_token =
                |who: usize| costs.steps.iter().map(|step| step[who] * 1e3 / f64::from(sequences)).collect();
            report.depths.push(DepthCost {
                depth,
                batch: sequences,
                ms_per_token: Quartiles::of(per_token(3)),
                native_ms_per_token: Quartiles::of(per_token(1)),
                to_truncated: Estimate::of(each(exit_to_truncated)),
                to_whole: Quartiles::of(each(|step| step[3] / step[0])),
                ideal: ideal(&header, depth),
                joules_per_token,
                prefill_to_truncated: Quartiles::of(costs.prefills.iter().map(exit_to_truncated).collect()),
            });
            for &drafts in &options.drafts {
                let mut ratios = Vec::new();
                for _ in 0..options.rounds.min(10) {
                    go_on(stop)?;
                    let mut ours = Ours { context: &mut tapped, sequences, depth: layers, layers };
                    let plain = ours.turn(&mut batch, steps)? / f64::from(steps);
                    ratios.push(ours.draft(&mut batch, depth, drafts)? / plain);
                }
                let round_to_step = Quartiles::of(ratios);
                report.drafts.push(DraftCost { depth, batch: sequences, drafts, round_to_step });
            }
        }
        report.full.push(FullCost { batch: sequences, to_native: Estimate::of(full) });
    }
    Ok(report)
}

/// CPU seconds of each contender: llama.cpp with the whole model and with the copy, our engine at full depth and at `k`.
struct Costs {
    /// One prefill a round.
    prefills: Vec<[f64; 4]>,
    /// The decode steps of all rounds.
    steps: Vec<[f64; 4]>,
}

fn exit_to_truncated(seconds: &[f64; 4]) -> f64 {
    seconds[3] / seconds[1]
}

/// Orders in which each contender comes once at each place and once behind each other one, because whoever ran before has
/// left its weights in the caches (E. J. Williams 1949).
const ORDERS: [[usize; 4]; 4] = [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]];

/// Lets the contenders take turns until the ratios with a limit are known well enough. `full` takes those of full depth,
/// and holds those of other depths.
fn compete(
    contenders: &mut [&mut dyn Contender; 4],
    batch: &mut Batch,
    options: &BenchOptions,
    full: &mut Vec<f64>,
    stop: &AtomicBool,
) -> Result<Costs, ConformanceError> {
    let mut costs = Costs { prefills: Vec::new(), steps: Vec::new() };
    let mut orders = ORDERS.into_iter().cycle();
    let mut round = 0;
    while round <= options.rounds || (round <= options.most_rounds && !settled(&costs, full)) {
        let mut prefill = [0.0; 4];
        for who in orders.next().into_iter().flatten() {
            prefill[who] = contenders[who].prefill(batch)?;
        }
        let mut steps = Vec::new();
        for number in 0..options.steps {
            go_on(stop)?;
            let mut turn = [0.0; 4];
            for who in orders.next().into_iter().flatten() {
                turn[who] = contenders[who].step(batch, number)?;
            }
            steps.push(turn);
        }
        // The first round warms up.
        if round > 0 {
            costs.prefills.push(prefill);
            full.extend(steps.iter().map(|step| step[2] / step[0]));
            costs.steps.extend(steps);
        }
        round += 1;
    }
    Ok(costs)
}

/// Whether no verdict hangs on chance.
fn settled(costs: &Costs, full: &[f64]) -> bool {
    Estimate::of(costs.steps.iter().map(exit_to_truncated).collect()).settles(EXIT_LIMIT)
        && Estimate::of(full.to_vec()).settles(FULL_LIMIT)
}

fn go_on(stop: &AtomicBool) -> Result<(), ConformanceError> {
    if stop.load(Ordering::Relaxed) { Err(ConformanceError::Stopped) } else { Ok(()) }
}

/// Room for prompts, steps, and `drafted` tokens of each sequence in one run.
fn shape_of(sequences: u32, drafted: u32, threads: u32) -> Result<ContextShape, ConformanceError> {
    Ok(ContextShape {
        sequences,
        sequence_tokens: 256,
        batch_tokens: (sequences * PROMPT.max(drafted)).max(check::BATCH_TOKENS),
        threads: ffi::threads(threads).ok_or(ConformanceError::Threads(threads))?,
        precision: Precision::Half,
    })
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
