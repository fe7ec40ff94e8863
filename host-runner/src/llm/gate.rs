//! Depth per token: a token leaves at a probe layer if the model is sure of it there, else it goes through all layers.
//!
//! A token that has left early has keys and values in the lower layers only. It is *pending*: its hidden state is kept,
//! and the first later token of its sequence that is not sure takes all pending ones along through the layers behind, in
//! one run. So every key and value that any layer ever reads is exact, and the only difference to the whole model is the
//! choice of the sure tokens. A sequence ends without its last pending tokens being finished: nobody reads them.
//!
//! With [`Deeper::Propagated`] nothing waits: the layers above make their keys and values from the hidden state with which
//! the token left, as if those layers had changed nothing (Schuster et al. 2022, CALM, section 3.1). That is cheaper and
//! approximate, and later tokens read it: the cache's ledger lets them in such a run only.

use super::cache::Reads;
use super::decode::DecodeReport;
use super::engine::Engine;
use super::error::EngineError;
use super::ffi::Hidden;
use super::prefill::Prefilled;
use super::sequence::Sequence;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Where tokens may leave, and how sure the model must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// Layers that every token runs, at least 1 and not all.
    pub first: u32,
    /// A second place to leave, deeper than the first. A full-vocabulary probe costs as much as several layers, so more
    /// than two do not pay.
    pub second: Option<u32>,
    /// A token leaves if the entropy of its distribution is below this, nats. 0 lets none leave.
    pub threshold: f32,
    /// Tokens of a sequence that may wait; the next one goes through all layers whatever it is. 0 lets none leave.
    /// Without meaning where nothing waits.
    pub max_pending: u32,
    /// Keys and values of tokens that leave, in the layers above.
    pub deeper: Deeper,
}

/// Where the keys and values of a token come from in the layers that it did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deeper {
    /// From those layers, run later, before anybody reads them: exact.
    #[default]
    Resumed,
    /// From the hidden state with which it left, at once: approximate.
    Propagated,
}

impl Deeper {
    /// What a later token may find above.
    fn reads(self) -> Reads {
        match self {
            Self::Resumed => Reads::Exact,
            Self::Propagated => Reads::Approximate,
        }
    }
}

/// What a gated run did.
#[derive(Debug, Clone, PartialEq)]
pub struct GateReport {
    /// Answers, runs and times; `layers` is that of the tokens that do not leave.
    pub decode: DecodeReport,
    /// Tokens by the number of layers behind which they were chosen: first, second, all. The first token of each answer,
    /// which comes from the prefill, is not among them.
    pub chosen: [u64; 3],
    /// Tokens that left and whose keys and values were propagated.
    pub propagated: u64,
    /// Uses of the output head, by rows.
    pub head_runs: u64,
    /// Resumes that had to run the lower layers again, because llama.cpp had moved the cells.
    pub repeated: u64,
}

impl GateReport {
    /// Layers that ran per token, the later ones of pending tokens included.
    #[must_use]
    pub fn mean_layers(&self) -> f64 {
        self.decode.layer_runs() as f64 / (self.chosen.iter().sum::<u64>() as f64).max(1.0)
    }
}

#[derive(Default)]
struct Counts {
    chosen: [u64; 3],
    propagated: u64,
    head_runs: u64,
}

impl Prefilled<'_, '_> {
    /// Decodes like [`Prefilled::decode`], each token as deep as it needs, at most as deep as the prompts were read.
    pub fn decode_gated(self, gate: &Gate, stop: &AtomicBool) -> Result<GateReport, EngineError> {
        let layers = self.layers;
        self.engine.model.require_exits()?;
        let below = gate.second.unwrap_or(layers);
        if gate.second.is_some() && !(2..layers).contains(&below) {
            return Err(EngineError::PartialDepth {
                what: "a second probe",
                asked: below,
                limit: layers.saturating_sub(1),
            });
        }
        if !(1..below).contains(&gate.first) {
            return Err(EngineError::PartialDepth { what: "a probe", asked: gate.first, limit: below - 1 });
        }
        if gate.threshold.is_nan() || gate.threshold < 0.0 {
            return Err(EngineError::Threshold { asked: gate.threshold });
        }
        let limit = self.engine.options.prefill_tokens - 1;
        if gate.max_pending > limit {
            return Err(EngineError::RunLimit { what: "pending tokens", asked: gate.max_pending, limit });
        }
        let moved = self.engine.context().moved();
        let mut counts = Counts::default();
        let mut repeated = 0;
        let decode = self.run(stop, |engine, running, first| {
            engine.step_gated(&mut Group { running, first, layers }, gate, &mut counts)?;
            repeated = engine.context().moved() - moved;
            Ok(())
        })?;
        let Counts { chosen, propagated, head_runs } = counts;
        Ok(GateReport { decode, chosen, propagated, head_runs, repeated })
    }
}

/// Pending tokens that wait behind the first probe, and behind the second; all of these come before all of those.
const FIRST: usize = 0;
const SECOND: usize = 1;

/// Sequences that run together.
struct Group<'a> {
    running: &'a mut [Sequence],
    /// llama.cpp's number of the first one.
    first: u32,
    /// Layers of a token that does not leave.
    layers: u32,
}

impl Group<'_> {
    /// Tokens of the sequence at `place` that wait at `level`.
    fn pending(&self, place: usize, level: usize) -> usize {
        self.running[place].pending[level].tokens.len()
    }

    /// llama.cpp's number of the sequence at `place`.
    fn id(&self, place: usize) -> u32 {
        self.first + u32::try_from(place).expect("a batch has at most 256 sequences")
    }
}

impl Engine<'_> {
    /// One token more for every sequence.
    fn step_gated(&mut self, group: &mut Group, gate: &Gate, counts: &mut Counts) -> Result<(), EngineError> {
        self.batch.clear();
        for (sequence, id) in group.running.iter().zip(group.first..) {
            let (token, position) = sequence.next();
            self.batch.push(token, position, id, true);
        }
        let kept = self.stop_behind(gate.first, gate.deeper.reads())?.clone();
        for (place, sequence) in group.running.iter_mut().enumerate() {
            sequence.pending[FIRST].push(sequence.next().0, &kept, place);
        }
        let unsure = self.probe(group, 0..group.running.len(), FIRST, gate, counts)?;
        let Some(second) = gate.second else {
            for places in self.cut(group, &unsure, FIRST) {
                self.finish(group, places, FIRST, gate, counts)?;
            }
            return Ok(());
        };
        let mut still_unsure = Vec::new();
        for places in self.cut(group, &unsure, FIRST) {
            self.go_deeper(group, places.clone(), FIRST, second, gate.deeper.reads())?;
            let kept = self.context().kept().clone();
            let mut rows = 0..;
            for sequence in &mut group.running[places.clone()] {
                for (token, row) in std::mem::take(&mut sequence.pending[FIRST]).tokens.into_iter().zip(&mut rows) {
                    sequence.pending[SECOND].push(token, &kept, row);
                }
            }
            still_unsure.extend(self.probe(group, places, SECOND, gate, counts)?);
        }
        for places in self.cut(group, &still_unsure, SECOND) {
            self.finish(group, places, SECOND, gate, counts)?;
        }
        Ok(())
    }

    /// Lets those of `places` leave that are sure by the logits of the last run, which are theirs. Returns the others.
    fn probe(
        &mut self,
        group: &mut Group,
        places: Range<usize>,
        level: usize,
        gate: &Gate,
        counts: &mut Counts,
    ) -> Result<Vec<usize>, EngineError> {
        let layers = if level == FIRST { gate.first } else { gate.second.unwrap_or(gate.first) };
        counts.head_runs += places.len() as u64;
        let (mut sure, mut unsure) = (Vec::new(), Vec::new());
        for (nth, place) in places.enumerate() {
            let sequence = &mut group.running[place];
            let waiting = sequence.pending.iter().map(|pending| pending.tokens.len()).sum::<usize>();
            let room = gate.deeper == Deeper::Propagated || waiting <= gate.max_pending as usize;
            if room && self.entropy(nth, layers, sequence.request)? < gate.threshold {
                self.choose_for(sequence, nth, layers)?;
                counts.chosen[level] += 1;
                sure.push(place);
            } else {
                unsure.push(place);
            }
        }
        if gate.deeper == Deeper::Propagated {
            // Of a sequence that has ended nobody reads anything.
            sure.retain(|&place| group.running[place].stop.is_none());
            for places in self.cut(group, &sure, level) {
                counts.propagated += places.len() as u64;
                let hidden = self.go_back(group, places.clone(), level);
                self.propagate(&hidden, group.layers)?;
                group.running[places].iter_mut().for_each(|sequence| sequence.pending[level].clear());
            }
        }
        Ok(unsure)
    }

    /// Cuts places into runs that llama.cpp takes as one graph: neighbours with equally many tokens at `level`.
    fn cut(&self, group: &Group, places: &[usize], level: usize) -> Vec<Range<usize>> {
        let most = |place: usize| self.options.prefill_tokens as usize / group.pending(place, level);
        let mut cuts: Vec<Range<usize>> = Vec::new();
        for &place in places {
            match cuts.last_mut() {
                Some(cut)
                    if cut.end == place
                        && group.pending(cut.start, level) == group.pending(place, level)
                        && cut.len() < most(place) =>
                {
                    cut.end += 1;
                }
                _ => cuts.push(place..place + 1),
            }
        }
        cuts
    }

    /// Takes the tokens that wait at `level` through all layers behind, and chooses what follows the last of each sequence.
    fn finish(
        &mut self,
        group: &mut Group,
        places: Range<usize>,
        level: usize,
        gate: &Gate,
        counts: &mut Counts,
    ) -> Result<(), EngineError> {
        let layers = group.layers;
        self.go_deeper(group, places.clone(), level, layers, gate.deeper.reads())?;
        counts.head_runs += places.len() as u64;
        for (nth, sequence) in group.running[places].iter_mut().enumerate() {
            self.choose_for(sequence, nth, layers)?;
            counts.chosen[2] += 1;
            sequence.pending[level].clear();
        }
        Ok(())
    }

    /// Runs the tokens that wait at `level` up to `layers`.
    fn go_deeper(
        &mut self,
        group: &Group,
        places: Range<usize>,
        level: usize,
        layers: u32,
        reads: Reads,
    ) -> Result<(), EngineError> {
        let hidden = self.go_back(group, places, level);
        self.go_on(&hidden, layers, reads)
    }

    /// Makes a batch of the tokens that wait at `level`, and takes them out of the cache. They are the last ones of their
    /// sequences; the very last of each wants logits.
    fn go_back(&mut self, group: &Group, places: Range<usize>, level: usize) -> Hidden {
        self.batch.clear();
        let mut hidden = Hidden::default();
        for place in places {
            let (id, pending) = (group.id(place), &group.running[place].pending[level]);
            let count = u32::try_from(pending.tokens.len()).expect("positions are below 2^31");
            let end = self.context().positions(id);
            self.context().truncate(id, end - count);
            for (&token, position) in pending.tokens.iter().zip(end - count..) {
                self.batch.push(token, position, id, position + 1 == end);
            }
            hidden.extend(&pending.hidden);
        }
        hidden
    }
}

#[cfg(test)]
mod tests;
