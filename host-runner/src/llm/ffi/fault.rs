//! What can be wrong with a running graph.

/// llama.cpp's graph is not the one that this crate knows, or the head could not run on it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// The layers are not named and ordered as expected.
    #[error("layer {expected} of the graph is missing or out of order; this llama.cpp or model type is not supported")]
    LayerOrder {
        /// Index of the layer that should have come.
        expected: u32,
    },
    /// A layer's output is not a plain f32 matrix.
    #[error("the output of layer {layer} is not one f32 row per token; this llama.cpp or model type is not supported")]
    LayerShape {
        /// Index of the layer, from 0.
        layer: u32,
    },
    /// The end of the graph is not norm, scale, output matrix.
    #[error(
        "the graph does not end in RMS norm, scale and output matrix; this llama.cpp or model type is not supported"
    )]
    NoHead,
    /// llama.cpp split the batch, so rows and tokens cannot be matched.
    #[error(
        "llama.cpp ran {rows} rows of a batch of {tokens} tokens in one graph; update the pinned version with care"
    )]
    Rows {
        /// Rows of the graph.
        rows: i64,
        /// Tokens of the batch.
        tokens: usize,
    },
    /// The layer to stop behind did not come by.
    #[error("the graph ended before layer {layer}; this llama.cpp or model type is not supported")]
    NotReached {
        /// Index of the layer, from 0.
        layer: u32,
    },
    /// Saved hidden states are not those of the batch that goes on with them.
    #[error("{saved} saved hidden states do not fit a batch of {tokens} tokens; please report this as a bug")]
    Saved {
        /// States saved.
        saved: usize,
        /// Tokens of the batch.
        tokens: usize,
    },
    /// Keys and values were not written where they should be.
    #[error(
        "the graph writes keys and values {found} times in {expected} layers, not twice in each; this llama.cpp or model type is not supported"
    )]
    Writes {
        /// Writes that came by.
        found: u32,
        /// Layers.
        expected: u32,
    },
    /// No backend computes on the memory of the output weights.
    #[error("no ggml backend can run the output head; load the model on the CPU")]
    NoDevice,
    /// The head's buffers could not be allocated.
    #[error("no memory for the output head; use a smaller batch")]
    NoMemory,
    /// ggml reported a failure.
    #[error("ggml could not compute the output head (status {0}); see the log of llama.cpp")]
    HeadFailed(i32),
    /// A bug in the callback.
    #[error("the graph callback panicked; please report this as a bug")]
    Panicked,
}
