//! One request while it runs.

use super::ffi::Hidden;
use super::model::Model;
use super::request::{Request, TokenId};
use super::sampling::{Distribution, Sampler};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it.
    EndOfText,
    /// A stop text of the request came.
    StopText,
    /// It has `max_new_tokens` tokens.
    Length,
    /// The caller stopped the run.
    Cancelled,
}

/// Tokens at the end of a sequence that have run in the lower layers only.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    pub(super) tokens: Vec<TokenId>,
    /// Their hidden states, in the same order.
    pub(super) hidden: Hidden,
}

impl Pending {
    /// Adds the `nth` token of a run that kept its hidden states.
    pub(super) fn push(&mut self, token: TokenId, kept: &Hidden, nth: usize) {
        self.tokens.push(token);
        self.hidden.push(kept, nth);
    }

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.hidden.clear();
    }
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
    /// Layers that its tokens run, where they have a depth of their own.
    pub(super) depth: u32,
    /// Tokens that have left early and wait for the layers behind, with what those need; see [`super::gate`].
    pub(super) pending: [Pending; 2],
    max_new_tokens: usize,
    full_length: bool,
    stop_texts: Vec<String>,
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
            depth: 0,
            pending: Default::default(),
            stop_texts: request.stop.clone(),
            max_new_tokens: request.max_new_tokens as usize,
            full_length: request.full_length,
            sampler: Sampler::new(request.sampling),
        }
    }

    /// Chooses the next token from its logits, and returns it with the entropy. `None` if they are no distribution.
    pub(super) fn choose(&mut self, logits: &[f32], model: &Model) -> Option<(TokenId, f32)> {
        let distribution = Distribution::of(logits)?;
        let token = self.sampler.choose(logits, distribution);
        self.entropies.push(distribution.entropy);
        if model.ends_text(token) && !self.full_length {
            self.stop = Some(StopReason::EndOfText);
        } else {
            self.tokens.push(token);
            if self.tokens.len() >= self.max_new_tokens {
                self.stop = Some(StopReason::Length);
            }
            if !self.stop_texts.is_empty() && self.stop_at(&model.whole_text(&self.tokens)).is_some() {
                self.stop = Some(StopReason::StopText);
            }
        }
        Some((token, distribution.entropy))
    }

    /// Where in `text` the first of the stop texts begins.
    fn stop_at(&self, text: &str) -> Option<usize> {
        self.stop_texts.iter().filter_map(|stop| text.find(stop)).min()
    }

    /// The answer so far, up to a stop text. What has come of a character that is not complete is left out.
    pub(super) fn text(&self, model: &Model) -> String {
        let mut text = model.whole_text(&self.tokens);
        if let Some(end) = self.stop_at(&text) {
            text.truncate(end);
        }
        text
    }

    /// Tokens that it may still get.
    pub(super) fn remaining(&self) -> usize {
        self.max_new_tokens - self.tokens.len()
    }

    /// The token at a position that has one.
    pub(super) fn token_at(&self, position: u32) -> TokenId {
        let position = position as usize;
        match position.checked_sub(self.prompt.len()) {
            None => self.prompt[position],
            Some(nth) => self.tokens[nth],
        }
    }

    /// The token to feed next and its position. A sequence has one after its prefill.
    pub(super) fn next(&self) -> (TokenId, u32) {
        let token = *self.tokens.last().expect("a sequence that goes on has a token");
        let position = self.prompt.len() + self.tokens.len() - 1;
        (token, u32::try_from(position).expect("positions are below sequence_tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::model::ModelOptions;
    use crate::llm::random::Shape;
    use crate::llm::request::{Prompt, Sampling};

    /// A model with one token per byte: token `3 + b` is byte `b`.
    fn bytewise() -> Model {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let shape = Shape { layers: 1, ..Shape::default() };
        shape.write(1, &mut std::fs::File::create(&path).unwrap()).unwrap();
        Model::load(&path, &ModelOptions::default()).unwrap()
    }

    /// Lets a sequence choose the bytes of `text`, until it stops.
    fn answer(model: &Model, text: &[u8], stop: &[&str], max_new_tokens: u32) -> Sequence {
        let stop = stop.iter().map(|&text| text.to_owned()).collect();
        let request = Request {
            prompt: Prompt::Tokens(vec![1]),
            max_new_tokens,
            sampling: Sampling::Greedy,
            stop,
            full_length: false,
        };
        let mut sequence = Sequence::new(0, &request, vec![1]);
        for byte in text {
            let mut logits = vec![0.0; 259];
            logits[3 + usize::from(*byte)] = 1.0;
            sequence.choose(&logits, model).unwrap();
            if sequence.stop.is_some() {
                break;
            }
        }
        sequence
    }

    /// The first byte of a character is no replacement character, though it looks like one until the others come.
    #[test]
    fn a_character_half_way_through_stops_nothing() {
        let model = bytewise();
        let sequence = answer(&model, "Grüße 🦙 end".as_bytes(), &["\u{fffd}", "🦙"], 64);
        assert_eq!((sequence.stop, sequence.text(&model)), (Some(StopReason::StopText), "Grüße ".to_owned()));
    }

    #[test]
    fn a_stop_text_may_span_tokens_and_characters() {
        let model = bytewise();
        let sequence = answer(&model, "a stüp b".as_bytes(), &["stop", "üp"], 64);
        assert_eq!((sequence.stop, sequence.text(&model)), (Some(StopReason::StopText), "a st".to_owned()));
        assert_eq!(sequence.tokens.len(), "a stüp".len());
    }

    #[test]
    fn an_answer_ends_with_a_whole_character() {
        let model = bytewise();
        for (length, text) in [(3, "Gr"), (4, "Grü"), (6, "Grüß"), (7, "Grüße"), (10, "Grüße"), (11, "Grüße🦙")]
        {
            let sequence = answer(&model, "Grüße🦙".as_bytes(), &[], length);
            assert_eq!((sequence.text(&model).as_str(), sequence.tokens.len()), (text, length as usize), "{length}");
        }
        // Bytes that never become a character are shown as such.
        assert_eq!(answer(&model, b"a\xffb\x80", &[], 4).text(&model), "a\u{fffd}b\u{fffd}");
    }
}
