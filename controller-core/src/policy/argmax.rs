//! The largest logit of every head, while the logits stream by.

use super::image::Heads;
use super::kernel::{Sums, UNITS};
use super::network::logits;
use crate::action::{Action, KNOBS, Knob};

/// Argmax over one or several heads. Of equal logits the first wins; padding never does.
pub struct Argmax {
    heads: Heads,
    /// Values of every knob.
    knobs: [usize; KNOBS],
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
    pub fn new(heads: Heads, knobs: [usize; KNOBS]) -> Self {
        let sizes = match heads {
            Heads::Joint => [logits(heads, knobs), 0, 0, 0, 0],
            Heads::Factored => knobs,
        };
        let [size, ..] = sizes;
        Self { heads, knobs, sizes, best: [0; KNOBS], head: 0, size, position: 0, index: 0, highest: i32::MIN }
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

    pub fn finish(mut self) -> Action {
        self.next_head();
        let mut best = self.best;
        if self.heads == Heads::Joint {
            // The last knob is the innermost digit.
            let [mut rest, ..] = best;
            for (digit, size) in best.iter_mut().rev().zip(self.knobs.into_iter().rev()) {
                (*digit, rest) = (rest % size.max(1), rest / size.max(1));
            }
        }
        let mut action = Action::default();
        for (knob, best) in Knob::ALL.into_iter().zip(best) {
            action.set(knob, u8::try_from(best).unwrap_or(0));
        }
        action
    }
}
