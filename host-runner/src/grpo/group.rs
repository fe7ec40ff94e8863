//! Groups: which actions are compared, what each counts, and how far each lies above the others.

use super::advantage::{of_distribution, spread};
use super::heads::Heads;
use controller_core::action::{Action, Knob};
use controller_core::rng::Pcg32;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How the members of a group are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grouping {
    /// Different actions drawn from the policy, so many. The only way for a joint policy; a sure one finds few.
    Drawn(usize),
    /// One knob, chosen by lot, over all its likely values and the neighbours of the likeliest, the others at an action of
    /// the policy; each member counts with its probability. For a factored policy.
    Knob,
    /// The same, always this one.
    Only(Knob),
}

/// Values of a knob less probable than this are not tried.
const LIKELY: f64 = 0.01;
/// One group in so many is built around a drawn action, the others around the most probable one: a frozen policy takes
/// the most probable.
const EXPLORE_ONE_IN: u32 = 4;
/// A value that does better than the policy may expect counts at least so much, however improbable it is.
const PROMISING: f64 = 0.03;
const TICKETS: u32 = 10;
/// Tickets of the knobs in the lot that decides which one a group varies: the decode clock decides most, a fan costs the
/// most time to judge, and the prefill clock changes little.
const LOT: [Knob; TICKETS as usize] = [
    Knob::Prefill,
    Knob::Prefill,
    Knob::Decode,
    Knob::Decode,
    Knob::Decode,
    Knob::Decode,
    Knob::Batch,
    Knob::Batch,
    Knob::Depth,
    Knob::Fan,
];

/// One decision point: what was seen, and what each tried action was worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The normalized observation.
    pub observation: Vec<i16>,
    /// What the policy would do.
    pub base: Action,
    /// Different actions.
    pub actions: Vec<Action>,
    /// The knob in which they differ, where it is one.
    pub knob: Option<Knob>,
    /// Share of each in the group: its probability, or the same for all.
    pub weights: Vec<f64>,
    /// Log-probability of each under the policy that drew them.
    pub log_probabilities: Vec<f64>,
    /// Reward of each; none before they were tried.
    pub rewards: Vec<f64>,
    /// Members that passed the temperature limit.
    pub violations: usize,
    /// What the stretch of time that the members were tried for counts in its episode: 1 where it is like the others.
    pub weight: f64,
}

impl Group {
    /// Chooses the members; their rewards are still to come. A knob that is known to do nothing here is not tried: the decode
    /// clock takes its tickets.
    ///
    /// # Panics
    /// When a joint policy is asked for the values of a knob.
    #[must_use]
    pub fn choose(
        observation: Vec<i16>,
        heads: &Heads,
        grouping: Grouping,
        idle_knob: Option<Knob>,
        rng: &mut Pcg32,
    ) -> Self {
        let (base, actions, knob, weights) = match grouping {
            Grouping::Drawn(size) => {
                let actions = heads.sample_group(size, rng);
                let weights = vec![1.0 / actions.len() as f64; actions.len()];
                (actions[0], actions, None, weights)
            }
            Grouping::Knob | Grouping::Only(_) => {
                let base = if rng.below(EXPLORE_ONE_IN) == 0 { heads.sample(rng) } else { heads.greedy() };
                let drawn = LOT[rng.below(TICKETS) as usize];
                let knob = match grouping {
                    Grouping::Only(knob) => knob,
                    _ if Some(drawn) == idle_knob => Knob::Decode,
                    _ => drawn,
                };
                let (actions, weights) = heads.knob_group(base, knob, LIKELY);
                (base, actions, Some(knob), weights)
            }
        };
        let log_probabilities = actions.iter().map(|action| heads.log_probability(*action)).collect();
        Self {
            observation,
            base,
            actions,
            knob,
            weights,
            log_probabilities,
            rewards: Vec::new(),
            violations: 0,
            weight: 1.0,
        }
    }

    /// Advantages of its members, in units of its spread or of the noise floor, whichever is wider, times its weight.
    #[must_use]
    pub fn advantages(&self, noise_floor: f64) -> Vec<f64> {
        let advantages = of_distribution(&self.rewards, &self.shares(), noise_floor);
        advantages.into_iter().map(|advantage| advantage * self.weight).collect()
    }

    /// Standard deviation of its rewards.
    #[must_use]
    pub fn spread(&self) -> f64 {
        spread(&self.rewards, &self.shares())
    }

    /// What its members count. Where they are the values of a knob, those that do better than the policy may expect have
    /// their least weight.
    fn shares(&self) -> Cow<'_, [f64]> {
        match self.knob {
            None => Cow::Borrowed(&self.weights),
            Some(_) => Cow::Owned(promoted(&self.rewards, &self.weights)),
        }
    }

    /// The best of the rewards.
    #[must_use]
    pub fn best_reward(&self) -> f64 {
        self.rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The weights with that of each value that does better than expected at its least or above; they sum to one again.
fn promoted(rewards: &[f64], weights: &[f64]) -> Vec<f64> {
    let expected: f64 = rewards.iter().zip(weights).map(|(r, w)| r * w).sum();
    let least = |(reward, weight): (&f64, &f64)| if *reward > expected { weight.max(PROMISING) } else { *weight };
    let raised: Vec<f64> = rewards.iter().zip(weights).map(least).collect();
    let total: f64 = raised.iter().sum();
    raised.into_iter().map(|weight| weight / total).collect()
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::space;
    use super::super::network::Network;
    use super::super::update::Policy;
    use super::*;

    #[test]
    fn a_stretch_that_serves_twice_as_much_counts_twice() {
        let network = Network::new(2, &[4], space().sizes().iter().sum(), 7);
        let heads = Policy::of(&network).heads(&[100, -200], &space());
        let group = Group::choose(vec![100, -200], &heads, Grouping::Drawn(3), None, &mut Pcg32::new(1));
        let group = Group { rewards: vec![1.0, 2.0, 4.0], ..group };
        let twice = Group { weight: 2.0, ..group.clone() }.advantages(0.0);
        let once = group.advantages(0.0);
        assert!(once.iter().any(|a| *a > 0.5) && once.iter().zip(twice).all(|(a, b)| (2.0 * a - b).abs() < 1e-12));
    }

    #[test]
    fn a_knob_that_does_nothing_is_not_tried() {
        let network = Network::new(2, &[4], space().sizes().iter().sum(), 7);
        let heads = Policy::of(&network).heads(&[100, -200], &space());
        let drawn = |idle_knob| {
            let mut rng = Pcg32::new(5);
            let one = |_| Group::choose(vec![100, -200], &heads, Grouping::Knob, idle_knob, &mut rng).knob.unwrap();
            (0..2000).map(one).collect::<Vec<_>>()
        };
        for knob in Knob::ALL {
            let share = drawn(None).iter().filter(|drawn| **drawn == knob).count() as f64 / 2000.0;
            let tickets = LOT.iter().filter(|ticket| **ticket == knob).count();
            assert!((share - tickets as f64 / f64::from(TICKETS)).abs() < 0.04, "{knob}: {share}");
        }
        assert!(!drawn(Some(Knob::Fan)).contains(&Knob::Fan));
    }

    #[test]
    fn who_does_better_than_expected_is_heard() {
        let weights = promoted(&[2.0, 1.0, 0.5], &[0.0, 1.0, 0.0]);
        let expected = [PROMISING, 1.0, 0.0].map(|weight| weight / (1.0 + PROMISING));
        assert!(weights.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{weights:?}");
    }
}
