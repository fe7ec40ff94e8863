//! The largest logit of every head, while the logits stream by.

use super::image::{Header, Heads};
use super::kernel::{Sums, UNITS};
use crate::action::{Action, KNOBS, Knob};

/// Argmax over one or several heads. Of equal logits the first wins; padding never does.
pub struct Argmax {
    /// Logits of every head, in order; 0 for a head that does not exist.
    sizes: [usize; KNOBS],
    /// Chosen index of every head that is through.
    best: [usize; KNOBS],
    head: usize,
    /// The present head: its size, the position in it, and the highest logit so far with its index.
    size: usize,
    position: usize,
    index: usize,
    highest: i32,
}

impl Argmax {
    pub fn new(header: &Header) -> Self {
        let sizes = match header.heads {
            Heads::Joint => [header.actions.count(), 0, 0, 0, 0],
            Heads::Factored => header.actions.sizes(),
        };
        let [size, ..] = sizes;
        Self { sizes, best: [0; KNOBS], head: 0, size, position: 0, index: 0, highest: i32::MIN }
    }

    /// Takes the next four. Inside a large head hardly any are a new highest, and all that happens
    /// is one comparison of four.
    #[inline]
    pub fn push(&mut self, sums: Sums) {
        let behind = self.position + UNITS;
        if behind > self.size || sums.any_above(self.highest) {
            self.search(sums.to_array());
        } else {
            self.position = behind;
        }
    }

    /// Compares one by one, across the ends of heads.
    #[inline(never)]
    fn search(&mut self, logits: [i32; UNITS]) {
        for logit in logits {
            while self.position >= self.size && self.head < KNOBS {
                self.next_head();
            }
            self.compare(logit, self.position);
            self.position += 1;
        }
    }

    /// Behind the last head comes only padding, which never wins.
    fn next_head(&mut self) {
        if let Some(best) = self.best.get_mut(self.head) {
            *best = self.index;
        }
        self.head += 1;
        self.size = self.sizes.get(self.head).copied().unwrap_or(usize::MAX);
        (self.position, self.index, self.highest) = (0, 0, i32::MIN);
    }

    /// A head whose logits all are the smallest number there is keeps its index 0, the first.
    #[inline]
    const fn compare(&mut self, logit: i32, position: usize) {
        if logit > self.highest {
            (self.index, self.highest) = (position, logit);
        }
    }

    pub fn finish(mut self, header: &Header) -> Action {
        self.next_head();
        let [first, ..] = self.best;
        match header.heads {
            Heads::Joint => header.actions.action(first).unwrap_or_default(),
            Heads::Factored => {
                let mut action = Action::default();
                for (knob, best) in Knob::ALL.into_iter().zip(self.best) {
                    action.set(knob, u8::try_from(best).unwrap_or(0));
                }
                action
            }
        }
    }
}
