//! llama.cpp as the one who answers: prompts are tokenized once, then answered in real batches at
//! the depth that the controller chose.

use super::prompts::Prompt as UserPrompt;
use crate::env::answers::{Answered, Answers};
use crate::llm::prompt::{PromptError, render};
use crate::llm::{Depth, Engine, EngineError, EngineOptions, Model, Prompt, Request, Sampling};
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
    stop: &'a AtomicBool,
}

/// How to answer.
#[derive(Clone, Copy, Debug)]
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
            });
        }
        let engine = Engine::new(
            model,
            &EngineOptions {
                max_batch: u32::from(options.max_batch),
                sequence_tokens: options.context,
                threads: options.threads,
                ..EngineOptions::default()
            },
        )?;
        Ok(Self { engine, requests, layers: model.n_layer(), full_depth: options.full_depth, stop })
    }

    /// The board's depth as layers of this model: the same share, rounded up.
    fn depth(&self, depth: u16) -> Depth {
        let layers = (u32::from(depth) * self.layers).div_ceil(u32::from(self.full_depth.max(1)));
        if layers >= self.layers { Depth::Full } else { Depth::Layers(layers.max(1)) }
    }
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
        let report = prefill.decode(self.stop)?;
        Ok(Answered {
            generated_tokens: u32::try_from(report.generated_tokens()).unwrap_or(u32::MAX),
            entropy_nats: Some(report.mean_entropy()).filter(|nats| nats.is_finite()),
            active: report.active,
            texts: report.answers.into_iter().map(|answer| answer.text.trim().to_owned()).collect(),
        })
    }
}
