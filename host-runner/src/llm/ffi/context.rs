//! A llama.cpp context that can stop behind any layer.

use super::head::Head;
use super::hook::{GraphError, Hook, Plan, Then, on_node};
use crate::llm::batch::Batch;
use crate::llm::model::{Model, backend};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::{DecodeError, LlamaContextLoadError};
use llama_cpp_sys_2 as sys;
use std::num::NonZeroU32;
use std::ptr::NonNull;

/// Sizes of a context.
#[derive(Debug, Clone, Copy)]
pub(in crate::llm) struct ContextShape {
    /// Sequences that can be alive together, each with its own part of the KV cache.
    pub(in crate::llm) sequences: u32,
    /// KV cells of each sequence.
    pub(in crate::llm) sequence_tokens: u32,
    /// Tokens of the largest batch.
    pub(in crate::llm) batch_tokens: u32,
    /// CPU threads.
    pub(in crate::llm) threads: i32,
}

/// A decode failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::llm) enum RunError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A context with a hook in its graph and the model's head beside it.
pub(in crate::llm) struct TappedContext<'model> {
    // Dropped in this order: the context points to the hook.
    context: LlamaContext<'model>,
    hook: OwnedHook,
    n_vocab: usize,
    n_layer: u32,
    threads: i32,
}

impl<'model> TappedContext<'model> {
    /// Makes a context. Before the first tap, [`TappedContext::survey`] has to find the head.
    pub(in crate::llm) fn new(model: &'model Model, shape: ContextShape) -> Result<Self, LlamaContextLoadError> {
        let hook = OwnedHook::new(Hook::new(i64::from(model.n_embd())));
        let mut params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(shape.sequences.saturating_mul(shape.sequence_tokens)))
            .with_n_seq_max(shape.sequences)
            .with_n_batch(shape.batch_tokens)
            // One graph per batch: rows of a graph and tokens of a batch are the same then.
            .with_n_ubatch(shape.batch_tokens)
            .with_n_threads(shape.threads)
            .with_n_threads_batch(shape.threads)
            // A stream per sequence: attention costs what its own sequence is long, not what the whole batch is.
            .with_kv_unified(false)
            .with_no_perf(true);
        install(&mut params, &hook);
        let context = model.llama().new_context(backend(), params)?;
        Ok(Self { context, hook, n_vocab: model.n_vocab() as usize, n_layer: model.n_layer(), threads: shape.threads })
    }

    /// Runs the whole model on `batch`, checks the graph's layers and attaches the head. Returns the head's epsilon.
    pub(in crate::llm) fn survey(&mut self, batch: &mut Batch) -> Result<f32, RunError> {
        self.run(batch, Plan::Survey)?;
        let hook = self.hook.get_mut();
        let weights = hook.weights.ok_or(GraphError::NoHead)?;
        // SAFETY: the weights are the model's, which outlives this context (`'model`) and so the head in its hook.
        hook.head = Some(unsafe { Head::new(weights, self.threads) }?);
        Ok(weights.epsilon)
    }

    /// Runs the whole model. The logits are in [`TappedContext::native_logits`].
    pub(in crate::llm) fn decode(&mut self, batch: &mut Batch) -> Result<(), RunError> {
        self.run(batch, Plan::Native)
    }

    /// Runs the model up to and with `layer` (index from 0) and the head on that. Logits: [`TappedContext::tapped_logits`].
    pub(in crate::llm) fn decode_to(&mut self, batch: &mut Batch, layer: u32, then: Then) -> Result<(), RunError> {
        self.run(batch, Plan::Tap { layer, then })
    }

    /// llama.cpp's own logits of token `index` of the last batch, `[n_vocab]`. Only after a run to the end, and only
    /// for a token that wanted logits.
    pub(in crate::llm) fn native_logits(&self, index: i32) -> &[f32] {
        self.context.get_logits_ith(index)
    }

    /// The head's logits of the last tap, for the `nth` token that wanted logits: `[n_vocab]`.
    pub(in crate::llm) fn tapped_logits(&self, nth: usize) -> &[f32] {
        &self.hook.get().logits[nth * self.n_vocab..][..self.n_vocab]
    }

    /// Forgets all sequences.
    pub(in crate::llm) fn clear(&mut self) {
        // Negative numbers mean "all"; removing everything cannot fail.
        let _ = self.context.clear_kv_cache_seq(None, None, None);
    }

    /// Forgets one sequence.
    pub(in crate::llm) fn remove(&mut self, sequence: u32) {
        // Whole sequences can always be removed.
        let _ = self.context.clear_kv_cache_seq(Some(sequence), None, None);
    }

    /// Gives the cache of sequence `from` to sequence `to`, whose own is forgotten.
    pub(in crate::llm) fn rename(&mut self, from: u32, to: u32) {
        self.remove(to);
        // Sequence numbers are small and the range is "all".
        let _ = self.context.copy_kv_cache_seq(from.cast_signed(), to.cast_signed(), None, None);
        self.remove(from);
    }

    /// The one place that starts llama.cpp's graph, and so the callback.
    fn run(&mut self, batch: &mut Batch, plan: Plan) -> Result<(), RunError> {
        self.hook.get_mut().arm(plan, batch.len(), batch.rows());
        self.context.decode(batch.llama())?;
        self.context.synchronize();
        Ok(self.hook.get_mut().verdict(self.n_layer)?)
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
        // `TappedContext::run` alone, which borrows the owner of `self` mutably.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut Hook {
        // SAFETY: as in `get`; `run` ends this borrow before it starts llama.cpp.
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
