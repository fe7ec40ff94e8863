//! What can be wrong with an engine's options, a request, or a run.

use super::check::CheckError;
use super::engine::MAX_BATCH;
use super::ffi::RunError;
use super::model::NoExits;
use super::request::TokenId;

/// Why an engine could not be made, or a batch not be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `max_batch` out of range.
    #[error("a batch limit of {asked} is not possible; choose 1 to {MAX_BATCH}")]
    BatchLimit {
        /// What the options say.
        asked: u32,
    },
    /// `sequence_tokens` out of range.
    #[error("{asked} tokens per sequence are not possible; the model was trained for {limit}, choose 1 to {limit}")]
    SequenceLimit {
        /// What the options say.
        asked: u32,
        /// What the model was trained for.
        limit: u32,
    },
    /// `prefill_tokens` out of range.
    #[error("{asked} tokens per prefill step are not possible; choose at least the batch limit, {least}")]
    PrefillLimit {
        /// What the options say.
        asked: u32,
        /// The batch limit.
        least: u32,
    },
    /// `threads` out of range.
    #[error("{asked} threads are not possible; choose 1 to 512")]
    Threads {
        /// What the options say.
        asked: u32,
    },
    /// The cache would not fit into memory.
    #[error(
        "keys and values of so many tokens need {} MB of memory and {} MB are free; take smaller batches or a smaller \
         --context (`max_batch`, `sequence_tokens` in Rust)",
        needed >> 20,
        free >> 20
    )]
    Memory {
        /// Bytes, at least.
        needed: u64,
        /// Bytes that the system could give.
        free: u64,
    },
    /// llama.cpp could not make a context, mostly for lack of memory.
    #[error(
        "llama.cpp could not make a context: {reason}; with little memory, take smaller batches or a smaller --context (`max_batch`, `sequence_tokens` in Rust)"
    )]
    Context {
        /// The last error in llama.cpp's log.
        reason: String,
    },
    /// This llama.cpp does not do what early exit builds on.
    #[error("the self-check failed: {0}")]
    SelfCheck(#[from] CheckError),
    /// No request.
    #[error("the batch is empty; give at least one request")]
    EmptyBatch,
    /// Too many requests.
    #[error("{requests} requests do not fit into a batch of {limit}; split them or raise max_batch")]
    BatchTooLarge {
        /// Requests given.
        requests: usize,
        /// `max_batch`.
        limit: u32,
    },
    /// No such depth.
    #[error("depth {asked} is not possible; the model has {layers} layers, choose 1 to {layers}")]
    Depth {
        /// Layers asked for.
        asked: u32,
        /// Layers of the model.
        layers: u32,
    },
    /// Less than all layers of a model whose graph is not known.
    #[error(transparent)]
    NoExits(#[from] NoExits),
    /// A prompt without a token.
    #[error("request {request} has an empty prompt; give it at least one token")]
    EmptyPrompt {
        /// Index of the request.
        request: usize,
    },
    /// `max_new_tokens` is 0.
    #[error("request {request} asks for no token; set max_new_tokens to at least 1")]
    NothingToGenerate {
        /// Index of the request.
        request: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("request {request} contains token {token}; the vocabulary has tokens 0 to {}", n_vocab - 1)]
    UnknownToken {
        /// Index of the request.
        request: usize,
        /// The token.
        token: i32,
        /// Size of the vocabulary.
        n_vocab: u32,
    },
    /// Prompt and answer do not fit.
    #[error(
        "request {request} needs {prompt_tokens} prompt and {max_new_tokens} answer tokens but a sequence holds {limit}; \
         shorten one or give it more room (--context; `sequence_tokens` in Rust)"
    )]
    TooLong {
        /// Index of the request.
        request: usize,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens asked for.
        max_new_tokens: u32,
        /// `sequence_tokens`.
        limit: u32,
    },
    /// Sampling parameters out of range.
    #[error("request {request} samples with {parameter} {value}; choose {range}")]
    Sampling {
        /// Index of the request.
        request: usize,
        /// Which one.
        parameter: &'static str,
        /// What the request says.
        value: f32,
        /// What is possible.
        range: &'static str,
    },
    /// A stop text that stops everything.
    #[error("request {request} has an empty stop text; leave it out or write what shall end the answer")]
    EmptyStop {
        /// Index of the request.
        request: usize,
    },
    /// Drafts or probes at a depth that cannot be less than all.
    #[error("{what} at depth {asked} is not possible; {}", depths_below(*limit))]
    PartialDepth {
        /// Drafting or probing.
        what: &'static str,
        /// Layers asked for.
        asked: u32,
        /// All but one; or all but one below the second probe.
        limit: u32,
    },
    /// A draft model with more or fewer tokens.
    #[error("the draft model has {theirs} tokens and this one {ours}; take a draft model with the same tokenizer")]
    VocabularySize {
        /// Of the draft model.
        theirs: u32,
        /// Of this one.
        ours: u32,
    },
    /// A draft model with other tokens.
    #[error(
        "token {token} is {theirs:?} to the draft model and {ours:?} to this one; take a draft model with the same tokenizer"
    )]
    OtherVocabulary {
        /// The first that differs.
        token: TokenId,
        /// To the draft model.
        theirs: String,
        /// To this one.
        ours: String,
    },
    /// The draft model's engine cannot follow.
    #[error(
        "the draft model's engine is smaller than this one, which has {sequences} sequences of {tokens} tokens; make it as large"
    )]
    DraftEngine {
        /// Sequences of this one.
        sequences: u32,
        /// Tokens of each.
        tokens: u32,
    },
    /// More tokens in one run than the engine was made for.
    #[error("{asked} {what} are not possible; choose 1 to {limit} (`prefill_tokens` in Rust allows more)")]
    RunLimit {
        /// Which tokens.
        what: &'static str,
        /// How many.
        asked: u32,
        /// How many are possible.
        limit: u32,
    },
    /// An entropy that no distribution has.
    #[error("a threshold of {asked} nats is not possible; choose a number from 0 up")]
    Threshold {
        /// What was asked for.
        asked: f32,
    },
    /// All places are taken.
    #[error("all {limit} places of the session are taken; step until an answer ends, or raise max_batch")]
    Busy {
        /// `max_batch`.
        limit: u32,
    },
    /// NaN or infinite logits.
    #[error("the model gave no valid probabilities for request {request} at depth {layers}; the weights are damaged")]
    NotFinite {
        /// Index of the request.
        request: usize,
        /// Layers that ran.
        layers: u32,
    },
    /// llama.cpp failed in the middle of a run.
    #[error("llama.cpp could not run the batch: {reason}")]
    Run {
        /// What failed.
        reason: String,
    },
}

impl From<RunError> for EngineError {
    fn from(error: RunError) -> Self {
        Self::Run { reason: error.reason() }
    }
}

/// What to choose where a layer has to be left above.
fn depths_below(limit: u32) -> String {
    if limit == 0 { "there is no layer below it, so use all layers".into() } else { format!("choose 1 to {limit}") }
}
