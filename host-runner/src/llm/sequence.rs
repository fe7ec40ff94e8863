//! One request while it runs.

use super::model::Model;
use super::request::{Request, TokenId};
use super::sampling::{Distribution, Sampler};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it.
    EndOfText,
    /// It has `max_new_tokens` tokens.
    Length,
    /// The caller stopped the run.
    Cancelled,
}

pub(super) struct Sequence {
    /// Index in the caller's list.
    pub(super) request: usize,
    pub(super) prompt: Vec<TokenId>,
    /// The answer so far. Its last token has not been fed to the model yet.
    pub(super) tokens: Vec<TokenId>,
    /// One per distribution sampled, nats.
    pub(super) entropies: Vec<f32>,
    pub(super) stop: Option<StopReason>,
    max_new_tokens: usize,
    sampler: Sampler,
}

impl Sequence {
    pub(super) fn new(index: usize, request: &Request, prompt: Vec<TokenId>) -> Self {
        Self {
            request: index,
            prompt,
            tokens: Vec::new(),
            entropies: Vec::new(),
            stop: None,
            max_new_tokens: request.max_new_tokens as usize,
            sampler: Sampler::new(request.sampling),
        }
    }

    /// Chooses the next token from its logits, and returns it with the entropy. `None` if they are no distribution.
    pub(super) fn choose(&mut self, logits: &[f32], model: &Model) -> Option<(TokenId, f32)> {
        let distribution = Distribution::of(logits)?;
        let token = self.sampler.choose(logits, distribution);
        self.entropies.push(distribution.entropy);
        if model.ends_text(token) {
            self.stop = Some(StopReason::EndOfText);
        } else {
            self.tokens.push(token);
            if self.tokens.len() >= self.max_new_tokens {
                self.stop = Some(StopReason::Length);
            }
        }
        Some((token, distribution.entropy))
    }

    /// The token to feed next and its position. A sequence has one after its prefill.
    pub(super) fn next(&self) -> (TokenId, u32) {
        let token = *self.tokens.last().expect("a sequence that goes on has a token");
        let position = self.prompt.len() + self.tokens.len() - 1;
        (token, u32::try_from(position).expect("positions are below sequence_tokens"))
    }
}
