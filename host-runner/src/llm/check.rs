//! The self-check of an engine: does this llama.cpp do what early exit builds on?
//!
//! Two runs of a few tokens. The first surveys the graph: every layer by name, order and shape, the head's weights and
//! constant. The second lets our own head and llama.cpp's compute the same logits, with several sequences of several
//! tokens, so that a changed head, a changed layer output and a changed order of rows all show.

use super::batch::Batch;
use super::ffi::{GraphError, RunError, TappedContext};
use super::model::Model;
use super::request::TokenId;

/// Early exit would give wrong results, so it is not offered.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The graph is not the known one.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The epsilon in the graph is not the file's.
    #[error("the graph normalizes with epsilon {graph:e} but the model file says {file:e}; report this as a bug")]
    Epsilon {
        /// In llama.cpp's graph.
        graph: f32,
        /// In the model file.
        file: f64,
    },
    /// Our head and llama.cpp's disagree.
    #[error(
        "our head and llama.cpp's differ by {difference} on token {token} of the check (allowed: {allowed}); report this as a bug"
    )]
    HeadDiffers {
        /// Index of the token in the check's batch.
        token: usize,
        /// Greatest difference of two logits.
        difference: f32,
        /// What rounding can explain.
        allowed: f32,
    },
    /// llama.cpp failed.
    #[error("llama.cpp could not run it: {0}")]
    Run(String),
}

impl From<RunError> for CheckError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Graph(fault) => Self::Graph(fault),
            other => Self::Run(other.reason()),
        }
    }
}

const SEQUENCES: u32 = 4;
const TOKENS_EACH: u32 = 2;
/// What an engine's batch must hold at least.
pub(super) const BATCH_TOKENS: u32 = SEQUENCES * TOKENS_EACH;
/// Relative to the largest logit. On the CPU the two are bit-equal; a GPU may choose another kernel.
const TOLERANCE: f32 = 1e-3;

/// Runs the check on a fresh context and leaves the context empty, with its head attached.
pub(super) fn run(
    context: &mut TappedContext,
    batch: &mut Batch,
    model: &Model,
    max_batch: u32,
) -> Result<(), CheckError> {
    batch.clear();
    batch.push(0, 0, 0, true);
    let graph = context.survey(batch)?;
    context.clear();
    #[expect(clippy::cast_possible_truncation, reason = "the file holds an f32, widened by the reader")]
    let file = model.norm_epsilon() as f32;
    if graph.to_bits() != file.to_bits() {
        return Err(CheckError::Epsilon { graph, file: model.norm_epsilon() });
    }

    batch.clear();
    for sequence in 0..max_batch.min(SEQUENCES) {
        for position in 0..TOKENS_EACH {
            let token = (1 + sequence * TOKENS_EACH + position) % model.n_vocab();
            batch.push(TokenId::try_from(token).unwrap_or(0), position, sequence, true);
        }
    }
    context.decode_both(batch)?;
    for (token, &row) in batch.rows().iter().enumerate() {
        let (native, ours) = (context.native_logits(row), context.tapped_logits(token));
        let largest = native.iter().fold(1.0_f32, |max, z| max.max(z.abs()));
        // A NaN of llama.cpp's own means damaged weights, which the first real batch reports.
        let sound = native.iter().zip(ours).filter(|(native, _)| native.is_finite());
        let apart = |(a, b): (&f32, &f32)| if b.is_finite() { (a - b).abs() } else { f32::INFINITY };
        let difference = sound.map(apart).fold(0.0, f32::max);
        let allowed = TOLERANCE * largest;
        if difference > allowed {
            return Err(CheckError::HeadDiffers { token, difference, allowed });
        }
    }
    context.clear();
    Ok(())
}
