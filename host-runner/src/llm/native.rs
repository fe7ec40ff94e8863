//! llama.cpp as it comes: a context without a callback, through the safe interface alone. What our own is measured by.

use super::batch::Batch;
use super::ffi::{self, ContextShape, RunError};
use super::model::{Model, backend};
use llama_cpp_2::context::LlamaContext;

/// A context of the same shape as the engine's, without its hook.
pub(super) struct NativeContext<'model>(LlamaContext<'model>);

impl<'model> NativeContext<'model> {
    /// Makes a context; the error is llama.cpp's reason.
    pub(super) fn new(model: &'model Model, shape: &ContextShape) -> Result<Self, String> {
        model.llama().new_context(backend(), shape.params()).map(Self).map_err(|_| ffi::last_error())
    }

    /// Runs the whole model.
    pub(super) fn decode(&mut self, batch: &mut Batch) -> Result<(), RunError> {
        self.0.decode(batch.llama())?;
        self.0.synchronize();
        Ok(())
    }

    /// Logits `[n_vocab]` of token `index` of the last batch, which wanted them.
    pub(super) fn logits(&self, index: i32) -> &[f32] {
        self.0.get_logits_ith(index)
    }

    /// Forgets all sequences.
    pub(super) fn clear(&mut self) {
        // Negative numbers mean "all"; removing everything cannot fail.
        let _ = self.0.clear_kv_cache_seq(None, None, None);
    }
}
