//! What a policy thinks of every action, not only of the best: for exploring, for on-board
//! training, and for choosing under a mask.

use super::image::{Header, Heads};
use super::softmax::Softmax;
use crate::action::{Action, ActionMask, ActionSpace, Knob};
use crate::reward::Fixed;
use crate::rng::Pcg32;
use core::fmt;

/// Why there is no distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistributionError {
    /// The buffer cannot hold the logits.
    BufferTooSmall {
        /// Logits of the policy.
        needed: usize,
    },
    /// The mask forbids every value of a knob.
    NothingAllowed(Knob),
}

impl fmt::Display for DistributionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { needed } => {
                write!(f, "the policy has {needed} logits; give a buffer of at least that many")
            }
            Self::NothingAllowed(knob) => write!(f, "the mask forbids every value of the {knob}; allow at least one"),
        }
    }
}

impl core::error::Error for DistributionError {}

/// A drawn action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The action.
    pub action: Action,
    /// Natural logarithm of its probability.
    pub log_probability: Fixed,
}

/// The probabilities of all allowed actions for one observation.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    header: &'a Header,
    mask: ActionMask,
    logits: &'a [i32],
}

impl<'a> Distribution<'a> {
    pub(super) fn new(header: &'a Header, mask: ActionMask, logits: &'a [i32]) -> Result<Self, DistributionError> {
        let blocked = |knob: &Knob| !(0..=header.actions.last(*knob)).any(|index| mask.allows_value(*knob, index));
        match Knob::ALL.into_iter().find(blocked) {
            Some(knob) => Err(DistributionError::NothingAllowed(knob)),
            None => Ok(Self { header, mask, logits }),
        }
    }

    /// The logits, all of them, in the order of the image.
    #[must_use]
    pub const fn logits(&self) -> &'a [i32] {
        self.logits
    }

    /// The allowed action with the largest logit of every head; ties go to the lowest index.
    #[must_use]
    pub fn greedy(&self) -> Action {
        self.choose(Head::highest)
    }

    /// Draws an allowed action by its probability.
    pub fn sample(&self, rng: &mut Pcg32) -> Sample {
        let action = self.choose(|head| head.draw(rng));
        // What was just chosen is allowed, so the fallback is never taken.
        Sample { action, log_probability: self.log_probability(action).unwrap_or(Fixed::MIN) }
    }

    /// Natural logarithm of the probability of an action, right to 2e-6 a head; `None` when it is
    /// not allowed or outside the action space.
    #[must_use]
    pub fn log_probability(&self, action: Action) -> Option<Fixed> {
        let actions = &self.header.actions;
        let joint = actions.index(action).filter(|_| self.mask.allows(action))?;
        match self.header.heads {
            Heads::Joint => self.joint_head().log_probability(joint),
            Heads::Factored => self.factored_heads().try_fold(Fixed::ZERO, |sum, (knob, head)| {
                Some(sum.saturating_add(head.log_probability(usize::from(action.get(knob)))?))
            }),
        }
    }

    fn choose(&self, mut pick: impl FnMut(Head<'a>) -> Option<usize>) -> Action {
        match self.header.heads {
            Heads::Joint => {
                let index = pick(self.joint_head()).unwrap_or(0);
                self.header.actions.action(index).unwrap_or_default()
            }
            Heads::Factored => {
                let mut action = Action::default();
                for (knob, head) in self.factored_heads() {
                    action.set(knob, pick(head).and_then(|index| u8::try_from(index).ok()).unwrap_or(0));
                }
                action
            }
        }
    }

    fn joint_head(&self) -> Head<'a> {
        let allowed = Allowed::Actions(&self.header.actions, self.mask);
        Head { logits: self.logits, logit_bits: self.header.logit_bits, allowed }
    }

    /// The heads that have logits, with their knobs.
    fn factored_heads(&self) -> impl Iterator<Item = (Knob, Head<'a>)> {
        let (mask, logit_bits) = (self.mask, self.header.logit_bits);
        let heads = Knob::ALL.into_iter().zip(self.header.actions.sizes());
        heads
            .scan(self.logits, move |rest, (knob, size)| {
                let (logits, tail) = rest.split_at_checked(size)?;
                *rest = tail;
                Some((knob, Head { logits, logit_bits, allowed: Allowed::Values(knob, mask) }))
            })
            .filter(|(_, head)| !head.logits.is_empty())
    }
}

/// Which positions of a head may be chosen.
#[derive(Clone, Copy)]
enum Allowed<'a> {
    Values(Knob, ActionMask),
    Actions(&'a ActionSpace, ActionMask),
}

impl Allowed<'_> {
    fn contains(self, index: usize) -> bool {
        match self {
            Self::Values(knob, mask) => u8::try_from(index).is_ok_and(|index| mask.allows_value(knob, index)),
            Self::Actions(actions, mask) => actions.action(index).is_some_and(|action| mask.allows(action)),
        }
    }
}

#[derive(Clone, Copy)]
struct Head<'a> {
    logits: &'a [i32],
    logit_bits: u8,
    allowed: Allowed<'a>,
}

impl<'a> Head<'a> {
    /// Positions and logits that may be chosen.
    fn candidates(self) -> impl Iterator<Item = (usize, i32)> + Clone + 'a {
        self.logits.iter().copied().enumerate().filter(move |(index, _)| self.allowed.contains(*index))
    }

    fn highest(self) -> Option<usize> {
        let best = self.candidates().reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(index, _)| index)
    }

    fn softmax(self) -> Option<Softmax> {
        Softmax::of(self.candidates().map(|(_, logit)| logit), self.logit_bits)
    }

    fn draw(self, rng: &mut Pcg32) -> Option<usize> {
        let nth = self.softmax()?.draw(self.candidates().map(|(_, logit)| logit), rng)?;
        self.candidates().nth(nth).map(|(index, _)| index)
    }

    fn log_probability(self, index: usize) -> Option<Fixed> {
        let logit = *self.logits.get(index)?;
        Some(self.softmax()?.log_probability(logit))
    }
}
