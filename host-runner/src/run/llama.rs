//! llama.cpp as the one who answers: prompts are tokenized once, then answered in real batches at
//! the depth that the controller chose.

use super::decoding::Decoding;
use super::prompts::Prompt as UserPrompt;
use crate::env::answers::{Answered, Answers, DecodeWork};
use crate::llm::prompt::{PromptError, render};
use crate::llm::{
    DecodeReport, Depth, Drafter, Engine, EngineError, EngineOptions, Model, Pass, Precision, Price, Prompt, Request,
    Sampling, Statistics,
};
use std::sync::atomic::AtomicBool;

/// Why prompts cannot be answered with this model.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// A prompt cannot be rendered.
    #[error("prompt {number}: {source}")]
    Render {
        /// Number of the prompt, from 1.
        number: usize,
        /// The cause.
        source: PromptError,
    },
    /// A prompt is longer than the context.
    #[error(
        "prompt {number} has {tokens} tokens, and with {answer} for the answer that is more than the {context} of --context; shorten it or raise --context"
    )]
    TooLong {
        /// Number of the prompt, from 1.
        number: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens allowed for the answer.
        answer: u32,
        /// Tokens of a sequence.
        context: u32,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A model with all prompts ready.
pub struct Llama<'a> {
    engine: Engine<'a>,
    requests: Vec<Request>,
    layers: u32,
    full_depth: u16,
    decoding: Decoding,
    drafter: Option<Drafter>,
    stop: &'a AtomicBool,
}

/// How to answer.
#[derive(Clone, Debug)]
pub struct LlamaOptions {
    /// Most requests in a batch.
    pub max_batch: u16,
    /// Tokens of a sequence, prompt and answer.
    pub context: u32,
    /// Most tokens of an answer.
    pub max_new_tokens: u32,
    /// CPU threads.
    pub threads: u32,
    /// The board's full depth; other depths are scaled to the model's number of layers.
    pub full_depth: u16,
    /// Plain, with drafts, or with a gate.
    pub decoding: Decoding,
    /// What a run of the model costs on the board, where it is simulated: by that drafts are judged.
    pub price: Option<Price>,
}

impl<'a> Llama<'a> {
    /// Prepares an engine and tokenizes the prompts.
    pub fn new(
        model: &'a Model,
        prompts: &[UserPrompt],
        options: &LlamaOptions,
        stop: &'a AtomicBool,
    ) -> Result<Self, LlamaError> {
        let mut requests = Vec::with_capacity(prompts.len());
        for (number, prompt) in (1..).zip(prompts) {
            let text = render(model, &prompt.text).map_err(|source| LlamaError::Render { number, source })?;
            let tokens = model.tokenize(&text);
            if tokens.len() + options.max_new_tokens as usize > options.context as usize {
                let (answer, context) = (options.max_new_tokens, options.context);
                return Err(LlamaError::TooLong { number, tokens: tokens.len(), answer, context });
            }
            requests.push(Request {
                prompt: Prompt::Tokens(tokens),
                max_new_tokens: options.max_new_tokens,
                sampling: Sampling::Greedy,
                stop: Vec::new(),
                full_length: false,
            });
        }
        let (layers, usual, max_batch) = (model.n_layer(), EngineOptions::default(), u32::from(options.max_batch));
        let speculation = options.decoding.speculation(layers);
        // All drafts of a batch are checked in one run.
        let checked = max_batch.saturating_mul(speculation.map_or(1, |speculation| speculation.draft_tokens + 1));
        let engine = Engine::new(
            model,
            &EngineOptions {
                max_batch,
                sequence_tokens: options.context,
                prefill_tokens: usual.prefill_tokens.max(checked),
                threads: options.threads,
                // With 16 bits the order of sums shows in near ties, and drafts are to change nothing.
                precision: if speculation.is_some() { Precision::Single } else { usual.precision },
                ..usual
            },
        )?;
        let drafter = speculation.map(|speculation| match &options.price {
            Some(price) => Drafter::priced(speculation, price.clone()),
            None => Drafter::new(speculation),
        });
        let (full_depth, decoding) = (options.full_depth, options.decoding);
        Ok(Self { engine, requests, layers, full_depth, decoding, drafter, stop })
    }

    /// The board's depth as layers of this model: the same share, rounded up.
    fn depth(&self, depth: u16) -> Depth {
        let layers = (u32::from(depth) * self.layers).div_ceil(u32::from(self.full_depth.max(1)));
        if layers >= self.layers { Depth::Full } else { Depth::Layers(layers.max(1)) }
    }

    /// Tokens and board layers of every run of the model.
    fn runs(&self, report: &DecodeReport) -> (Vec<u16>, Vec<u16>) {
        let tokens = |tokens| u16::try_from(tokens).unwrap_or(u16::MAX);
        let run = |pass: &Pass| (tokens(pass.tokens), board_layers(pass.layers, self.layers, self.full_depth));
        report.passes.iter().map(run).unzip()
    }
}

/// So many of a model's layers in the count of a board whose full depth is `full_depth`: the same share, rounded up.
#[must_use]
pub fn board_layers(layers: u32, model_layers: u32, full_depth: u16) -> u16 {
    let share = (layers * u32::from(full_depth)).div_ceil(model_layers.max(1));
    u16::try_from(share).unwrap_or(full_depth).clamp(1, full_depth.max(1))
}

fn drafted_since(before: Statistics, now: Statistics) -> (u64, u64) {
    (now.drafted - before.drafted, now.accepted - before.accepted)
}

/// Adds what any decode knows.
fn count(report: &DecodeReport, work: DecodeWork) -> DecodeWork {
    // The first choice of each answer is the prefill's.
    let chosen: usize = report.answers.iter().map(|answer| answer.entropies.len().saturating_sub(1)).sum();
    let (runs, tokens) = (report.passes.len() as u64, chosen as u64);
    DecodeWork { runs, layer_runs: report.layer_runs(), tokens, ..work }
}

impl Answers for Llama<'_> {
    type Error = EngineError;

    fn answer(
        &mut self,
        requests: &[usize],
        depth: u16,
        prefilled: &mut dyn FnMut(u32),
    ) -> Result<Answered, EngineError> {
        let depth = self.depth(depth);
        let batch: Vec<Request> =
            requests.iter().map(|number| self.requests[number % self.requests.len()].clone()).collect();
        let prefill = self.engine.prefill(&batch, depth)?;
        prefilled(prefill.report().prompt_tokens.iter().sum());
        let layers = if let Depth::Layers(layers) = depth { layers } else { self.layers };
        let mut work = DecodeWork::default();
        let report = match (&mut self.drafter, self.decoding.gate(self.layers, layers)) {
            (Some(drafter), _) if drafter.speculation().draft_layers < layers => {
                let before = drafter.statistics();
                let report = prefill.speculate(drafter, self.stop)?;
                (work.drafted, work.accepted) = drafted_since(before, drafter.statistics());
                report
            }
            (_, Some(gate)) => {
                let report = prefill.decode_gated(&gate, self.stop)?;
                work.left_early = report.chosen[0] + report.chosen[1];
                report.decode
            }
            // Nothing is left out of so few layers.
            _ => prefill.decode(self.stop)?,
        };
        let plain = self.decoding == Decoding::Plain;
        let work = (!plain).then(|| count(&report, work));
        let (active, depths) = if plain { (report.active.clone(), Vec::new()) } else { self.runs(&report) };
        Ok(Answered {
            generated_tokens: u32::try_from(report.generated_tokens()).unwrap_or(u32::MAX),
            entropy_nats: Some(report.mean_entropy()).filter(|nats| nats.is_finite()),
            active,
            depths,
            work,
            texts: report.answers.into_iter().map(|answer| answer.text.trim().to_owned()).collect(),
        })
    }
}
