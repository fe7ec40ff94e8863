//! Reading the prompts of a batch.

use super::engine::{Engine, Rows};
use super::error::EngineError;
use super::request::{Depth, Prompt, Request, Sampling, TokenId};
use super::sequence::Sequence;
use std::time::{Duration, Instant};

/// What the prefill took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefillReport {
    /// Tokens of each prompt, in the order of the requests.
    pub prompt_tokens: Vec<u32>,
    /// Runs of the model.
    pub steps: u32,
    /// Time to turn the texts into tokens.
    pub tokenize: Duration,
    /// Time to run the model on them and choose the first token of each answer.
    pub wall: Duration,
    /// The part of it in the output head behind an exit; zero at full depth, where the head is llama.cpp's.
    pub head: Duration,
}

/// A batch whose prompts have been read and whose first tokens are chosen. Borrows the engine until it is decoded.
#[must_use = "the answers come from `decode`"]
pub struct Prefilled<'engine, 'model> {
    pub(super) engine: &'engine mut Engine<'model>,
    pub(super) layers: u32,
    /// Sequence `i` of llama.cpp is element `i`.
    pub(super) sequences: Vec<Sequence>,
    report: PrefillReport,
}

impl Prefilled<'_, '_> {
    /// What the prefill took.
    #[must_use]
    pub fn report(&self) -> &PrefillReport {
        &self.report
    }
}

impl<'model> Engine<'model> {
    /// Reads the prompts of `requests` with the first layers given by `depth`, and chooses the first token of each
    /// answer. Everything is checked before anything runs. Whatever ran before in this engine is forgotten.
    pub fn prefill(&mut self, requests: &[Request], depth: Depth) -> Result<Prefilled<'_, 'model>, EngineError> {
        let layers = self.layers_of(depth)?;
        let started = Instant::now();
        let mut sequences = self.admit(requests)?;
        let tokenize = started.elapsed();
        let count = |sequence: &Sequence| u32::try_from(sequence.prompt.len()).unwrap_or(u32::MAX);
        let prompt_tokens = sequences.iter().map(count).collect();

        let started = Instant::now();
        let steps = self.read(&mut sequences, layers)?;
        let (wall, head) = (started.elapsed(), self.context().take_head_time());
        let report = PrefillReport { prompt_tokens, steps, tokenize, wall, head };
        Ok(Prefilled { engine: self, layers, sequences, report })
    }

    /// Checks the requests and turns them into sequences, in the same order.
    fn admit(&self, requests: &[Request]) -> Result<Vec<Sequence>, EngineError> {
        let limit = self.options.max_batch;
        if requests.is_empty() {
            return Err(EngineError::EmptyBatch);
        }
        if requests.len() > limit as usize {
            return Err(EngineError::BatchTooLarge { requests: requests.len(), limit });
        }
        requests.iter().enumerate().map(|(index, request)| self.admit_one(index, request)).collect()
    }

    /// Checks a request and turns it into a sequence.
    pub(super) fn admit_one(&self, index: usize, request: &Request) -> Result<Sequence, EngineError> {
        let prompt = match &request.prompt {
            Prompt::Text(text) => self.model.tokenize(text),
            Prompt::Tokens(tokens) => tokens.clone(),
        };
        self.check(index, request, &prompt)?;
        Ok(Sequence::new(index, request, prompt))
    }

    fn check(&self, index: usize, request: &Request, prompt: &[TokenId]) -> Result<(), EngineError> {
        let max_new_tokens = request.max_new_tokens;
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt { request: index });
        }
        if max_new_tokens == 0 {
            return Err(EngineError::NothingToGenerate { request: index });
        }
        if let Sampling::Nucleus { temperature, top_p, .. } = request.sampling {
            let sampling = |parameter, value, range| EngineError::Sampling { request: index, parameter, value, range };
            // Far outside, logits over it are no finite numbers any more, or all the same.
            if !(1e-3..=1e3).contains(&temperature) {
                return Err(sampling("temperature", temperature, "0.001 to 1000"));
            }
            if !(top_p > 0.0 && top_p <= 1.0) {
                return Err(sampling("top_p", top_p, "a number above 0, at most 1"));
            }
        }
        if request.stop.iter().any(String::is_empty) {
            return Err(EngineError::EmptyStop { request: index });
        }
        let n_vocab = self.model.n_vocab();
        let known = |token: TokenId| u32::try_from(token).is_ok_and(|token| token < n_vocab);
        if let Some(&token) = prompt.iter().find(|&&token| !known(token)) {
            return Err(EngineError::UnknownToken { request: index, token, n_vocab });
        }
        let limit = self.options.sequence_tokens;
        if prompt.len() + max_new_tokens as usize > limit as usize {
            return Err(EngineError::TooLong { request: index, prompt_tokens: prompt.len(), max_new_tokens, limit });
        }
        Ok(())
    }

    /// Runs the model on the prompts and returns the number of steps.
    ///
    /// Longest first, and in each step the same number of tokens for every sequence that has some left: so those are
    /// always sequences 0 to n, without gaps, and rows stay in order (see [`super::batch::Batch`]).
    fn read(&mut self, sequences: &mut [Sequence], layers: u32) -> Result<u32, EngineError> {
        sequences.sort_by_key(|sequence| std::cmp::Reverse(sequence.prompt.len()));
        self.context().clear();
        if self.options.rows == Rows::Alone {
            let mut steps = 0;
            for (sequence, id) in sequences.iter_mut().zip(0..) {
                sequence.depth = layers;
                steps += self.read_one(sequence, id)?;
            }
            return Ok(steps);
        }
        let (mut done, mut steps) = (0, 0);
        loop {
            let active = sequences.partition_point(|sequence| sequence.prompt.len() > done);
            let Some(shortest) = sequences[..active].last().map(|sequence| sequence.prompt.len()) else {
                return Ok(steps);
            };
            let end = shortest.min(done + self.options.prefill_tokens as usize / active);
            self.batch.clear();
            for (sequence, id) in sequences[..active].iter().zip(0..) {
                for (&token, position) in sequence.prompt[..end].iter().zip(0..).skip(done) {
                    let last = position as usize + 1 == sequence.prompt.len();
                    self.batch.push(token, position, id, last);
                }
            }
            self.forward(layers)?;
            self.choose(sequences[..active].iter_mut().filter(|sequence| sequence.prompt.len() == end))?;
            done = end;
            steps += 1;
        }
    }
}
