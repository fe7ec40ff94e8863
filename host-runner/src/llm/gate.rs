//! Depth per token: a token leaves at a probe layer if the model is sure of it there, else it goes through all layers.
//!
//! A token that has left early has keys and values in the lower layers only. It is *pending*: its hidden state is kept,
//! and the first later token of its sequence that is not sure takes all pending ones along through the layers behind, in
//! one run. So every key and value that any layer ever reads is exact, and the only difference to the whole model is the
//! choice of the sure tokens. A sequence ends without its last pending tokens being finished: nobody reads them.
//!
//! (Schuster et al. 2022, CALM, leave by confidence too, and fill the cache above with copies, which is approximate.)

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
    pub max_pending: u32,
}

/// What a gated run did.
#[derive(Debug, Clone, PartialEq)]
pub struct GateReport {
    /// Answers and times; `layers` is that of the whole model.
    pub decode: DecodeReport,
    /// Tokens by the number of layers behind which they were chosen: first, second, all. The first token of each answer,
    /// which comes from the prefill, is not among them.
    pub chosen: [u64; 3],
    /// Layers that ran, by tokens, the later ones of pending tokens included.
    pub layer_runs: u64,
    /// Uses of the output head, by rows.
    pub head_runs: u64,
    /// Resumes that had to run the lower layers again, because llama.cpp had moved the cells.
    pub repeated: u64,
}

impl GateReport {
    /// Layers that ran per token.
    #[must_use]
    pub fn mean_layers(&self) -> f64 {
        self.layer_runs as f64 / (self.chosen.iter().sum::<u64>() as f64).max(1.0)
    }
}

#[derive(Default)]
struct Counts {
    chosen: [u64; 3],
    layer_runs: u64,
    head_runs: u64,
}

impl Prefilled<'_, '_> {
    /// Decodes like [`Prefilled::decode`], each token as deep as it needs. The prompts must have been read at full depth.
    pub fn decode_gated(self, gate: &Gate, stop: &AtomicBool) -> Result<GateReport, EngineError> {
        let layers = self.engine.full_depth(self.layers)?;
        let below = gate.second.unwrap_or(layers);
        if gate.second.is_some() && !(2..layers).contains(&below) {
            return Err(EngineError::PartialDepth { what: "a second probe", asked: below, limit: layers - 1 });
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
        let decode = self.run(stop, |engine, running| {
            engine.step_gated(running, gate, &mut counts)?;
            repeated = engine.context().moved() - moved;
            Ok(())
        })?;
        let Counts { chosen, layer_runs, head_runs } = counts;
        Ok(GateReport { decode, chosen, layer_runs, head_runs, repeated })
    }
}

/// Pending tokens that wait behind the first probe, and behind the second; all of these come before all of those.
const FIRST: usize = 0;
const SECOND: usize = 1;

impl Engine<'_> {
    /// One token more for every sequence.
    fn step_gated(&mut self, running: &mut [Sequence], gate: &Gate, counts: &mut Counts) -> Result<(), EngineError> {
        self.batch.clear();
        for (sequence, id) in running.iter().zip(0..) {
            let (token, position) = sequence.next();
            self.batch.push(token, position, id, true);
        }
        let kept = self.stop_behind(gate.first)?.clone();
        counts.layer_runs += running.len() as u64 * u64::from(gate.first);
        for (place, sequence) in running.iter_mut().enumerate() {
            sequence.pending[FIRST].push(sequence.next().0, &kept, place);
        }
        let unsure = self.probe(running, 0..running.len(), FIRST, gate, counts)?;
        let Some(second) = gate.second else {
            for group in self.groups(running, &unsure, FIRST) {
                self.finish(&mut running[group.clone()], group.start, FIRST, gate.first, counts)?;
            }
            return Ok(());
        };
        let mut still_unsure = Vec::new();
        for group in self.groups(running, &unsure, FIRST) {
            let tokens = self.go_deeper(&running[group.clone()], group.start, FIRST, second)?;
            counts.layer_runs += tokens * u64::from(second - gate.first);
            let kept = self.context().kept().clone();
            let mut rows = 0..;
            for sequence in &mut running[group.clone()] {
                for (token, row) in std::mem::take(&mut sequence.pending[FIRST]).tokens.into_iter().zip(&mut rows) {
                    sequence.pending[SECOND].push(token, &kept, row);
                }
            }
            still_unsure.extend(self.probe(running, group, SECOND, gate, counts)?);
        }
        for group in self.groups(running, &still_unsure, SECOND) {
            self.finish(&mut running[group.clone()], group.start, SECOND, second, counts)?;
        }
        Ok(())
    }

    /// Lets those of `places` leave that are sure by the logits of the last run, which are theirs. Returns the others.
    fn probe(
        &mut self,
        running: &mut [Sequence],
        places: Range<usize>,
        level: usize,
        gate: &Gate,
        counts: &mut Counts,
    ) -> Result<Vec<usize>, EngineError> {
        let layers = if level == FIRST { gate.first } else { gate.second.unwrap_or(gate.first) };
        counts.head_runs += places.len() as u64;
        let mut unsure = Vec::new();
        for (nth, place) in places.enumerate() {
            let sequence = &mut running[place];
            let room =
                sequence.pending.iter().map(|pending| pending.tokens.len()).sum::<usize>() <= gate.max_pending as usize;
            if room && self.entropy(nth, layers, sequence.request)? < gate.threshold {
                self.choose_for(sequence, nth, layers)?;
                counts.chosen[level] += 1;
            } else {
                unsure.push(place);
            }
        }
        Ok(unsure)
    }

    /// Cuts places into runs that llama.cpp takes as one graph: neighbours with equally many tokens at `level`.
    fn groups(&self, running: &[Sequence], places: &[usize], level: usize) -> Vec<Range<usize>> {
        let pending = |place: usize| running[place].pending[level].tokens.len();
        let most = |place: usize| self.options.prefill_tokens as usize / pending(place);
        let mut groups: Vec<Range<usize>> = Vec::new();
        for &place in places {
            match groups.last_mut() {
                Some(group)
                    if group.end == place && pending(group.start) == pending(place) && group.len() < most(place) =>
                {
                    group.end += 1;
                }
                _ => groups.push(place..place + 1),
            }
        }
        groups
    }

    /// Takes the tokens of a group that wait at `level` through all layers behind, and chooses what follows the last of
    /// each sequence.
    fn finish(
        &mut self,
        group: &mut [Sequence],
        start: usize,
        level: usize,
        from: u32,
        counts: &mut Counts,
    ) -> Result<(), EngineError> {
        let layers = self.model.n_layer();
        counts.layer_runs += self.go_deeper(group, start, level, layers)? * u64::from(layers - from);
        counts.head_runs += group.len() as u64;
        for (nth, sequence) in group.iter_mut().enumerate() {
            self.choose_for(sequence, nth, layers)?;
            counts.chosen[2] += 1;
            sequence.pending[level].clear();
        }
        Ok(())
    }

    /// Runs the tokens of a group that wait at `level` up to `layers`, and returns their number. They are the last ones of
    /// their sequences; the very last of each wants logits.
    fn go_deeper(&mut self, group: &[Sequence], start: usize, level: usize, layers: u32) -> Result<u64, EngineError> {
        self.batch.clear();
        let mut hidden = Hidden::default();
        for (sequence, id) in group.iter().zip(u32::try_from(start).expect("a batch has at most 256 sequences")..) {
            let pending = &sequence.pending[level];
            let count = u32::try_from(pending.tokens.len()).expect("positions are below 2^31");
            let end = self.context().positions(id);
            self.context().truncate(id, end - count);
            for (&token, position) in pending.tokens.iter().zip(end - count..) {
                self.batch.push(token, position, id, position + 1 == end);
            }
            hidden.extend(&pending.hidden);
        }
        self.go_on(&hidden, layers)?;
        Ok(hidden.cells.len() as u64)
    }
}
