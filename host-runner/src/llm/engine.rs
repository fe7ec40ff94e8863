//! A model ready to run batches.

use super::batch::Batch;
use super::cache::Reads;
use super::check;
use super::error::EngineError;
use super::ffi::{self, ContextShape, Hidden, Precision, TappedContext};
use super::model::Model;
use super::request::{Depth, TokenId};
use super::sampling::Distribution;
use super::sequence::Sequence;
use crate::resources::available_bytes;

/// llama.cpp's `LLAMA_MAX_SEQ`.
pub(super) const MAX_BATCH: u32 = 256;
/// What llama.cpp keeps in main memory for each cell of a cache, beside keys and values: position, shift, and a bit for
/// each of 256 sequences (`llama_kv_cells`).
const CELL_BYTES: u64 = 48;

/// How the sequences of a batch run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rows {
    /// All in one run of the model, which reads each weight once for all.
    ///
    /// llama.cpp multiplies matrices by several rows with other kernels than by one, and these add up in another order:
    /// on x86 for F32, F16 and BF16 weights from 2 rows, for K-quants from 8. Logits then differ in their last bits from
    /// those of the sequence alone, and a near tie or a draw may fall the other way.
    #[default]
    Together,
    /// Each by itself, in the very calls that it would make if nobody else were there: its answer does not depend on its
    /// neighbours, whatever the device and the type of the weights. That gives away what a batch saves.
    Alone,
}

/// One run of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Tokens that it took, all sequences together.
    pub tokens: u32,
    /// Layers that it ran: all up to a depth, or those behind one.
    pub layers: u32,
}

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
    /// Numbers of the KV cache.
    pub precision: Precision,
    /// How the sequences of a batch run.
    pub rows: Rows,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_batch: 8,
            sequence_tokens: 512,
            prefill_tokens: 512,
            threads: 1,
            precision: Precision::Half,
            rows: Rows::Together,
        }
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
    /// Runs since they were last taken.
    pub(super) passes: Vec<Pass>,
    watcher: Option<Watcher<'model>>,
}

impl<'model> Engine<'model> {
    /// Allocates the memory and checks, by running the model on a few tokens, that early exits give what they should. A
    /// model of another architecture than Llama is not checked: it runs as a whole, by llama.cpp alone.
    pub fn new(model: &'model Model, options: &EngineOptions) -> Result<Self, EngineError> {
        let EngineOptions { max_batch, sequence_tokens, prefill_tokens, threads, precision, rows: _ } = *options;
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
        let threads = ffi::threads(threads).ok_or(EngineError::Threads { asked: threads })?;
        // llama.cpp takes this much and writes to it: where it is not there, the system kills the process.
        let cells = u64::from(max_batch) * u64::from(sequence_tokens);
        let needed =
            cells.saturating_mul(CELL_BYTES.saturating_add(model.cell_numbers().saturating_mul(precision.bytes())));
        if let Some(free) = available_bytes().filter(|free| needed > *free) {
            return Err(EngineError::Memory { needed, free });
        }
        // No batch can be larger than all sequences together.
        let batch_tokens = prefill_tokens.min(max_batch.saturating_mul(sequence_tokens)).max(check::BATCH_TOKENS);
        let shape = ContextShape { sequences: max_batch, sequence_tokens, batch_tokens, threads, precision };
        let mut context =
            TappedContext::new(model, shape).map_err(|_| EngineError::Context { reason: ffi::last_error() })?;
        let mut batch = Batch::new(batch_tokens);
        if model.require_exits().is_ok() {
            check::run(&mut context, &mut batch, model, max_batch)?;
        }
        let options = EngineOptions { prefill_tokens: batch_tokens, ..*options };
        Ok(Self { model, options, batch, context, layers: model.n_layer(), passes: Vec::new(), watcher: None })
    }

    /// The model that runs.
    #[must_use]
    pub fn model(&self) -> &'model Model {
        self.model
    }

    /// Its sizes.
    #[must_use]
    pub fn options(&self) -> EngineOptions {
        self.options
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
            Depth::Layers(asked) if asked == layers => Ok(asked),
            Depth::Layers(asked) if (1..layers).contains(&asked) => Ok(self.model.require_exits().map(|()| asked)?),
            Depth::Layers(asked) => Err(EngineError::Depth { asked, layers }),
        }
    }

    /// Runs the first `layers` layers on the batch.
    pub(super) fn forward(&mut self, layers: u32) -> Result<(), EngineError> {
        self.layers = layers;
        self.count(layers);
        if layers == self.model.n_layer() {
            self.context.decode(&mut self.batch)?;
        } else {
            self.context.decode_to(&mut self.batch, layers)?;
        }
        Ok(())
    }

    /// Runs each token of the batch to its own depth; all want logits.
    pub(super) fn forward_each(&mut self, depths: &[u32]) -> Result<(), EngineError> {
        self.count(depths.iter().copied().max().unwrap_or(0));
        Ok(self.context.decode_each(&mut self.batch, depths)?)
    }

    /// Runs the first `layers` layers, which are not all, on the batch and keeps what [`Engine::go_on`] needs.
    pub(super) fn stop_behind(&mut self, layers: u32, reads: Reads) -> Result<&Hidden, EngineError> {
        self.count(layers);
        Ok(self.context.decode_and_keep(&mut self.batch, layers, reads)?)
    }

    /// Runs the layers behind `from` on the batch, up to `layers`.
    pub(super) fn go_on(&mut self, from: &Hidden, layers: u32, reads: Reads) -> Result<(), EngineError> {
        let moved = self.context.moved();
        self.context.resume(&mut self.batch, from, layers, reads)?;
        let again = self.context.moved() > moved;
        self.count(if again { layers } else { layers - from.layers });
        Ok(())
    }

    /// Writes keys and values of the batch from what `from` holds, in the layers behind it up to `layers`, and runs
    /// nothing else. That is no [`Pass`]: it takes two small products per layer.
    pub(super) fn propagate(&mut self, from: &Hidden, layers: u32) -> Result<(), EngineError> {
        let moved = self.context.moved();
        self.context.propagate(&mut self.batch, from, layers)?;
        if self.context.moved() > moved {
            self.count(self.model.n_layer());
        }
        Ok(())
    }

    /// Notes a run of the batch.
    fn count(&mut self, layers: u32) {
        self.passes.push(Pass { tokens: u32::try_from(self.batch.len()).unwrap_or(u32::MAX), layers });
    }

    /// The most probable token of the `nth` logits of the last run, which stopped behind `layers`.
    pub(super) fn best(&self, nth: usize, layers: u32, request: usize) -> Result<TokenId, EngineError> {
        Ok(self.distribution(nth, layers, request)?.best)
    }

    /// Nats of the `nth` distribution of the last run, which stopped behind `layers`.
    pub(super) fn entropy(&self, nth: usize, layers: u32, request: usize) -> Result<f32, EngineError> {
        Ok(self.distribution(nth, layers, request)?.entropy)
    }

    /// The `nth` logits of the last run, which stopped behind `layers`.
    pub(super) fn logits(&self, nth: usize, layers: u32) -> &[f32] {
        if layers == self.model.n_layer() {
            self.context.native_logits(self.batch.rows()[nth])
        } else {
            self.context.tapped_logits(nth)
        }
    }

    fn distribution(&self, nth: usize, layers: u32, request: usize) -> Result<Distribution, EngineError> {
        Distribution::of(self.logits(nth, layers)).ok_or(EngineError::NotFinite { request, layers })
    }

    /// Lets each of `sequences` choose its next token. They are those that wanted logits in the last run, in its order.
    pub(super) fn choose<'s>(&mut self, sequences: impl Iterator<Item = &'s mut Sequence>) -> Result<(), EngineError> {
        for (nth, sequence) in sequences.enumerate() {
            self.choose_for(sequence, nth, self.layers)?;
        }
        Ok(())
    }

    /// Lets one sequence choose from the logits of the `nth` token that wanted some in the last run, behind `layers`.
    pub(super) fn choose_for(
        &mut self,
        sequence: &mut Sequence,
        nth: usize,
        layers: u32,
    ) -> Result<TokenId, EngineError> {
        // Not through `logits`: the watcher is borrowed beside them.
        let native = layers == self.model.n_layer();
        let logits =
            if native { self.context.native_logits(self.batch.rows()[nth]) } else { self.context.tapped_logits(nth) };
        let request = sequence.request;
        let (token, entropy) = sequence.choose(logits, self.model).ok_or(EngineError::NotFinite { request, layers })?;
        if let Some(watcher) = &mut self.watcher {
            watcher(ChosenToken { request, token, entropy, logits });
        }
        Ok(token)
    }

    pub(super) fn context(&mut self) -> &mut TappedContext<'model> {
        &mut self.context
    }
}
