//! What a caller asks for.

/// Index into the model's vocabulary, as llama.cpp writes it.
pub type TokenId = i32;

/// One prompt and how to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the model reads.
    pub prompt: Prompt,
    /// The answer ends after this many tokens, if the model does not end it before. At least 1.
    pub max_new_tokens: u32,
    /// How a token is chosen from the model's distribution.
    pub sampling: Sampling,
    /// The answer ends where one of these texts begins, which is then not part of it.
    pub stop: Vec<String>,
    /// The answer goes on to `max_new_tokens`, whatever the model chooses, as benchmarks do it.
    pub full_length: bool,
}

impl Request {
    /// A request for the most probable answer to `prompt`, which is rendered already (see [`super::prompt`]).
    #[must_use]
    pub fn greedy(prompt: impl Into<String>, max_new_tokens: u32) -> Self {
        Self {
            prompt: Prompt::Text(prompt.into()),
            max_new_tokens,
            sampling: Sampling::Greedy,
            stop: Vec::new(),
            full_length: false,
        }
    }
}

/// What the model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Rendered text. The model's begin-of-text token is added if the model wants one, and special tokens written out in
    /// the text count as such.
    Text(String),
    /// Tokens, taken as they are.
    Tokens(Vec<TokenId>),
}

/// How a token is chosen from the model's distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The most probable one; of equals the one with the lower number.
    Greedy,
    /// Drawn from the most probable ones.
    Nucleus {
        /// Divides the logits; above 1 flattens the distribution. 0.001 to 1000.
        temperature: f32,
        /// The tokens that together have this probability take part, 0 to 1.
        top_p: f32,
        /// The same seed gives the same draws.
        seed: u32,
    },
}

/// How many layers run, for all sequences of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The whole model.
    Full,
    /// The first so many layers, from 1 to all.
    Layers(u32),
}
