//! One of the contexts that a training keeps side by side: it tries a group, moves on, and can be lived through again.

use super::group::{Group, Grouping};
use super::rollout::{Context, World};
use super::update::Policy;
use controller_core::action::Action;
use controller_core::rng::Pcg32;
use serde::{Deserialize, Serialize};

/// One group in so many goes on with any of its members, so that a policy finds back; the others go on as the policy
/// would, so that it learns in the states that it leads to, with the past that it will remember there.
const STRAY_ONE_IN: u32 = 4;

/// Where a context comes from and what was done in it. Contexts are made of seeds, and the trials of a group happen on
/// clones, so this is all that it takes to stand in the same context again, bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Past {
    /// The random stream before the context was drawn.
    birth: Pcg32,
    /// Actions, each with the turns it was held.
    held: Vec<(Action, u32)>,
    /// The random stream now.
    rng: Pcg32,
}

/// A context with a random stream of its own, so that threads do not matter.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    context: Context,
    /// How it came to be where it is.
    pub past: Past,
}

impl Lane {
    /// A context that the stream draws.
    pub fn new(world: &World, mut rng: Pcg32) -> Self {
        let birth = rng.clone();
        Self { context: Context::random(world, &mut rng), past: Past { birth, held: Vec::new(), rng } }
    }

    /// The context that a past leads to.
    pub fn relived(world: &World, past: Past) -> Self {
        let mut context = Context::random(world, &mut past.birth.clone());
        for &(action, turns) in &past.held {
            for _ in 0..turns {
                let (telemetry, _) = context.observe(world);
                context.act(world, &telemetry, action);
            }
        }
        Self { context, past }
    }

    /// Tries a group, then moves on for a few turns: as the policy would, or now and then with one of the members.
    pub fn advance(&mut self, world: &World, policy: &Policy<'_>, grouping: Grouping) -> Group {
        if self.context.is_over() {
            *self = Self::new(world, self.past.rng.clone());
        }
        let Self { context, past } = self;
        let (telemetry, group) = context.try_group(world, policy, grouping, &mut past.rng);
        let pick =
            past.rng.below(STRAY_ONE_IN * u32::try_from(group.actions.len()).expect("groups are small")) as usize;
        let action = group.actions.get(pick).copied().unwrap_or(group.base);
        context.act(world, &telemetry, action);
        let more = past.rng.below(8);
        for _ in 0..more {
            let (telemetry, _) = context.observe(world);
            context.act(world, &telemetry, action);
        }
        past.held.push((action, 1 + more));
        group
    }
}
