//! How good a model is at each depth.
//!
//! The measure is the model itself: what it answers at full depth. That answer is read at every depth, token by token,
//! and each depth is asked how probable it finds the next token (perplexity), how sure it is (entropy) and whether it
//! would have chosen it (agreement). Greedy decoding at a depth writes the same answer if, and only if, it agrees in
//! every token. Where the caller knows phrases that a right answer contains, each depth also writes its own answers.

use super::engine::Engine;
use super::error::EngineError;
use super::request::{Depth, Prompt, Request, TokenId};
use super::sampling::{Distribution, log_probability};
use super::sequence::StopReason;
use std::sync::atomic::{AtomicBool, Ordering};

/// One depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DepthQuality {
    /// Layers.
    pub depth: u32,
    /// Of the full-depth answers' tokens: exp of the mean negative log probability.
    pub perplexity: f64,
    /// Mean over those tokens' distributions, nats.
    pub entropy: f64,
    /// Share of those tokens that this depth chooses too.
    pub agreement: f64,
    /// Share of prompts with the same answer as at full depth.
    pub same_answers: f64,
    /// Share of prompts whose own answer contains the phrase; none without phrases.
    pub right_answers: Option<f64>,
}

impl DepthQuality {
    /// What counts as accuracy: right answers where they can be told, else the answers of full depth.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.right_answers.unwrap_or(self.same_answers)
    }
}

/// A prompt with the phrase that a right answer contains, if one is known.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request; answered greedily whatever it says.
    pub request: Request,
    /// The phrase.
    pub phrase: Option<String>,
}

impl Engine<'_> {
    /// Measures every depth from 1 to all layers on `questions`. `done` hears of each depth; None if `stop` became true.
    pub fn depth_quality(
        &mut self,
        questions: &[Question],
        stop: &AtomicBool,
        mut done: impl FnMut(&DepthQuality),
    ) -> Result<Option<Vec<DepthQuality>>, EngineError> {
        let layers = self.model.n_layer();
        self.model.require_exits()?;
        let mut texts = Vec::with_capacity(questions.len());
        for (number, question) in questions.iter().enumerate() {
            texts.push(self.reference(number, question)?);
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        let mut qualities = Vec::new();
        for depth in 1..=layers {
            let mut total = Score::default();
            for (number, (prompt, answer)) in texts.iter().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                total.add(self.score(number, prompt, answer, depth)?);
            }
            let tokens = (total.tokens as f64).max(1.0);
            let quality = DepthQuality {
                depth,
                perplexity: (total.loss / tokens).exp(),
                entropy: total.entropy / tokens,
                agreement: total.agreeing as f64 / tokens,
                same_answers: total.same as f64 / (texts.len() as f64).max(1.0),
                right_answers: self.right_answers(questions, depth, stop)?,
            };
            // Its last answers may have been cut off.
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            done(&quality);
            qualities.push(quality);
        }
        Ok(Some(qualities))
    }

    /// Tokens of the prompt and of the full-depth answer, the token that ends it included.
    fn reference(&mut self, number: usize, question: &Question) -> Result<(Vec<TokenId>, Vec<TokenId>), EngineError> {
        let prompt = self.admit_one(number, &question.request)?.prompt;
        let request = Request { prompt: Prompt::Tokens(prompt.clone()), ..question.request.clone() };
        let report = self.prefill(&[request], Depth::Full)?.decode(&AtomicBool::new(false))?;
        let mut tokens = Vec::new();
        for answer in report.answers {
            tokens.extend(answer.tokens);
            if answer.stop == StopReason::EndOfText {
                tokens.extend(self.model.end_of_text());
            }
        }
        Ok((prompt, tokens))
    }

    /// Reads prompt and answer with the first `depth` layers.
    fn score(
        &mut self,
        number: usize,
        prompt: &[TokenId],
        answer: &[TokenId],
        depth: u32,
    ) -> Result<Score, EngineError> {
        let fed: Vec<TokenId> = prompt.iter().chain(answer).copied().take(prompt.len() + answer.len() - 1).collect();
        let mut score = Score { same: 1, ..Score::default() };
        let mut expected = answer.iter();
        self.context().clear();
        let chunk = self.options.prefill_tokens as usize;
        for (start, tokens) in (0..).step_by(chunk).zip(fed.chunks(chunk)) {
            self.batch.clear();
            for (&token, position) in tokens.iter().zip(start..) {
                self.batch.push(token, position, 0, position as usize + 1 >= prompt.len());
            }
            self.forward(depth)?;
            for nth in 0..self.batch.rows().len() {
                let Some(&token) = expected.next() else { break };
                let logits = self.logits(nth, depth);
                let not_finite = || EngineError::NotFinite { request: number, layers: depth };
                let distribution = Distribution::of(logits).ok_or_else(not_finite)?;
                let agrees = distribution.best == token;
                score.tokens += 1;
                score.loss -= log_probability(logits, token);
                score.entropy += f64::from(distribution.entropy);
                score.agreeing += u64::from(agrees);
                score.same &= u64::from(agrees);
            }
        }
        Ok(score)
    }

    fn right_answers(
        &mut self,
        questions: &[Question],
        depth: u32,
        stop: &AtomicBool,
    ) -> Result<Option<f64>, EngineError> {
        let known: Vec<_> = questions.iter().filter(|question| question.phrase.is_some()).collect();
        let mut right = 0_usize;
        for batch in known.chunks(self.options.max_batch as usize) {
            let requests: Vec<_> = batch.iter().map(|question| question.request.clone()).collect();
            let report = self.prefill(&requests, Depth::Layers(depth))?.decode(stop)?;
            let answers = report.answers.iter().zip(batch);
            right += answers.filter(|(answer, q)| q.phrase.as_ref().is_some_and(|p| answer.text.contains(p))).count();
        }
        Ok((!known.is_empty()).then(|| right as f64 / known.len() as f64))
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Score {
    tokens: u64,
    loss: f64,
    entropy: f64,
    agreeing: u64,
    /// Prompts.
    same: u64,
}

impl Score {
    fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.loss += other.loss;
        self.entropy += other.entropy;
        self.agreeing += other.agreeing;
        self.same += other.same;
    }
}
