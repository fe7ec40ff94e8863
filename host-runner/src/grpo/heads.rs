//! The policy's distribution over actions: one categorical per knob (*factored*), or one over the
//! whole action table (*joint*).

use super::categorical::Categorical;
use controller_core::action::{Action, ActionSpace, Knob};
use controller_core::rng::Pcg32;
use std::ops::Range;

/// The distributions of a policy in one situation.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    categoricals: Vec<Categorical>,
    actions: ActionSpace,
}

/// As many logits as the knobs have values together make a factored policy, as many as there are
/// actions a joint one; `None` for any other number.
#[must_use]
pub fn is_joint(logits: usize, actions: &ActionSpace) -> Option<bool> {
    if logits == actions.sizes().iter().sum::<usize>() {
        Some(false)
    } else if logits == actions.count() {
        Some(true)
    } else {
        None
    }
}

/// The logits of a knob among those of a factored policy.
#[must_use]
pub fn logits_of(knob: Knob, actions: &ActionSpace) -> Range<usize> {
    let sizes = Knob::ALL.into_iter().zip(actions.sizes());
    let start = sizes.clone().take_while(|(before, _)| *before != knob).map(|(_, size)| size).sum();
    let size = sizes.into_iter().find(|(of, _)| *of == knob).map_or(0, |(_, size)| size);
    start..start + size
}

impl Heads {
    /// Normalizes logits: all actions of the table, or the knobs' values side by side in knob order.
    ///
    /// # Panics
    /// When the number of logits fits neither.
    #[must_use]
    pub fn new(logits: &[f64], actions: &ActionSpace) -> Self {
        let joint = is_joint(logits.len(), actions).expect("as many logits as the action space asks for");
        let categoricals = if joint {
            vec![Categorical::new(logits)]
        } else {
            let mut rest = logits;
            let mut next = |size: usize| {
                let (head, tail) = rest.split_at(size);
                rest = tail;
                Categorical::new(head)
            };
            actions.sizes().into_iter().map(&mut next).collect()
        };
        Self { categoricals, actions: actions.clone() }
    }

    /// The distributions: one per knob in knob order, or one.
    #[must_use]
    pub fn categoricals(&self) -> &[Categorical] {
        &self.categoricals
    }

    fn is_joint(&self) -> bool {
        self.categoricals.len() == 1
    }

    /// What an action of this action space chooses in each distribution.
    ///
    /// # Panics
    /// When the action is not one of the space.
    #[must_use]
    pub fn choices(&self, action: Action) -> Vec<usize> {
        if self.is_joint() {
            vec![self.actions.index(action).expect("an action of this space")]
        } else {
            Knob::ALL.map(|knob| usize::from(action.get(knob))).to_vec()
        }
    }

    /// The action that makes these choices.
    fn action(&self, choices: impl Iterator<Item = usize>) -> Action {
        let mut action = Action::default();
        if self.is_joint() {
            let mut choices = choices;
            return choices.next().and_then(|index| self.actions.action(index)).unwrap_or_default();
        }
        for (knob, index) in Knob::ALL.into_iter().zip(choices) {
            action.set(knob, u8::try_from(index).expect("a knob has at most 32 values"));
        }
        action
    }

    /// Log-probability of an action: the sum over the distributions.
    #[must_use]
    pub fn log_probability(&self, action: Action) -> f64 {
        let chosen = self.choices(action);
        self.categoricals.iter().zip(chosen).map(|(head, index)| head.log_probabilities()[index]).sum()
    }

    /// Draws an action.
    pub fn sample(&self, rng: &mut Pcg32) -> Action {
        self.action(self.categoricals.iter().map(|head| head.sample(rng)))
    }

    /// Draws a group of different actions. Fewer than `size` come back when the distribution has
    /// become so narrow that new ones are hard to find: a duplicate would carry no information.
    pub fn sample_group(&self, size: usize, rng: &mut Pcg32) -> Vec<Action> {
        let mut group = Vec::with_capacity(size);
        for _ in 0..size * 8 {
            let action = self.sample(rng);
            if !group.contains(&action) {
                group.push(action);
            }
            if group.len() == size {
                break;
            }
        }
        group
    }

    /// A group that varies one knob: `base` with every value of the knob whose probability is at least `least`, and with the
    /// neighbours of the most probable value however improbable they are, so that a policy that was sure too early finds
    /// out; each with its probability, scaled to sum to one. The values of one knob are the whole table of a factored
    /// policy's distribution, so their scores give its gradient without the chance of a draw.
    ///
    /// # Panics
    /// When the policy is joint: it has no knobs of its own.
    #[must_use]
    pub fn knob_group(&self, base: Action, knob: Knob, least: f64) -> (Vec<Action>, Vec<f64>) {
        assert!(!self.is_joint(), "a joint policy has one distribution");
        let head = Knob::ALL.into_iter().zip(&self.categoricals).find(|(of, _)| *of == knob).map(|(_, head)| head);
        let (logs, best) = head.map_or((&[][..], 0), |head| (head.log_probabilities(), head.greedy()));
        let values = (0..).zip(logs.iter().map(|log| log.exp()));
        let likely: Vec<(u8, f64)> =
            values.filter(|(value, p)| *p >= least || best.abs_diff(usize::from(*value)) == 1).collect();
        let total: f64 = likely.iter().map(|(_, p)| p).sum();
        let with = |value| {
            let mut action = base;
            action.set(knob, value);
            action
        };
        likely.into_iter().map(|(value, p)| (with(value), p / total)).unzip()
    }

    /// The most probable action; ties go to the lowest index.
    #[must_use]
    pub fn greedy(&self) -> Action {
        self.action(self.categoricals.iter().map(Categorical::greedy))
    }

    /// Entropy in nats, all distributions together.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        self.categoricals.iter().map(Categorical::entropy).sum()
    }

    /// Kullback-Leibler divergence from `reference` in nats, exact.
    #[must_use]
    pub fn kl(&self, reference: &Self) -> f64 {
        self.categoricals.iter().zip(&reference.categoricals).map(|(new, old)| new.kl(old)).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn space() -> ActionSpace {
        ActionSpace {
            prefill_khz: [1, 2].into_iter().collect(),
            decode_khz: [1, 2, 3].into_iter().collect(),
            batch: [1, 4].into_iter().collect(),
            depth: [8, 16].into_iter().collect(),
            fan_pwm: [0].into_iter().collect(),
        }
    }

    pub(crate) const LOGITS: [f64; 10] = [0.5, -1.0, 2.0, 0.1, -0.3, 0.0, 0.7, -2.0, 1.5, 3.0];

    #[test]
    fn probabilities_sum_to_one_over_the_joint_table() {
        let (space, heads) = (space(), Heads::new(&LOGITS, &space()));
        let total: f64 = (0..space.count()).map(|i| heads.log_probability(space.action(i).unwrap()).exp()).sum();
        assert!((total - 1.0).abs() < 1e-12);
    }

    #[test]
    fn samples_follow_the_probabilities() {
        let heads = Heads::new(&LOGITS, &space());
        let mut rng = Pcg32::new(5);
        let draws = 40_000;
        let hits = (0..draws).filter(|_| heads.sample(&mut rng).decode == 0).count();
        let expected = heads.categoricals[1].log_probabilities()[0].exp();
        assert!((hits as f64 / f64::from(draws) - expected).abs() < 0.01);
    }

    #[test]
    fn groups_have_no_duplicates() {
        let heads = Heads::new(&LOGITS, &space());
        let group = heads.sample_group(12, &mut Pcg32::new(1));
        assert!(group.len() >= 8);
        assert!(group.iter().enumerate().all(|(i, a)| !group[..i].contains(a)));
        assert!(heads.kl(&heads).abs() < 1e-15);
    }

    #[test]
    fn a_group_of_a_knob_is_its_distribution() {
        let heads = Heads::new(&LOGITS, &space());
        let base = Action { prefill: 1, ..Action::default() };
        let (all, weights) = heads.knob_group(base, Knob::Decode, 0.0);
        assert_eq!(
            all.iter().map(|action| (action.prefill, action.decode)).collect::<Vec<_>>(),
            [(1, 0), (1, 1), (1, 2)]
        );
        let given_base: f64 = all.iter().map(|action| heads.log_probability(*action).exp()).sum();
        for (action, weight) in all.iter().zip(&weights) {
            assert!((weight - heads.log_probability(*action).exp() / given_base).abs() < 1e-12);
        }
        let (likely, weights) = heads.knob_group(base, Knob::Decode, 0.5);
        assert_eq!(likely.iter().map(|action| action.decode).collect::<Vec<_>>(), [0, 1], "the best and its neighbour");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_joint_policy_knows_the_same_actions() {
        let space = space();
        let logits: Vec<f64> = (0..space.count()).map(|i| f64::from(u32::try_from(i * 7 % 11).unwrap())).collect();
        let heads = Heads::new(&logits, &space);
        assert_eq!(heads.categoricals().len(), 1);
        assert_eq!(heads.greedy(), space.action(logits.iter().position(|z| *z > 9.5).unwrap()).unwrap());
        let total: f64 = (0..space.count()).map(|i| heads.log_probability(space.action(i).unwrap()).exp()).sum();
        assert!((total - 1.0).abs() < 1e-12);
        assert_eq!(is_joint(space.count() + 1, &space), None);
    }
}
