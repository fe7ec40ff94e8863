//! Classic speculation: another, smaller model drafts, this one checks. The answers are those of this one.
//!
//! The draft model has an engine of its own, where each sequence runs by itself under the number of its request; the
//! checks run over all sequences at once, as in [`super::speculate`]. The draft model's cache is kept: what it was fed in
//! vain is taken out, what it has not seen is fed with the next draft. (Leviathan et al. 2023; with greedy drafts, and the
//! sampler of the checking model, so that every sampling gives its own text.)

use super::decode::DecodeReport;
use super::engine::Engine;
use super::error::EngineError;
use super::model::Model;
use super::prefill::Prefilled;
use super::request::{Depth, TokenId};
use super::sequence::Sequence;
use super::speculate::Drafter;
use std::sync::atomic::AtomicBool;

impl Prefilled<'_, '_> {
    /// Decodes like [`Prefilled::decode`], with the drafts of `small`, whose first `draft_layers` run. Whatever ran before
    /// in `small` is forgotten. Its vocabulary has to be that of this model, and its engine as large as this one.
    pub fn speculate_with(
        self,
        small: &mut Engine,
        drafter: &mut Drafter,
        stop: &AtomicBool,
    ) -> Result<DecodeReport, EngineError> {
        same_vocabulary(small.model, self.engine.model)?;
        let (own, theirs) = (self.engine.options, small.options);
        if theirs.max_batch < own.max_batch || theirs.sequence_tokens < own.sequence_tokens {
            let (sequences, tokens) = (own.max_batch, own.sequence_tokens);
            return Err(EngineError::DraftEngine { sequences, tokens });
        }
        let draft_layers = small.layers_of(Depth::Layers(drafter.speculation().draft_layers))?;
        small.context().clear();
        let layers = self.layers;
        self.speculate_by(drafter, stop, |engine, running, first, drafts, statistics| {
            small.passes.clear();
            let mut fed = Vec::with_capacity(running.len());
            for sequence in running.iter() {
                fed.push(small.draft_for(sequence, draft_layers, drafts)?);
            }
            engine.batch.clear();
            for ((id, sequence), fed) in (first..).zip(running.iter()).zip(&fed) {
                let (_, start) = sequence.next();
                for (&token, position) in fed.iter().zip(start..) {
                    engine.batch.push(token, position, id, true);
                }
            }
            engine.forward(layers)?;
            let tokens = engine.accept(running, first, layers, &fed, statistics)?;
            for sequence in running.iter() {
                small.forget_refused(sequence);
            }
            Ok(tokens)
        })
    }
}

impl Engine<'_> {
    /// Feeds what this model has not seen of a sequence, and drafts. Returns the last token of the sequence and the drafts.
    fn draft_for(&mut self, sequence: &Sequence, layers: u32, drafts: usize) -> Result<Vec<TokenId>, EngineError> {
        let id = number(sequence);
        let (last, end) = sequence.next();
        let mut fed = vec![last];
        let chunk = self.options.prefill_tokens;
        let mut start = self.context().positions(id);
        while fed.len() <= drafts {
            // All that is missing the first time, then one draft after the other.
            let known = end + u32::try_from(fed.len()).unwrap_or(u32::MAX);
            let stop = known.min(start + chunk);
            self.batch.clear();
            for position in start..stop {
                let token = if position < end { sequence.token_at(position) } else { fed[(position - end) as usize] };
                self.batch.push(token, position, id, position + 1 == known);
            }
            self.forward(layers)?;
            if stop == known {
                fed.push(self.best(0, layers, sequence.request)?);
            }
            start = stop;
        }
        Ok(fed)
    }

    /// Takes what was drafted in vain out of this model's cache.
    fn forget_refused(&mut self, sequence: &Sequence) {
        let (id, (_, end)) = (number(sequence), sequence.next());
        if self.context().positions(id) > end {
            self.context().truncate(id, end);
        }
    }
}

/// Its number in the draft model's engine.
fn number(sequence: &Sequence) -> u32 {
    u32::try_from(sequence.request).expect("a batch has at most 256 requests")
}

/// Whether both models mean the same by every token.
fn same_vocabulary(small: &Model, own: &Model) -> Result<(), EngineError> {
    let (theirs, ours) = (small.n_vocab(), own.n_vocab());
    if theirs != ours {
        return Err(EngineError::VocabularySize { theirs, ours });
    }
    let differs = |token: &TokenId| small.token_text(*token) != own.token_text(*token);
    match (0..ours.cast_signed()).find(differs) {
        None => Ok(()),
        Some(token) => {
            let [theirs, ours] =
                [small, own].map(|model| String::from_utf8_lossy(&model.token_text(token)).into_owned());
            Err(EngineError::OtherVocabulary { token, theirs, ours })
        }
    }
}
