//! Early exit against its definition: an exit behind layer `k` is the model that has only its first `k` layers.
//!
//! For every depth a file with that many layers is cut from the model's own and run by llama.cpp alone, without a
//! callback. Both sides read the same tokens in the same batches, so on a CPU the logits are equal up to the last bits.
//! A control compares neighbours, depth `k` with the model of `k + 1` layers, and must find them different.

mod runs;

use super::batch::Batch;
use super::check::{self, CheckError};
use super::ffi::{self, ContextShape, Precision, RunError, TappedContext};
use super::gguf::truncate::{TruncateError, truncate};
use super::model::{Model, ModelError, ModelOptions, NoExits};
use super::native::NativeContext;
use runs::{Ours, Rows, batches, decode, mix, prefill, resumed, take_turns, turn_alone};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Largest difference of two logits that counts as equal.
pub const TOLERANCE: f32 = 1e-5;

const SEQUENCES: u32 = 8;
const SEQUENCE_TOKENS: u32 = 64;

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// One sequence, 48 tokens at once.
    Prefill,
    /// One sequence, token by token over the KV cache of the ones before.
    Decode,
    /// Eight sequences in every call.
    Batch,
    /// Eight sequences at up to eight depths on one context, taking turns.
    Interleaved,
    /// The same in one call.
    Mixed,
    /// Stopped behind this depth and gone on from there, against the whole model.
    Resumed,
    /// This depth against the model with one layer more: must differ.
    Control,
}

impl Test {
    /// Name for tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Batch => "batch of 8",
            Self::Interleaved => "interleaved",
            Self::Mixed => "mixed depths",
            Self::Resumed => "resumed",
            Self::Control => "control",
        }
    }
}

/// How two lists of logits compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// What was compared.
    pub test: Test,
    /// Layers.
    pub depth: u32,
    /// Rows of logits.
    pub rows: usize,
    /// Rows with the same most probable token.
    pub same_choice: usize,
    /// Rows that are equal bit for bit.
    pub same_bits: usize,
    /// Greatest difference of two logits; infinite if one is no number.
    pub difference: f32,
}

impl Comparison {
    /// Whether the two sides are the same model, or, for a control, are not.
    #[must_use]
    pub fn holds(&self) -> bool {
        let equal = self.same_choice == self.rows && self.difference <= TOLERANCE;
        self.rows > 0 && equal != (self.test == Test::Control)
    }
}

/// Why no comparison was possible.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model has no exits to prove.
    #[error(transparent)]
    NoExits(#[from] NoExits),
    /// A truncated copy cannot be made.
    #[error("{}: {source}", path.display())]
    Truncate {
        /// The model.
        path: PathBuf,
        /// The cause.
        source: TruncateError,
    },
    /// A folder for the copies cannot be made.
    #[error("there is no room for truncated copies of the model: {0}; set TMPDIR to a folder with room")]
    Folder(#[from] std::io::Error),
    /// No such depths.
    #[error("depths {low} to {high} are not possible; the model has {layers} layers, choose 1 to {layers}")]
    Depths {
        /// Lowest asked for.
        low: u32,
        /// Highest asked for.
        high: u32,
        /// Layers of the model.
        layers: u32,
    },
    /// Not a depth below full.
    #[error("depth {depth} cannot be measured against all {layers} layers of the model; choose less, from 1 up")]
    NotBelow {
        /// Asked for.
        depth: u32,
        /// Layers of the model.
        layers: u32,
    },
    /// The model is made for very short sequences.
    #[error("the model was trained for {0} tokens; the check needs {SEQUENCE_TOKENS}")]
    Context(u32),
    /// This llama.cpp does not do what early exit builds on.
    #[error("the self-check failed: {0}")]
    SelfCheck(#[from] CheckError),
    /// A number of threads that llama.cpp does not take.
    #[error("{0} threads are not possible; choose 1 to 512")]
    Threads(u32),
    /// llama.cpp failed.
    #[error("llama.cpp could not run the check: {0}")]
    Run(String),
    /// `stop` was set.
    #[error("stopped before the end; there is no result")]
    Stopped,
}

impl From<RunError> for ConformanceError {
    fn from(error: RunError) -> Self {
        Self::Run(error.reason())
    }
}

/// The depths that are checked unless told otherwise: the upper half of 16, or as many as there are.
#[must_use]
pub fn usual_depths(layers: u32) -> RangeInclusive<u32> {
    layers.saturating_sub(7).max(1)..=layers
}

/// Compares every depth of `depths` with truncated copies of the model at `path`. `stop`, once true, ends it between two depths.
pub fn compare(
    path: &Path,
    depths: Option<RangeInclusive<u32>>,
    threads: u32,
    stop: &AtomicBool,
) -> Result<Vec<Comparison>, ConformanceError> {
    let model = Model::load(path, &ModelOptions::default())?;
    model.require_exits()?;
    let layers = model.n_layer();
    let depths = depths.unwrap_or_else(|| usual_depths(layers));
    if *depths.start() == 0 || depths.is_empty() || *depths.end() > layers {
        return Err(ConformanceError::Depths { low: *depths.start(), high: *depths.end(), layers });
    }
    if model.context_train() < SEQUENCE_TOKENS {
        return Err(ConformanceError::Context(model.context_train()));
    }
    let shape = ContextShape {
        sequences: SEQUENCES,
        sequence_tokens: SEQUENCE_TOKENS,
        batch_tokens: SEQUENCE_TOKENS,
        threads: ffi::threads(threads).ok_or(ConformanceError::Threads(threads))?,
        precision: Precision::Half,
    };
    let mut batch = Batch::new(shape.batch_tokens);
    let mut context = TappedContext::new(&model, shape).map_err(|_| ConformanceError::Run(ffi::last_error()))?;
    check::run(&mut context, &mut batch, &model, SEQUENCES)?;
    let mut ours = Ours { context, depth: layers, layers };
    let mut results = Vec::new();
    let mut report = |comparison| results.push(comparison);

    // The sequences of the last two tests: sequence i at the i-th depth, over and over.
    let turns: Vec<u32> = (0..SEQUENCES).map(|i| *depths.start() + i % (1 + depths.end() - depths.start())).collect();
    let mut alone: Vec<Vec<Rows>> = vec![Vec::new(); turns.len()];
    let mut together = alone.clone();
    let mut before: Option<(u32, Rows)> = None;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("truncated.gguf");
    for depth in depths.clone() {
        if stop.load(Ordering::Relaxed) {
            return Err(ConformanceError::Stopped);
        }
        write_copy(path, depth, &copy)?;
        let shallow = Model::load(&copy, &ModelOptions::default())?;
        let mut native = NativeContext::new(&shallow, &shape).map_err(ConformanceError::Run)?;
        ours.depth = depth;
        let prefills = [prefill(&mut ours, &mut batch)?, prefill(&mut native, &mut batch)?];
        report(compare_rows(Test::Prefill, depth, &prefills[0], &prefills[1]));
        let decodes = [decode(&mut ours, &mut batch)?, decode(&mut native, &mut batch)?];
        report(compare_rows(Test::Decode, depth, &decodes[0], &decodes[1]));
        let batches = [batches(&mut ours, &mut batch)?, batches(&mut native, &mut batch)?];
        report(compare_rows(Test::Batch, depth, &batches[0], &batches[1]));
        let [exits, references] = prefills;
        if let Some((shallower, exits)) = before.take() {
            report(compare_rows(Test::Control, shallower, &exits, &references));
        }
        before = Some((depth, exits));
        for sequence in (0..SEQUENCES).filter(|&sequence| turns[sequence as usize] == depth) {
            alone[sequence as usize] = turn_alone(&mut native, &mut batch, sequence)?;
        }
        let all = batches[1].chunks(SEQUENCES as usize);
        for (sequence, rows) in together.iter_mut().enumerate().filter(|(i, _)| turns[*i] == depth) {
            *rows = all.clone().map(|step| vec![step[sequence].clone()]).collect();
        }
        if depth < layers {
            let whole = resumed(&mut ours, &mut batch)?;
            report(compare_rows(Test::Resumed, depth, &whole[0], &whole[1]));
        }
    }
    let interleaved = take_turns(&mut ours, &mut batch, &turns)?;
    let mixed = mix(&mut ours, &mut batch, &turns)?;
    for (test, found, expected) in [(Test::Interleaved, interleaved, alone), (Test::Mixed, mixed, together)] {
        for depth in depths.clone() {
            let of_depth = |rows: &[Vec<Rows>]| -> Rows {
                let own = rows.iter().zip(&turns).filter(|(_, turn)| **turn == depth);
                own.flat_map(|(steps, _)| steps.concat()).collect()
            };
            let (found, expected) = (of_depth(&found), of_depth(&expected));
            if !expected.is_empty() {
                report(compare_rows(test, depth, &found, &expected));
            }
        }
    }
    Ok(results)
}

pub(super) fn write_copy(path: &Path, depth: u32, to: &Path) -> Result<(), ConformanceError> {
    let mut file = BufWriter::new(File::create(to)?);
    truncate(path, depth, &mut file).map_err(|source| ConformanceError::Truncate { path: path.into(), source })?;
    Ok(file.flush()?)
}

fn compare_rows(test: Test, depth: u32, found: &Rows, expected: &Rows) -> Comparison {
    assert_eq!(found.len(), expected.len(), "both sides run the same batches");
    let mut result = Comparison { test, depth, rows: found.len(), same_choice: 0, same_bits: 0, difference: 0.0 };
    for (a, b) in found.iter().zip(expected) {
        result.same_choice += usize::from(best(a) == best(b));
        result.same_bits += usize::from(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()));
        let apart = |(a, b): (&f32, &f32)| if (a - b).is_finite() { (a - b).abs() } else { f32::INFINITY };
        result.difference = a.iter().zip(b).map(apart).fold(result.difference, f32::max);
    }
    result
}

fn best(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
}
