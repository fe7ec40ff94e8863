//! Tokens for one run of the model.

use super::request::TokenId;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

/// A batch that remembers which of its tokens want logits.
///
/// The order matters. llama.cpp keeps the order of a batch in its graph, so that row `r` is token `r`, only if every
/// sequence of the batch has the same number of tokens, the tokens of a sequence stand together, and the sequences are
/// numbered without gaps. Prefill and decode build their batches so; the self-check proves it at start-up.
pub(super) struct Batch {
    llama: LlamaBatch<'static>,
    rows: Vec<i32>,
    entries: Vec<Entry>,
}

/// Whose token it is, and where it stands there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) sequence: u32,
    pub(super) position: u32,
}

impl Batch {
    /// An empty batch for up to `tokens` tokens.
    pub(super) fn new(tokens: u32) -> Self {
        Self { llama: LlamaBatch::new(tokens as usize, 1), rows: Vec::new(), entries: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.llama.clear();
        self.rows.clear();
        self.entries.clear();
    }

    /// Appends a token of `sequence` at `position` (from 0). More than the batch was made for is a bug.
    pub(super) fn push(&mut self, token: TokenId, position: u32, sequence: u32, wants_logits: bool) {
        if wants_logits {
            self.rows.push(self.llama.n_tokens());
        }
        self.entries.push(Entry { sequence, position });
        self.llama
            .add(LlamaToken::new(token), position.cast_signed(), &[sequence.cast_signed()], wants_logits)
            .expect("batches are cut to the size they were made for");
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Indices of the tokens that want logits, ascending.
    pub(super) fn rows(&self) -> &[i32] {
        &self.rows
    }

    /// One per token, in order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn llama(&mut self) -> &mut LlamaBatch<'static> {
        &mut self.llama
    }
}
