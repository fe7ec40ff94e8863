//! Self-speculation: draft with the first layers, check with all. The answers are those of the whole model.
//!
//! A round feeds the last token and then each draft through the first layers, and keeps the hidden states. Then the rest
//! of the layers runs over all of them at once, from those states, so that no layer runs twice. Its logits choose the
//! tokens, one after the other, as they would in plain decoding; as long as a choice is the draft, the next row counts
//! too. What was drafted in vain is taken out of the cache again. (Elhoushi et al. 2024, `LayerSkip`, section 3.3.)
//!
//! Any sampling works: the sampler sees the whole model's logits, once for each token that it chooses.
//!
//! Several tokens at once are summed in another order than one by one, in llama.cpp as everywhere, so a logit may differ
//! in its last bits, and a tie within them may fall the other way.

use super::cache::Reads;
use super::decode::DecodeReport;
use super::engine::{Engine, Pass};
use super::error::EngineError;
use super::ffi::Hidden;
use super::payoff::{Next, Payoff};
use super::prefill::Prefilled;
use super::request::TokenId;
use super::sequence::Sequence;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speculation {
    /// Layers that draft: at least 1, and not all. Of another model ([`Prefilled::speculate_with`]) at least 1.
    pub draft_layers: u32,
    /// Tokens drafted in a round, at least 1.
    pub draft_tokens: u32,
    /// Draft on even where it takes longer than plain decoding.
    pub always: bool,
}

/// What runs of the model cost, where the clock of this machine is not the one that counts.
#[derive(Clone)]
pub struct Price(Arc<dyn Fn(Pass) -> Duration + Send + Sync>);

impl Price {
    /// A run costs what `price` says.
    pub fn new(price: impl Fn(Pass) -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(price))
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Price")
    }
}

/// Drafts over any number of batches, and remembers whether it pays.
#[derive(Debug, Clone)]
pub struct Drafter {
    speculation: Speculation,
    price: Option<Price>,
    payoff: Payoff,
    statistics: Statistics,
}

/// What came of the drafts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rounds of drafting and checking.
    pub rounds: u64,
    /// Steps without drafts.
    pub plain_steps: u64,
    /// Tokens drafted.
    pub drafted: u64,
    /// Drafts that the whole model chose too.
    pub accepted: u64,
    /// Tokens that came out of rounds.
    pub round_tokens: u64,
    /// Rounds in which the first layers had to run again, because llama.cpp had moved the cells.
    pub repeated: u64,
}

impl Statistics {
    /// Share of the drafts that were right.
    #[must_use]
    pub fn acceptance(&self) -> f64 {
        self.accepted as f64 / (self.drafted as f64).max(1.0)
    }
}

impl Drafter {
    /// A drafter that has seen nothing yet.
    #[must_use]
    pub fn new(speculation: Speculation) -> Self {
        Self { speculation, price: None, payoff: Payoff::default(), statistics: Statistics::default() }
    }

    /// A drafter that judges by the price of runs instead of by this machine's clock: the same runs, the same judgement.
    #[must_use]
    pub fn priced(speculation: Speculation, price: Price) -> Self {
        Self { price: Some(price), ..Self::new(speculation) }
    }

    /// How it drafts.
    #[must_use]
    pub fn speculation(&self) -> Speculation {
        self.speculation
    }

    /// What came of the drafts so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Time of a plain token over that of a drafted one in the latest rounds. None before both were seen.
    #[must_use]
    pub fn gain(&self) -> Option<f64> {
        self.payoff.gain()
    }

    /// Rounds after which drafting was given up, because plain decoding was faster.
    #[must_use]
    pub fn stopped_after(&self) -> Option<u32> {
        self.payoff.stopped_after()
    }
}

impl Prefilled<'_, '_> {
    /// Decodes like [`Prefilled::decode`], with drafts. All the layers that read the prompts check.
    pub fn speculate(self, drafter: &mut Drafter, stop: &AtomicBool) -> Result<DecodeReport, EngineError> {
        let (draft_layers, layers) = (drafter.speculation.draft_layers, self.layers);
        self.engine.model.require_exits()?;
        if !(1..layers).contains(&draft_layers) {
            return Err(EngineError::PartialDepth { what: "drafting", asked: draft_layers, limit: layers - 1 });
        }
        let depths = Depths { draft: draft_layers, check: layers };
        self.speculate_by(drafter, stop, |engine, running, first, drafts, statistics| {
            let moved = engine.context().moved();
            let tokens = engine.round(running, first, depths, drafts, statistics)?;
            statistics.repeated += engine.context().moved() - moved;
            Ok(tokens)
        })
    }

    /// Decodes in rounds, as long as they pay. `round` drafts so many tokens for each sequence, checks them, and returns the
    /// number of new tokens.
    pub(super) fn speculate_by(
        self,
        drafter: &mut Drafter,
        stop: &AtomicBool,
        mut round: impl FnMut(&mut Engine, &mut [Sequence], u32, usize, &mut Statistics) -> Result<usize, EngineError>,
    ) -> Result<DecodeReport, EngineError> {
        let Speculation { draft_tokens, always, .. } = drafter.speculation;
        let layers = self.layers;
        let batch = u32::try_from(self.sequences.len()).unwrap_or(u32::MAX);
        let limit = (self.engine.options.prefill_tokens / batch).saturating_sub(1);
        if !(1..=limit).contains(&draft_tokens) {
            return Err(EngineError::RunLimit { what: "drafts", asked: draft_tokens, limit });
        }
        let Drafter { payoff, statistics, price, .. } = drafter;
        self.run(stop, |engine, running, first| {
            let (started, passes) = (Instant::now(), engine.passes.len());
            let cost = |engine: &Engine| match &*price {
                None => started.elapsed(),
                Some(Price(price)) => engine.passes[passes..].iter().map(|&pass| price(pass)).sum(),
            };
            let room = running.iter().map(Sequence::remaining).min().unwrap_or(0);
            let drafts = (draft_tokens as usize).min(room.saturating_sub(1));
            // With a price both ways are known without trying the other.
            let judged = if price.is_some() { payoff.stopped_after().is_some() } else { payoff.next() == Next::Plain };
            if drafts == 0 || (!always && judged) {
                engine.step(running, first, layers)?;
                statistics.plain_steps += 1;
                payoff.plain(cost(engine), running.len());
                return Ok(());
            }
            let sequences = u32::try_from(running.len()).unwrap_or(u32::MAX);
            let tokens = round(engine, running, first, drafts, statistics)?;
            if !always {
                if let Some(Price(price)) = &*price {
                    let steps = tokens as f64 / f64::from(sequences);
                    payoff.plain(price(Pass { tokens: sequences, layers }).mul_f64(steps), tokens);
                }
                payoff.round(cost(engine), tokens);
            }
            Ok(())
        })
    }
}

/// Layers that draft, and layers that check.
#[derive(Clone, Copy)]
struct Depths {
    draft: u32,
    check: u32,
}

impl Engine<'_> {
    /// Drafts, checks, and returns the number of new tokens of all sequences together.
    fn round(
        &mut self,
        running: &mut [Sequence],
        first: u32,
        depths: Depths,
        drafts: usize,
        statistics: &mut Statistics,
    ) -> Result<usize, EngineError> {
        let (fed, hidden) = self.draft(running, first, depths.draft, drafts)?;
        self.batch.clear();
        let mut all = Hidden::default();
        for ((id, sequence), (fed, hidden)) in (first..).zip(&*running).zip(fed.iter().zip(&hidden)) {
            let (_, start) = sequence.next();
            self.context().truncate(id, start);
            for (&token, position) in fed.iter().zip(start..) {
                self.batch.push(token, position, id, true);
            }
            all.extend(hidden);
        }
        self.go_on(&all, depths.check, Reads::Exact)?;
        self.accept(running, first, depths.check, &fed, statistics)
    }

    /// Lets each sequence choose from the logits of what was fed to it, behind `layers`, as long as its choices are the
    /// drafts; the rest is taken out of the cache. Returns the number of new tokens of all sequences together.
    pub(super) fn accept(
        &mut self,
        running: &mut [Sequence],
        first: u32,
        layers: u32,
        fed: &[Vec<TokenId>],
        statistics: &mut Statistics,
    ) -> Result<usize, EngineError> {
        let before: usize = running.iter().map(|sequence| sequence.entropies.len()).sum();
        for ((nth, sequence), fed) in (0..).zip(&mut *running).zip(fed) {
            let (_, start) = sequence.next();
            let (id, rows) = (first + nth, nth as usize * fed.len()..);
            // The whole model says what follows each token that was fed. Behind a wrong draft nothing counts.
            for (row, (position, draft)) in rows.zip((start + 1..).zip(fed[1..].iter().map(Some).chain([None]))) {
                let token = self.choose_for(sequence, row, layers)?;
                statistics.accepted += u64::from(Some(&token) == draft);
                if sequence.stop.is_some() || Some(&token) != draft {
                    self.context().truncate(id, position);
                    break;
                }
            }
        }
        let tokens = running.iter().map(|sequence| sequence.entropies.len()).sum::<usize>() - before;
        statistics.rounds += 1;
        statistics.drafted += fed.iter().map(|fed| fed.len() as u64 - 1).sum::<u64>();
        statistics.round_tokens += tokens as u64;
        Ok(tokens)
    }

    /// Feeds each sequence its last token and then `drafts` tokens of its own choice through the first layers. Returns
    /// what was fed and the hidden states, both per sequence.
    fn draft(
        &mut self,
        running: &[Sequence],
        first: u32,
        draft_layers: u32,
        drafts: usize,
    ) -> Result<(Vec<Vec<TokenId>>, Vec<Hidden>), EngineError> {
        let mut fed: Vec<Vec<TokenId>> = running.iter().map(|sequence| vec![sequence.next().0]).collect();
        let mut hidden = vec![Hidden::default(); running.len()];
        for step in 0..=drafts {
            self.batch.clear();
            for ((id, sequence), fed) in (first..).zip(running).zip(&fed) {
                let position = sequence.next().1 + u32::try_from(step).unwrap_or(u32::MAX);
                // The last draft is checked like the others, but nothing is drafted behind it.
                self.batch.push(fed[step], position, id, step < drafts);
            }
            let kept = self.stop_behind(draft_layers, Reads::Exact)?;
            for (nth, hidden) in hidden.iter_mut().enumerate() {
                hidden.push(kept, nth);
            }
            if step < drafts {
                for (nth, (fed, sequence)) in fed.iter_mut().zip(running).enumerate() {
                    let best = self.best(nth, draft_layers, sequence.request)?;
                    fed.push(best);
                }
            }
        }
        Ok((fed, hidden))
    }
}
