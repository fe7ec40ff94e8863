//! Who produces the tokens of a batch.

use controller_core::rng::Pcg32;
use serde::Serialize;
use std::convert::Infallible;

/// What a batch produced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answered {
    /// Sequences in each decode step; with `depths`, tokens in each run of the model.
    pub active: Vec<u16>,
    /// Layers of each of these runs, in the board's count; empty where all have the setting's.
    pub depths: Vec<u16>,
    /// What drafts or a gate did, where they were asked for.
    pub work: Option<DecodeWork>,
    /// Tokens generated, all sequences together.
    pub generated_tokens: u32,
    /// Mean entropy of the next-token distributions, nats.
    pub entropy_nats: Option<f64>,
    /// The texts, in the order of the requests; empty where nothing is really generated.
    pub texts: Vec<String>,
}

/// What the model did in a decode that does not take each token through all layers, one step after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DecodeWork {
    /// Runs of the model, over some or all layers.
    pub runs: u64,
    /// Layers that ran, summed over the tokens that they ran on.
    pub layer_runs: u64,
    /// Tokens that came out of these runs.
    pub tokens: u64,
    /// Tokens drafted.
    pub drafted: u64,
    /// Drafts that all layers chose too.
    pub accepted: u64,
    /// Tokens that left at a probe of the gate.
    pub left_early: u64,
}

impl DecodeWork {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            layer_runs: self.layer_runs + other.layer_runs,
            tokens: self.tokens + other.tokens,
            drafted: self.drafted + other.drafted,
            accepted: self.accepted + other.accepted,
            left_early: self.left_early + other.left_early,
        }
    }
}

/// Answers batches of requests.
pub trait Answers {
    /// Why a batch could not be answered.
    type Error;

    /// Answers the requests with these numbers at a depth. `prefilled` is called once, between
    /// prefill and decode, with the number of prompt tokens: that is when the clock changes.
    fn answer(
        &mut self,
        requests: &[usize],
        depth: u16,
        prefilled: &mut dyn FnMut(u32),
    ) -> Result<Answered, Self::Error>;
}

/// Answers of drawn length without a model, for training and for governors' dry runs.
#[derive(Clone, Debug)]
pub struct DrawnLengths {
    rng: Pcg32,
    /// Shortest and longest prompt, tokens.
    prompt: (u32, u32),
    /// Shortest and longest answer, tokens.
    answer: (u32, u32),
}

impl DrawnLengths {
    /// Prompts and answers uniform between the ends of the given ranges, in tokens.
    #[must_use]
    pub fn new(prompt: (u32, u32), answer: (u32, u32), seed: u64) -> Self {
        Self { rng: Pcg32::new(seed), prompt, answer }
    }

    fn draw(&mut self, (low, high): (u32, u32)) -> u32 {
        low + self.rng.below(high.saturating_sub(low) + 1)
    }
}

impl Answers for DrawnLengths {
    type Error = Infallible;

    fn answer(
        &mut self,
        requests: &[usize],
        _depth: u16,
        prefilled: &mut dyn FnMut(u32),
    ) -> Result<Answered, Self::Error> {
        let (prompt, answer) = (self.prompt, self.answer);
        prefilled(requests.iter().map(|_| self.draw(prompt)).sum());
        let mut lengths: Vec<u32> = requests.iter().map(|_| self.draw(answer)).collect();
        lengths.sort_unstable();
        let mut active = Vec::new();
        for (gone, length) in lengths.iter().enumerate() {
            // The first token of each answer comes from the prefill.
            let steps = (*length as usize).saturating_sub(1);
            active.resize(steps, u16::try_from(lengths.len() - gone).unwrap_or(u16::MAX));
        }
        Ok(Answered { active, generated_tokens: lengths.iter().sum(), ..Answered::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_add_up() {
        let mut answers = DrawnLengths::new((8, 8), (2, 30), 4);
        let mut prompt = 0;
        let Ok(batch) = answers.answer(&[0, 1, 2, 3, 4], 16, &mut |tokens| prompt = tokens);
        assert_eq!(prompt, 40);
        let stepped: u32 = batch.active.iter().map(|n| u32::from(*n)).sum();
        assert_eq!(stepped + 5, batch.generated_tokens, "one token of each answer comes from the prefill");
        assert!(batch.active.is_sorted_by(|a, b| a >= b));
    }
}
