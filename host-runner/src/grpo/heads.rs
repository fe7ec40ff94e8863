//! The factored policy's distribution: one independent categorical per knob.

use controller_core::action::{Action, ActionSpace, KNOBS, Knob};
use controller_core::rng::Pcg32;

/// Log-probabilities of every value of every knob. A knob with a single value has an empty head.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    log_probabilities: [Vec<f64>; KNOBS],
}

impl Heads {
    /// Normalizes logits, given side by side in knob order. `libm` gives the same bits on every
    /// platform.
    #[must_use]
    pub fn new(logits: &[f64], actions: &ActionSpace) -> Self {
        let mut rest = logits;
        let log_probabilities = actions.head_sizes().map(|size| {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            rest = tail;
            log_softmax(head)
        });
        Self { log_probabilities }
    }

    /// Each head's log-probabilities, in knob order.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.log_probabilities.iter().map(Vec::as_slice)
    }

    /// Log-probability of an action: the sum over its knobs.
    #[must_use]
    pub fn log_probability(&self, action: Action) -> f64 {
        let heads = Knob::ALL.into_iter().zip(&self.log_probabilities).filter(|(_, head)| !head.is_empty());
        heads.map(|(knob, head)| head[usize::from(action.get(knob))]).sum()
    }

    /// Draws an action.
    pub fn sample(&self, rng: &mut Pcg32) -> Action {
        let mut action = Action::default();
        for (knob, head) in Knob::ALL.into_iter().zip(&self.log_probabilities) {
            let mut left = f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
            let drawn = head.iter().position(|log_p| {
                left -= libm::exp(*log_p);
                left < 0.0
            });
            // Rounding can leave a sliver above the last value.
            let index = drawn.unwrap_or(head.len().saturating_sub(1));
            action.set(knob, u8::try_from(index).expect("a knob has at most 32 values"));
        }
        action
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

    /// The most probable action; ties go to the lowest index.
    #[must_use]
    pub fn greedy(&self) -> Action {
        let mut action = Action::default();
        for (knob, head) in Knob::ALL.into_iter().zip(&self.log_probabilities) {
            let best = (0..head.len()).rev().max_by(|&a, &b| head[a].total_cmp(&head[b])).unwrap_or(0);
            action.set(knob, u8::try_from(best).expect("a knob has at most 32 values"));
        }
        action
    }

    /// Entropy in nats, all heads together.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        self.iter().flatten().map(|log_p| -libm::exp(*log_p) * log_p).sum()
    }

    /// Kullback-Leibler divergence from `reference` in nats, exact.
    #[must_use]
    pub fn kl(&self, reference: &Self) -> f64 {
        let pairs = self.iter().flatten().zip(reference.iter().flatten());
        pairs.map(|(log_p, log_q)| libm::exp(*log_p) * (log_p - log_q)).sum()
    }
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| libm::exp(z - top)).sum();
    let log_sum = top + libm::log(sum);
    logits.iter().map(|z| z - log_sum).collect()
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

    pub(crate) const LOGITS: [f64; 9] = [0.5, -1.0, 2.0, 0.1, -0.3, 0.0, 0.7, -2.0, 1.5];

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
        let expected = heads.log_probabilities[1][0].exp();
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
}
