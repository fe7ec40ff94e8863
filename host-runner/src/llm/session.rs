//! Requests that come and go: each joins when there is room, runs at its own depth, and leaves when it is done.

use super::decode::Answer;
use super::engine::{Engine, Rows};
use super::error::EngineError;
use super::request::{Depth, Request};
use super::sequence::{Sequence, StopReason};

/// A request in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Continuous batching over an engine. Whatever ran before in the engine is forgotten.
///
/// All requests take their next token in the same run of the model, which goes as deep as the deepest of them; each
/// takes its own from its own depth.
pub struct Session<'engine, 'model> {
    engine: &'engine mut Engine<'model>,
    running: Vec<(Ticket, Sequence)>,
    next: u64,
}

impl<'model> Engine<'model> {
    /// Starts a session without requests.
    pub fn session(&mut self) -> Session<'_, 'model> {
        self.context().clear();
        Session { engine: self, running: Vec::new(), next: 0 }
    }
}

impl Session<'_, '_> {
    /// Requests that can still join.
    #[must_use]
    pub fn free(&self) -> usize {
        self.engine.options.max_batch as usize - self.running.len()
    }

    /// Reads the prompt of a request and chooses its first token.
    pub fn submit(&mut self, request: &Request, depth: Depth) -> Result<Ticket, EngineError> {
        if self.free() == 0 {
            return Err(EngineError::Busy { limit: self.engine.options.max_batch });
        }
        let depth = self.engine.layers_of(depth)?;
        let ticket = Ticket(self.next);
        let mut sequence = self.engine.admit_one(usize::try_from(ticket.0).unwrap_or(usize::MAX), request)?;
        sequence.depth = depth;
        let id = u32::try_from(self.running.len()).expect("a batch has at most 256 sequences");
        if let Err(error) = self.engine.read_one(&mut sequence, id) {
            self.engine.context().remove(id);
            return Err(error);
        }
        self.next += 1;
        self.running.push((ticket, sequence));
        Ok(ticket)
    }

    /// Ends a request; its answer, as far as it came, is among those of the next step. False if it has ended before.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let running = self.running.iter_mut().find(|(other, _)| *other == ticket);
        running.map(|(_, sequence)| sequence.stop.get_or_insert(StopReason::Cancelled)).is_some()
    }

    /// One token more for every request that has not ended, and the answers of those that have. An error ends all
    /// requests, without answers: some have taken their token by then and some have not. The session goes on, empty.
    pub fn step(&mut self) -> Result<Vec<(Ticket, Answer)>, EngineError> {
        let stepped = self.try_step();
        if stepped.is_err() {
            self.running.clear();
            self.engine.context().clear();
        }
        stepped
    }

    fn try_step(&mut self) -> Result<Vec<(Ticket, Answer)>, EngineError> {
        let mut answers = self.collect();
        if !self.running.is_empty() {
            let Self { engine, running, .. } = self;
            engine.passes.clear();
            match engine.options.rows {
                Rows::Together => engine.step_each(running.iter_mut().map(|(_, sequence)| sequence))?,
                Rows::Alone => {
                    for ((_, sequence), id) in running.iter_mut().zip(0..) {
                        let depth = sequence.depth;
                        engine.step(std::slice::from_mut(sequence), id, depth)?;
                    }
                }
            }
            answers.extend(self.collect());
        }
        Ok(answers)
    }

    /// Takes out those that have ended. The last one takes the place of one that leaves, with its KV cache.
    fn collect(&mut self) -> Vec<(Ticket, Answer)> {
        let mut answers = Vec::new();
        for place in (0..self.running.len()).rev() {
            if self.running[place].1.stop.is_none() {
                continue;
            }
            self.engine.vacate(place, self.running.len() - 1);
            let (ticket, sequence) = self.running.swap_remove(place);
            answers.push((ticket, self.engine.answer(sequence)));
        }
        answers.reverse();
        answers
    }
}

impl Engine<'_> {
    /// Runs a prompt as sequence `id` and chooses the first token of the answer. Returns the number of steps.
    pub(super) fn read_one(&mut self, sequence: &mut Sequence, id: u32) -> Result<u32, EngineError> {
        let length = sequence.prompt.len();
        let (mut done, mut steps) = (0, 0);
        while done < length {
            let end = length.min(done + self.options.prefill_tokens as usize);
            self.batch.clear();
            for (&token, position) in sequence.prompt[..end].iter().zip(0..).skip(done) {
                self.batch.push(token, position, id, position as usize + 1 == length);
            }
            self.forward(sequence.depth)?;
            done = end;
            steps += 1;
        }
        let depth = sequence.depth;
        self.choose_for(sequence, 0, depth)?;
        Ok(steps)
    }

    /// One token more for every sequence, each at its own depth.
    fn step_each<'s>(&mut self, running: impl Iterator<Item = &'s mut Sequence>) -> Result<(), EngineError> {
        self.batch.clear();
        let mut sequences: Vec<_> = running.collect();
        for (sequence, id) in sequences.iter().zip(0..) {
            let (token, position) = sequence.next();
            self.batch.push(token, position, id, true);
        }
        let depths: Vec<u32> = sequences.iter().map(|sequence| sequence.depth).collect();
        self.forward_each(&depths)?;
        for (nth, sequence) in sequences.iter_mut().enumerate() {
            let depth = sequence.depth;
            self.choose_for(sequence, nth, depth)?;
        }
        Ok(())
    }
}
