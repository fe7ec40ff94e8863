//! Which layers of the KV cache hold exact keys and values.
//!
//! A token that leaves behind layer `k` writes keys and values in the layers below `k` only; what lies in its cells
//! above is old. Nothing in llama.cpp notices when a later token goes deeper and attends to that: the answer is just
//! wrong. So every context keeps this ledger, and the one place that starts a graph asks it first.

/// Why a token may not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CacheError {
    /// Positions of a sequence come one after the other.
    #[error("sequence {sequence} holds {held} positions, so the next one is not {position}")]
    Position { sequence: u32, held: u32, position: u32 },
    /// An earlier token left before.
    #[error("sequence {sequence} is exact in {exact} layers only and cannot go on at depth {depth}")]
    Stale { sequence: u32, exact: u32, depth: u32 },
}

/// The ledger of one context: for every position of every sequence the number of layers that are exact there.
///
/// Within a sequence these numbers never rise. A token in exact layers only attends to exact ones, so it cannot be
/// exact in more layers than any token before it: the last number bounds all.
#[derive(Debug, Clone)]
pub(super) struct ExactLayers(Vec<Vec<u32>>);

impl ExactLayers {
    /// Empty, for `sequences` sequences.
    pub(super) fn new(sequences: u32) -> Self {
        Self(vec![Vec::new(); sequences as usize])
    }

    /// Positions of a sequence.
    pub(super) fn len(&self, sequence: u32) -> u32 {
        u32::try_from(self.0[sequence as usize].len()).expect("positions are below 2^31")
    }

    /// Layers that are exact at every position of a sequence; `u32::MAX` for an empty one.
    pub(super) fn depth(&self, sequence: u32) -> u32 {
        self.0[sequence as usize].last().copied().unwrap_or(u32::MAX)
    }

    /// Whether the next position of a sequence may run in `depth` layers.
    pub(super) fn check(&self, sequence: u32, position: u32, depth: u32) -> Result<(), CacheError> {
        let (held, exact) = (self.len(sequence), self.depth(sequence));
        if position != held {
            return Err(CacheError::Position { sequence, held, position });
        }
        if depth > exact { Err(CacheError::Stale { sequence, exact, depth }) } else { Ok(()) }
    }

    /// A position more, of which `layers` layers have run.
    pub(super) fn push(&mut self, sequence: u32, layers: u32) {
        let exact = layers.min(self.depth(sequence));
        self.0[sequence as usize].push(exact);
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
    use proptest::prelude::*;

    #[test]
    fn nobody_goes_deeper_than_those_before() {
        let mut cache = ExactLayers::new(2);
        cache.push(0, 16);
        cache.push(0, 9);
        assert_eq!(cache.check(0, 2, 9), Ok(()));
        assert_eq!(cache.check(0, 2, 10), Err(CacheError::Stale { sequence: 0, exact: 9, depth: 10 }));
        assert_eq!(cache.check(0, 1, 9), Err(CacheError::Position { sequence: 0, held: 2, position: 1 }));
        assert_eq!(cache.check(1, 0, 16), Ok(()), "another sequence");
        // In layers that ran over old cells the token is not exact, though they ran.
        cache.push(0, 16);
        assert_eq!(cache.depth(0), 9);
        cache.truncate(0, 1);
        assert_eq!(cache.check(0, 1, 16), Ok(()));
        cache.rename(0, 1);
        assert_eq!((cache.len(0), cache.len(1)), (0, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against the definition: a layer of a token is exact if it ran and was exact in all tokens before.
        #[test]
        fn the_ledger_is_the_definition(runs in prop::collection::vec((1_u32..17, any::<bool>()), 0..60)) {
            let (mut cache, mut model) = (ExactLayers::new(1), Vec::<[bool; 16]>::new());
            for (layers, cut) in runs {
                if cut {
                    let kept = model.len() / 2;
                    model.truncate(kept);
                    cache.truncate(0, u32::try_from(kept).unwrap());
                }
                let exact = |layer: usize| layer < layers as usize && model.iter().all(|row| row[layer]);
                model.push(std::array::from_fn(exact));
                cache.push(0, layers);
                let exact_everywhere = (0..16).take_while(|&layer| model.iter().all(|row| row[layer])).count();
                prop_assert_eq!(cache.depth(0) as usize, exact_everywhere);
            }
        }
    }
}
