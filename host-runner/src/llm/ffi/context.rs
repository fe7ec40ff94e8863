//! A llama.cpp context that can stop behind any layer.

use super::fault::GraphError;
use super::head::Head;
use super::hook::{Hook, Orders, on_node};
use super::log::last_error;
use super::resume::Hidden;
use super::shape::ContextShape;
use crate::llm::batch::{Batch, Entry};
use crate::llm::cache::{CacheError, ExactLayers, Reads};
use crate::llm::model::{Model, backend};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::{DecodeError, LlamaContextLoadError};
use llama_cpp_sys_2 as sys;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::time::Duration;

/// A decode failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::llm) enum RunError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl RunError {
    /// What failed, with llama.cpp's last words if it was llama.cpp.
    pub(in crate::llm) fn reason(&self) -> String {
        match self {
            Self::Graph(fault) => fault.to_string(),
            Self::Decode(code) => format!("{code} ({})", last_error()),
            Self::Cache(fault) => format!("{fault}; please report this as a bug"),
        }
    }
}

/// A context with a hook in its graph and the model's head beside it.
pub(in crate::llm) struct TappedContext<'model> {
    // Dropped in this order: the context points to the hook.
    context: LlamaContext<'model>,
    hook: OwnedHook,
    exact: ExactLayers,
    n_vocab: usize,
    n_layer: u32,
    sequences: u32,
    threads: i32,
}

impl<'model> TappedContext<'model> {
    /// Makes a context. Before the first tap, [`TappedContext::survey`] has to find the head.
    pub(in crate::llm) fn new(model: &'model Model, shape: ContextShape) -> Result<Self, LlamaContextLoadError> {
        let hook = OwnedHook::new(Hook::new(i64::from(model.n_embd())));
        let mut params = shape.params();
        install(&mut params, &hook);
        let context = model.llama().new_context(backend(), params)?;
        let exact = ExactLayers::new(shape.sequences);
        let n_vocab = model.n_vocab() as usize;
        Ok(Self {
            context,
            hook,
            exact,
            n_vocab,
            n_layer: model.n_layer(),
            sequences: shape.sequences,
            threads: shape.threads,
        })
    }

    /// Runs the whole model on `batch`, checks the graph's layers and attaches the head. Returns the head's epsilon.
    pub(in crate::llm) fn survey(&mut self, batch: &mut Batch) -> Result<f32, RunError> {
        self.run(batch, &Orders { survey: true, ..Orders::default() })?;
        let hook = self.hook.get_mut();
        let weights = hook.weights.ok_or(GraphError::NoHead)?;
        // SAFETY: the weights are the model's, which outlives this context (`'model`) and so the head in its hook.
        hook.head = Some(unsafe { Head::new(weights, self.threads) }?);
        Ok(weights.epsilon)
    }

    /// Runs the whole model. The logits are in [`TappedContext::native_logits`].
    pub(in crate::llm) fn decode(&mut self, batch: &mut Batch) -> Result<(), RunError> {
        self.run(batch, &Orders::default())
    }

    /// Runs the first `depth` layers and the head on them; all layers without the head if `depth` is all.
    /// Logits: [`TappedContext::tapped_logits`].
    pub(in crate::llm) fn decode_to(&mut self, batch: &mut Batch, depth: u32) -> Result<(), RunError> {
        let exits = vec![Some(depth - 1); batch.rows().len()];
        self.run(batch, &Orders { exits: &exits, end: Some(depth - 1), ..Orders::default() })
    }

    /// Like [`TappedContext::decode_to`], and returns what [`TappedContext::resume`] needs to go on with these tokens.
    pub(in crate::llm) fn decode_and_keep(
        &mut self,
        batch: &mut Batch,
        depth: u32,
        reads: Reads,
    ) -> Result<&Hidden, RunError> {
        let exits = vec![Some(depth - 1); batch.rows().len()];
        let orders = Orders { exits: &exits, end: Some(depth - 1), keep: true, ..Orders::default() };
        self.run_reading(batch, &orders, reads)?;
        Ok(&self.hook.get().kept)
    }

    /// Runs `batch`, of which every token wants logits, up to the greatest of `depths`; each token takes its logits from
    /// the head behind its own depth, or from llama.cpp's at full depth.
    pub(in crate::llm) fn decode_each(&mut self, batch: &mut Batch, depths: &[u32]) -> Result<(), RunError> {
        let (full, deepest) = (self.n_layer, depths.iter().copied().max().unwrap_or(self.n_layer));
        let exits: Vec<_> = depths.iter().map(|&depth| (depth < full).then(|| depth - 1)).collect();
        let end = (deepest < full).then(|| deepest - 1);
        self.run_each(batch, &Orders { exits: &exits, end, ..Orders::default() }, depths, Reads::Exact)
    }

    /// Runs the whole model and our head on the last layer too, for a comparison.
    pub(in crate::llm) fn decode_both(&mut self, batch: &mut Batch) -> Result<(), RunError> {
        let exits = vec![Some(self.n_layer - 1); batch.rows().len()];
        self.run(batch, &Orders { exits: &exits, ..Orders::default() })
    }

    /// Runs the layers behind `from` on tokens whose lower layers have run, up to `depth`. The caller has truncated
    /// their sequences to where these tokens begin. Logits: native at full depth, else tapped.
    pub(in crate::llm) fn resume(
        &mut self,
        batch: &mut Batch,
        from: &Hidden,
        depth: u32,
        reads: Reads,
    ) -> Result<(), RunError> {
        let partial = depth < self.n_layer;
        let exits = vec![Some(depth - 1); if partial { batch.rows().len() } else { 0 }];
        let end = partial.then(|| depth - 1);
        let orders = Orders { exits: &exits, end, keep: partial, from: Some(from), ..Orders::default() };
        self.run_reading(batch, &orders, reads)
    }

    /// Gives tokens whose lower layers have run keys and values in the layers behind, up to `depth`, made from their
    /// hidden states as those left: an approximation. The caller has truncated their sequences to where these tokens
    /// begin. There are no logits.
    pub(in crate::llm) fn propagate(&mut self, batch: &mut Batch, from: &Hidden, depth: u32) -> Result<(), RunError> {
        let orders = Orders { from: Some(from), spread_to: Some(depth), ..Orders::default() };
        // Nothing is read: keys and values are made from each token alone.
        self.run_reading(batch, &orders, Reads::Approximate)
    }

    /// What the last [`TappedContext::resume`] to less than full depth kept, for another one from there.
    pub(in crate::llm) fn kept(&self) -> &Hidden {
        &self.hook.get().kept
    }

    /// llama.cpp's own logits of token `index` of the last batch, `[n_vocab]`. Only after a run to the end, and only
    /// for a token that wanted logits.
    pub(in crate::llm) fn native_logits(&self, index: i32) -> &[f32] {
        self.context.get_logits_ith(index)
    }

    /// The head's logits of the last run, for the `nth` token that wanted logits: `[n_vocab]`.
    pub(in crate::llm) fn tapped_logits(&self, nth: usize) -> &[f32] {
        &self.hook.get().logits[nth * self.n_vocab..][..self.n_vocab]
    }

    /// Positions of a sequence.
    pub(in crate::llm) fn positions(&self, sequence: u32) -> u32 {
        self.exact.len(sequence)
    }

    /// Time spent in our own head since the last call.
    pub(in crate::llm) fn take_head_time(&mut self) -> Duration {
        std::mem::take(&mut self.hook.get_mut().head_time)
    }

    /// Resumes that had to run the lower layers again, since the context was made.
    pub(in crate::llm) fn moved(&self) -> u64 {
        self.hook.get().resume.moved
    }

    /// How far apart in the cache the same place of two neighbouring sequences is.
    pub(in crate::llm) fn stride(&self) -> i64 {
        i64::from(self.context.n_ctx()) / i64::from(self.sequences)
    }

    /// Forgets all sequences.
    pub(in crate::llm) fn clear(&mut self) {
        // Negative numbers mean "all"; removing everything cannot fail.
        let _ = self.context.clear_kv_cache_seq(None, None, None);
        self.exact.clear();
    }

    /// Forgets one sequence from `position` on.
    pub(in crate::llm) fn truncate(&mut self, sequence: u32, position: u32) {
        // The end of a sequence can always be removed.
        let _ = self.context.clear_kv_cache_seq(Some(sequence), Some(position), None);
        self.exact.truncate(sequence, position);
    }

    /// Forgets one sequence.
    pub(in crate::llm) fn remove(&mut self, sequence: u32) {
        self.truncate(sequence, 0);
    }

    /// Gives the cache of sequence `from` to sequence `to`, whose own is forgotten.
    pub(in crate::llm) fn rename(&mut self, from: u32, to: u32) {
        self.remove(to);
        // Sequence numbers are small and the range is "all".
        let _ = self.context.copy_kv_cache_seq(from.cast_signed(), to.cast_signed(), None, None);
        self.exact.rename(from, to);
        self.remove(from);
    }

    /// All sequences of the batch as deep as the graph runs.
    fn run(&mut self, batch: &mut Batch, orders: &Orders) -> Result<(), RunError> {
        self.run_reading(batch, orders, Reads::Exact)
    }

    fn run_reading(&mut self, batch: &mut Batch, orders: &Orders, reads: Reads) -> Result<(), RunError> {
        let depth = orders.spread_to.or(orders.end.map(|end| end + 1)).unwrap_or(self.n_layer);
        let depths = vec![depth; batch.len()];
        self.run_each(batch, orders, &depths, reads)
    }

    /// The one place that starts llama.cpp's graph, and so the callback; and the one that asks the ledger of the cache
    /// before. `depths` says for each token down to which layer it reads.
    fn run_each(&mut self, batch: &mut Batch, orders: &Orders, depths: &[u32], reads: Reads) -> Result<(), RunError> {
        let end = orders.end.map_or(self.n_layer, |end| end + 1);
        let (ran, written) = match (orders.spread_to, orders.from) {
            (Some(depth), Some(from)) => (from.layers, depth),
            _ => (end, end),
        };
        for (done, (entry, &depth)) in batch.entries().iter().zip(depths).enumerate() {
            if let Err(error) = self.exact.check(entry.sequence, entry.position, depth, reads) {
                self.take_back(&batch.entries()[..done]);
                return Err(error.into());
            }
            self.exact.push(entry.sequence, ran, written);
        }
        self.hook.get_mut().arm(orders, batch.len(), batch.rows());
        let decoded = self.context.decode(batch.llama());
        self.context.synchronize();
        let hook = self.hook.get_mut();
        // SAFETY: no decode has come since, so the graph of this one still exists.
        unsafe { hook.resume.restore() };
        let verdict = decoded.map_err(RunError::from).and_then(|()| Ok(hook.verdict(self.n_layer)?));
        if verdict.is_err() {
            // What llama.cpp may have taken in is not what was asked for.
            self.take_back(batch.entries());
        }
        verdict
    }

    /// Forgets the positions of these tokens.
    fn take_back(&mut self, entries: &[Entry]) {
        for entry in entries.iter().rev() {
            self.truncate(entry.sequence, entry.position);
        }
    }
}

/// A hook at a fixed address. A raw pointer instead of a box: llama.cpp holds a second one.
struct OwnedHook(NonNull<Hook>);

impl OwnedHook {
    fn new(hook: Hook) -> Self {
        Self(NonNull::from(Box::leak(Box::new(hook))))
    }

    fn get(&self) -> &Hook {
        // SAFETY: the pointer comes from a box that only `drop` takes back. llama.cpp uses its copy inside
        // `TappedContext::run_each` alone, which borrows the owner of `self` mutably.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut Hook {
        // SAFETY: as in `get`; `run_each` ends this borrow before it starts llama.cpp.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for OwnedHook {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`, freed once, here. The context, which holds the other copy, is gone already.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

// `LlamaContextParams` has no setter for the callback, but it is a struct with one field: the C struct.
const _: () = assert!(size_of::<LlamaContextParams>() == size_of::<sys::llama_context_params>());
const _: () = assert!(align_of::<LlamaContextParams>() == align_of::<sys::llama_context_params>());

/// Sets the callback of `params` to [`on_node`] on `hook`.
fn install(params: &mut LlamaContextParams, hook: &OwnedHook) {
    let (cells, batch) = (params.n_ctx().map_or(0, NonZeroU32::get), params.n_batch());
    // SAFETY: size and alignment are asserted above, the version is pinned exactly, and two fields set through the
    // safe interface are read back first.
    let raw = unsafe { &mut *std::ptr::from_mut(params).cast::<sys::llama_context_params>() };
    assert_eq!((raw.n_ctx, raw.n_batch), (cells, batch), "llama-cpp-2 changed the layout of LlamaContextParams");
    raw.cb_eval = Some(on_node);
    raw.cb_eval_user_data = hook.0.as_ptr().cast();
}

#[cfg(test)]
mod tests;
