//! The largest logit of every head, while the logits stream by.

use super::image::{Header, Heads};
use super::kernel::UNITS;
use crate::action::{Action, KNOBS, Knob};

/// Argmax over one or several heads. Of equal logits the first wins; padding never does.
pub struct Argmax {
    /// Logits of every head, in order.
    sizes: [usize; KNOBS],
    best: [usize; KNOBS],
    head: usize,
    /// Position within the head.
    position: usize,
    highest: i32,
}

impl Argmax {
    pub fn new(header: &Header) -> Self {
        let sizes = match header.heads {
            Heads::Joint => [header.actions.count(), 0, 0, 0, 0],
            Heads::Factored => header.actions.head_sizes(),
        };
        Self { sizes, best: [0; KNOBS], head: 0, position: 0, highest: i32::MIN }
    }

    pub fn push(&mut self, logits: [i32; UNITS]) {
        let left = self.sizes.get(self.head).map_or(0, |size| size.saturating_sub(self.position));
        if left >= UNITS {
            // All four belong to the same head, as nearly always in a large one.
            for logit in logits {
                self.compare(logit);
            }
        } else {
            for logit in logits {
                while self.sizes.get(self.head).is_some_and(|&size| self.position >= size) {
                    (self.head, self.position, self.highest) = (self.head + 1, 0, i32::MIN);
                }
                self.compare(logit);
            }
        }
    }

    fn compare(&mut self, logit: i32) {
        // A head whose logits all are the smallest number there is keeps its index 0, the first.
        if logit > self.highest
            && let Some(best) = self.best.get_mut(self.head)
        {
            (*best, self.highest) = (self.position, logit);
        }
        self.position += 1;
    }

    pub fn finish(&self, header: &Header) -> Action {
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
