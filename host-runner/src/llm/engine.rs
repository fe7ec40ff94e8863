//! A model ready to run batches.

use super::batch::Batch;
use super::check::{self, CheckError};
use super::ffi::{self, ContextShape, RunError, TappedContext, Then};
use super::model::Model;
use super::request::{Depth, TokenId};
use super::sequence::Sequence;

/// llama.cpp's `LLAMA_MAX_SEQ`.
const MAX_BATCH: u32 = 256;

/// Sizes of an engine. They fix its memory, so they should fit the need: attention buffers grow with the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Requests that run together, 1 to 256.
    pub max_batch: u32,
    /// Tokens of one request, prompt and answer together. llama.cpp rounds up to a multiple of 256.
    pub sequence_tokens: u32,
    /// Tokens that one step of the prefill reads, all sequences together. At least `max_batch`.
    pub prefill_tokens: u32,
    /// CPU threads. They spin while they wait for each other: more than there are free cores is far slower than one.
    pub threads: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { max_batch: 8, sequence_tokens: 512, prefill_tokens: 512, threads: 1 }
    }
}

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
    /// llama.cpp could not make a context, mostly for lack of memory.
    #[error("llama.cpp could not make a context: {reason}; with little memory, lower max_batch or sequence_tokens")]
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
         shorten one or raise sequence_tokens"
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
        let reason = match error {
            RunError::Graph(fault) => fault.to_string(),
            RunError::Decode(code) => format!("{code} ({})", ffi::last_error()),
        };
        Self::Run { reason }
    }
}

/// A token that was just chosen, with what it was chosen from.
#[derive(Debug, Clone, Copy)]
pub struct ChosenToken<'a> {
    /// Index of the request in the caller's list.
    pub request: usize,
    /// The token; it may be the one that ends the answer.
    pub token: TokenId,
    /// Entropy of the distribution, nats.
    pub entropy: f32,
    /// Logits `[n_vocab]`.
    pub logits: &'a [f32],
}

type Watcher<'model> = Box<dyn FnMut(ChosenToken) + 'model>;

/// A model with the memory to run batches.
pub struct Engine<'model> {
    pub(super) model: &'model Model,
    pub(super) options: EngineOptions,
    pub(super) batch: Batch,
    context: TappedContext<'model>,
    /// Layers of the last run.
    layers: u32,
    watcher: Option<Watcher<'model>>,
}

impl<'model> Engine<'model> {
    /// Allocates the memory and checks, by running the model on a few tokens, that early exits give what they should.
    pub fn new(model: &'model Model, options: &EngineOptions) -> Result<Self, EngineError> {
        let EngineOptions { max_batch, sequence_tokens, prefill_tokens, threads } = *options;
        if !(1..=MAX_BATCH).contains(&max_batch) {
            return Err(EngineError::BatchLimit { asked: max_batch });
        }
        let limit = model.context_train();
        if !(1..=limit).contains(&sequence_tokens) {
            return Err(EngineError::SequenceLimit { asked: sequence_tokens, limit });
        }
        if prefill_tokens < max_batch {
            return Err(EngineError::PrefillLimit { asked: prefill_tokens, least: max_batch });
        }
        let threads = i32::try_from(threads).ok().filter(|count| (1..=512).contains(count));
        let threads = threads.ok_or(EngineError::Threads { asked: options.threads })?;
        // No batch can be larger than all sequences together.
        let batch_tokens = prefill_tokens.min(max_batch.saturating_mul(sequence_tokens)).max(check::BATCH_TOKENS);
        let shape = ContextShape { sequences: max_batch, sequence_tokens, batch_tokens, threads };
        let mut context =
            TappedContext::new(model, shape).map_err(|_| EngineError::Context { reason: ffi::last_error() })?;
        let mut batch = Batch::new(batch_tokens);
        check::run(&mut context, &mut batch, model, max_batch)?;
        let options = EngineOptions { prefill_tokens: batch_tokens, ..*options };
        Ok(Self { model, options, batch, context, layers: model.n_layer(), watcher: None })
    }

    /// The model that runs.
    #[must_use]
    pub fn model(&self) -> &'model Model {
        self.model
    }

    /// Calls `watcher` for every token from now on, the first of an answer (in the prefill) included.
    pub fn watch(&mut self, watcher: impl FnMut(ChosenToken) + 'model) {
        self.watcher = Some(Box::new(watcher));
    }

    /// The number of layers that `depth` stands for.
    pub(super) fn layers_of(&self, depth: Depth) -> Result<u32, EngineError> {
        let layers = self.model.n_layer();
        match depth {
            Depth::Full => Ok(layers),
            Depth::Layers(asked) if (1..=layers).contains(&asked) => Ok(asked),
            Depth::Layers(asked) => Err(EngineError::Depth { asked, layers }),
        }
    }

    /// Runs the first `layers` layers on the batch.
    pub(super) fn forward(&mut self, layers: u32) -> Result<(), EngineError> {
        self.layers = layers;
        if layers == self.model.n_layer() {
            self.context.decode(&mut self.batch)?;
        } else {
            self.context.decode_to(&mut self.batch, layers - 1, Then::Stop)?;
        }
        Ok(())
    }

    /// Lets each of `sequences` choose its next token. They are those that wanted logits in the last run, in its order.
    pub(super) fn choose<'s>(&mut self, sequences: impl Iterator<Item = &'s mut Sequence>) -> Result<(), EngineError> {
        for (nth, sequence) in sequences.enumerate() {
            let logits = if self.layers == self.model.n_layer() {
                self.context.native_logits(self.batch.rows()[nth])
            } else {
                self.context.tapped_logits(nth)
            };
            let request = sequence.request;
            let (token, entropy) =
                sequence.choose(logits, self.model).ok_or(EngineError::NotFinite { request, layers: self.layers })?;
            if let Some(watcher) = &mut self.watcher {
                watcher(ChosenToken { request, token, entropy, logits });
            }
        }
        Ok(())
    }

    pub(super) fn context(&mut self) -> &mut TappedContext<'model> {
        &mut self.context
    }
}
