//! How large a context is, and what its cache is made of.

use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_sys_2 as sys;
use std::num::NonZeroU32;

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
    /// Numbers of the KV cache.
    pub(in crate::llm) precision: Precision,
}

/// A number of CPU threads that llama.cpp takes, 1 to 512.
pub(in crate::llm) fn threads(asked: u32) -> Option<i32> {
    (1..=512).contains(&asked).then(|| asked.cast_signed())
}

/// What the KV cache is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 16-bit keys and values, with flash attention where the device has it.
    #[default]
    Half,
    /// 32-bit keys and values without flash attention: twice the memory, and the same answer whether tokens run one by
    /// one or together, as far as the weights allow.
    Single,
}

impl Precision {
    /// Bytes of a number.
    pub(in crate::llm) fn bytes(self) -> u64 {
        match self {
            Self::Half => 2,
            Self::Single => 4,
        }
    }
}

impl ContextShape {
    /// llama.cpp's parameters for this shape, without a callback.
    pub(in crate::llm) fn params(&self) -> LlamaContextParams {
        // llama.cpp takes no larger batch than it has cells.
        let cells = self.sequences.saturating_mul(self.sequence_tokens).max(self.batch_tokens);
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(cells))
            .with_n_seq_max(self.sequences)
            .with_n_batch(self.batch_tokens)
            // One graph per batch: rows of a graph and tokens of a batch are the same then.
            .with_n_ubatch(self.batch_tokens)
            .with_n_threads(self.threads)
            .with_n_threads_batch(self.threads)
            // A stream per sequence: attention costs what its own sequence is long, not what the whole batch is.
            .with_kv_unified(false)
            .with_no_perf(true);
        match self.precision {
            Precision::Half => params,
            Precision::Single => params
                .with_type_k(KvCacheType::F32)
                .with_type_v(KvCacheType::F32)
                .with_flash_attention_policy(sys::LLAMA_FLASH_ATTN_TYPE_DISABLED),
        }
    }
}
