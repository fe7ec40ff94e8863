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
use super::sequence::{Pending, Sequence};
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
        counts.head_runs += running.len() as u64;
        let mut unsure = Vec::new();
        for (place, sequence) in running.iter_mut().enumerate() {
            let full = sequence.pending.tokens.len() >= gate.max_pending as usize;
            sequence.pending.push(sequence.next().0, &kept, place);
            if !full && self.entropy(place, gate.first, sequence.request)? < gate.threshold {
                self.choose_for(sequence, place, gate.first)?;
                counts.chosen[0] += 1;
            } else {
                unsure.push(place);
            }
        }
        for group in self.groups(running, &unsure) {
            self.finish(&mut running[group.clone()], group.start, gate, counts)?;
        }
        Ok(())
    }

    /// Cuts places into runs that llama.cpp takes as one graph: neighbours with equally many pending tokens.
    fn groups(&self, running: &[Sequence], places: &[usize]) -> Vec<Range<usize>> {
        let pending = |place: usize| running[place].pending.tokens.len();
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

    /// Takes the pending tokens of a group through the layers behind, and chooses what follows the last of each.
    fn finish(
        &mut self,
        group: &mut [Sequence],
        start: usize,
        gate: &Gate,
        counts: &mut Counts,
    ) -> Result<(), EngineError> {
        let layers = self.model.n_layer();
        let each = group[0].pending.tokens.len();
        let tokens = (group.len() * each) as u64;
        let mut hidden = Hidden::default();
        for sequence in &*group {
            hidden.extend(&sequence.pending.hidden);
        }
        let Some(second) = gate.second.filter(|_| each <= gate.max_pending as usize) else {
            counts.layer_runs += tokens * u64::from(layers - gate.first);
            return self.finish_from(group, start, &hidden, counts);
        };
        self.feed_pending(group, start);
        self.go_on(&hidden, second)?;
        counts.layer_runs += tokens * u64::from(second - gate.first);
        counts.head_runs += group.len() as u64;
        let kept = self.context().kept().clone();
        let mut unsure = Vec::new();
        for (nth, sequence) in group.iter_mut().enumerate() {
            if self.entropy(nth, second, sequence.request)? < gate.threshold {
                self.choose_for(sequence, nth, second)?;
                counts.chosen[1] += 1;
            } else {
                unsure.push(nth);
            }
        }
        for part in self.groups(group, &unsure) {
            let mut hidden = Hidden::default();
            for nth in part.start * each..part.end * each {
                hidden.push(&kept, nth);
            }
            counts.layer_runs += (part.len() * each) as u64 * u64::from(layers - second);
            self.finish_from(&mut group[part.clone()], start + part.start, &hidden, counts)?;
        }
        Ok(())
    }

    /// The last stretch: through the end of the model.
    fn finish_from(
        &mut self,
        group: &mut [Sequence],
        start: usize,
        hidden: &Hidden,
        counts: &mut Counts,
    ) -> Result<(), EngineError> {
        let layers = self.model.n_layer();
        self.feed_pending(group, start);
        self.go_on(hidden, layers)?;
        counts.head_runs += group.len() as u64;
        for (nth, sequence) in group.iter_mut().enumerate() {
            self.choose_for(sequence, nth, layers)?;
            counts.chosen[2] += 1;
            sequence.pending.clear();
        }
        Ok(())
    }

    /// Takes the pending tokens of neighbours out of the cache and puts them into the batch again.
    fn feed_pending(&mut self, group: &[Sequence], start: usize) {
        self.batch.clear();
        for (sequence, id) in group.iter().zip(u32::try_from(start).expect("a batch has at most 256 sequences")..) {
            let Pending { tokens, .. } = &sequence.pending;
            let count = u32::try_from(tokens.len()).expect("positions are below 2^31");
            let end = self.context().positions(id);
            self.context().truncate(id, end - count);
            for (&token, position) in tokens.iter().zip(end - count..) {
                self.batch.push(token, position, id, position + 1 == end);
            }
        }
    }
}
