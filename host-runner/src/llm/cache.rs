//! Which layers of the KV cache hold exact keys and values.
//!
//! A token that leaves behind layer `k` writes keys and values in the layers below `k` only; what lies in its cells
//! above is old. Nothing in llama.cpp notices when a later token goes deeper and attends to that: the answer is just
//! wrong. So every context keeps this ledger, and the one place that starts a graph asks it first.
//!
//! A layer that a token did not run may have been given an approximation of its keys and values (see [`super::gate`]).
//! That is written, not exact: a run reads it only if it says so.

/// Why a token may not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CacheError {
    /// Positions of a sequence come one after the other.
    #[error("sequence {sequence} holds {held} positions, so the next one is not {position}")]
    Position { sequence: u32, held: u32, position: u32 },
    /// An earlier token left before.
    #[error("sequence {sequence} can be read in {layers} layers only and cannot go on at depth {depth}")]
    Stale { sequence: u32, layers: u32, depth: u32 },
}

/// What a run may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// What those layers themselves have written for all tokens before.
    Exact,
    /// Approximations too.
    Approximate,
}

/// Layers of one position, from the first on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    exact: u32,
    /// Exact or approximate; never fewer than `exact`.
    written: u32,
}

/// The ledger of one context: for every position of every sequence the number of layers that are exact there, and of
/// those that hold anything for this token.
///
/// Within a sequence these numbers never rise. A token in exact layers only attends to exact ones, so it cannot be
/// exact in more layers than any token before it: the last number bounds all.
#[derive(Debug, Clone)]
pub(super) struct ExactLayers(Vec<Vec<Held>>);

impl ExactLayers {
    /// Empty, for `sequences` sequences.
    pub(super) fn new(sequences: u32) -> Self {
        Self(vec![Vec::new(); sequences as usize])
    }

    /// Positions of a sequence.
    pub(super) fn len(&self, sequence: u32) -> u32 {
        u32::try_from(self.0[sequence as usize].len()).expect("positions are below 2^31")
    }

    /// Layers that may be read at every position of a sequence; `u32::MAX` for an empty one.
    pub(super) fn depth(&self, sequence: u32, reads: Reads) -> u32 {
        let held = self.0[sequence as usize].last();
        held.map_or(u32::MAX, |held| match reads {
            Reads::Exact => held.exact,
            Reads::Approximate => held.written,
        })
    }

    /// Whether the next position of a sequence may run in `depth` layers.
    pub(super) fn check(&self, sequence: u32, position: u32, depth: u32, reads: Reads) -> Result<(), CacheError> {
        let (held, layers) = (self.len(sequence), self.depth(sequence, reads));
        if position != held {
            return Err(CacheError::Position { sequence, held, position });
        }
        if depth > layers { Err(CacheError::Stale { sequence, layers, depth }) } else { Ok(()) }
    }

    /// A position more, of which `ran` layers have run, and `written` (at least as many) hold something.
    pub(super) fn push(&mut self, sequence: u32, ran: u32, written: u32) {
        let exact = ran.min(self.depth(sequence, Reads::Exact));
        let written = written.min(self.depth(sequence, Reads::Approximate));
        self.0[sequence as usize].push(Held { exact, written });
    }

    /// Keeps the first `positions` positions of a sequence.
    pub(super) fn truncate(&mut self, sequence: u32, positions: u32) {
        self.0[sequence as usize].truncate(positions as usize);
    }

    /// The positions of `from` become those of `to`.
    pub(super) fn rename(&mut self, from: u32, to: u32) {
        self.0[to as usize] = std::mem::take(&mut self.0[from as usize]);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reads::{Approximate, Exact};
    use proptest::prelude::*;

    #[test]
    fn nobody_goes_deeper_than_those_before() {
        let mut cache = ExactLayers::new(2);
        cache.push(0, 16, 16);
        cache.push(0, 9, 9);
        assert_eq!(cache.check(0, 2, 9, Exact), Ok(()));
        for reads in [Exact, Approximate] {
            assert_eq!(cache.check(0, 2, 10, reads), Err(CacheError::Stale { sequence: 0, layers: 9, depth: 10 }));
        }
        assert_eq!(cache.check(0, 1, 9, Exact), Err(CacheError::Position { sequence: 0, held: 2, position: 1 }));
        assert_eq!(cache.check(1, 0, 16, Exact), Ok(()), "another sequence");
        // In layers that ran over old cells the token is not exact, though they ran.
        cache.push(0, 16, 16);
        assert_eq!(cache.depth(0, Exact), 9);
        cache.truncate(0, 1);
        assert_eq!(cache.check(0, 1, 16, Exact), Ok(()));
        cache.rename(0, 1);
        assert_eq!((cache.len(0), cache.len(1)), (0, 1));
    }

    #[test]
    fn what_is_approximate_is_read_by_those_who_say_so() {
        let mut cache = ExactLayers::new(1);
        cache.push(0, 9, 16);
        assert_eq!(cache.check(0, 1, 16, Exact), Err(CacheError::Stale { sequence: 0, layers: 9, depth: 16 }));
        assert_eq!(cache.check(0, 1, 16, Approximate), Ok(()));
        // Whoever has read approximations is one, in the layers where he did.
        cache.push(0, 16, 16);
        assert_eq!((cache.depth(0, Exact), cache.depth(0, Approximate)), (9, 16));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against the definition: a layer of a token is exact if it ran and was exact in all tokens before, and it is
        /// readable if it was written for this token and for all before.
        #[test]
        fn the_ledger_is_the_definition(runs in prop::collection::vec((1_u32..17, 0_u32..8, any::<bool>()), 0..60)) {
            let (mut cache, mut model) = (ExactLayers::new(1), Vec::<[(bool, bool); 16]>::new());
            for (ran, more, cut) in runs {
                if cut {
                    let kept = model.len() / 2;
                    model.truncate(kept);
                    cache.truncate(0, u32::try_from(kept).unwrap());
                }
                let written = (ran + more).min(16);
                let exact = |layer: usize| layer < ran as usize && model.iter().all(|row| row[layer].0);
                model.push(std::array::from_fn(|layer| (exact(layer), layer < written as usize)));
                cache.push(0, ran, written);
                let exact = (0..16).take_while(|&layer| model.iter().all(|row| row[layer].0)).count();
                let readable = (0..16).take_while(|&layer| model.iter().all(|row| row[layer].1)).count();
                prop_assert_eq!(cache.depth(0, Exact) as usize, exact);
                prop_assert_eq!(cache.depth(0, Approximate) as usize, readable);
            }
        }
    }
}
