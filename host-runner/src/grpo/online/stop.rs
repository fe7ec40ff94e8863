//! When a training on a living board has learned enough: the rules of the published study, on what the policy really does.
//!
//! They look at the greedy turns of every episode, where the policy plays by itself: the study looked at the sampled ones, and
//! at the best of a group.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Greedy turns that the reward rule averages over.
const REWARDS: usize = 15;
/// Values that the convergence rules look at.
const WINDOW: usize = 30;
/// Change of the loss that counts as none.
const LOSS_CHANGE: f64 = 1e-4;
/// Probability from which a policy is sure of its choice.
const SURE: f64 = 0.8;

/// Which rule ended a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The mean reward of the last 15 greedy turns reached the target.
    Reward,
    /// The loss changed by less than 1e-4 in 29 updates on end.
    Loss,
    /// The policy gave its choice more than 0.8 in 30 episodes on end.
    Probability,
}

/// What the rules look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    rewards: VecDeque<f64>,
    probabilities: VecDeque<f64>,
    loss: Option<f64>,
    changes: VecDeque<f64>,
}

fn push(window: &mut VecDeque<f64>, value: f64, most: usize) {
    window.push_back(value);
    if window.len() > most {
        window.pop_front();
    }
}

fn mean(values: &VecDeque<f64>) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn share(values: &VecDeque<f64>, holds: impl Fn(f64) -> bool) -> f64 {
    values.iter().filter(|value| holds(**value)).count() as f64 / values.len().max(1) as f64
}

impl Convergence {
    /// Takes in the reward of a greedy turn.
    pub fn reward(&mut self, reward: f64) {
        push(&mut self.rewards, reward, REWARDS);
    }

    /// Takes in the probability of the most probable action at the start of an episode.
    pub fn probability(&mut self, probability: f64) {
        push(&mut self.probabilities, probability, WINDOW);
    }

    /// Takes in the loss of an update.
    pub fn loss(&mut self, loss: f64) {
        if let Some(before) = self.loss.replace(loss) {
            push(&mut self.changes, (loss - before).abs(), WINDOW - 1);
        }
    }

    /// Loss of the last update, and its distance from the one before.
    #[must_use]
    pub fn last_loss(&self) -> (Option<f64>, Option<f64>) {
        (self.loss, self.changes.back().copied())
    }

    /// Mean reward of the last greedy turns.
    #[must_use]
    pub fn mean_reward(&self) -> Option<f64> {
        (!self.rewards.is_empty()).then(|| mean(&self.rewards))
    }

    /// How sure the policy is, 0 to 1: 40 % for the mean probability, 30 % for its steadiness, 30 % for how often it is
    /// above 0.8 (the study's formula).
    #[must_use]
    pub fn action_confidence(&self) -> f64 {
        let average = mean(&self.probabilities);
        if self.probabilities.is_empty() || average <= 0.0 {
            return 0.0;
        }
        let squares = self.probabilities.iter().map(|p| (p - average) * (p - average)).sum::<f64>();
        let deviation = (squares / self.probabilities.len() as f64).sqrt();
        0.4 * (average / SURE).min(1.0)
            + 0.3 / (1.0 + deviation / average)
            + 0.3 * share(&self.probabilities, |p| p > SURE)
    }

    /// How still the loss is, 0 to 1 (the study's formula).
    #[must_use]
    pub fn loss_confidence(&self) -> f64 {
        if self.changes.len() + 1 < WINDOW {
            let losses = self.changes.len() + usize::from(self.loss.is_some());
            return losses as f64 / WINDOW as f64;
        }
        0.6 * share(&self.changes, |change| change < LOSS_CHANGE)
            + 0.4 * (1.0 - mean(&self.changes) / LOSS_CHANGE).max(0.0)
    }

    /// Both together (the study's formula).
    #[must_use]
    pub fn overall_confidence(&self) -> f64 {
        let (action, loss) = (self.action_confidence(), self.loss_confidence());
        if loss > 0.0 { f64::midpoint(action, loss) } else { action }
    }

    /// The first rule that holds: the reward rule with a target, the others where they are asked for.
    #[must_use]
    pub fn rule(&self, target: Option<f64>, converged: bool) -> Option<Rule> {
        if self.rewards.len() == REWARDS && target.is_some_and(|target| mean(&self.rewards) >= target) {
            return Some(Rule::Reward);
        }
        if converged && self.changes.len() + 1 == WINDOW && self.changes.iter().all(|change| *change < LOSS_CHANGE) {
            return Some(Rule::Loss);
        }
        let sure = self.probabilities.len() == WINDOW && self.probabilities.iter().all(|p| *p > SURE);
        (converged && sure).then_some(Rule::Probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_need_full_windows() {
        let mut seen = Convergence::default();
        for number in 1..=REWARDS {
            assert_eq!(seen.rule(Some(0.9), true), None, "after {} turns", number - 1);
            seen.reward(0.95);
        }
        assert_eq!(seen.rule(Some(0.9), false), Some(Rule::Reward));
        assert_eq!(seen.rule(Some(0.96), true), None);
        (0..WINDOW).for_each(|_| seen.probability(0.85));
        assert_eq!((seen.rule(None, true), seen.rule(None, false)), (Some(Rule::Probability), None));
        seen.probability(0.7);
        assert_eq!(seen.rule(None, true), None);
        (0..WINDOW).for_each(|_| seen.loss(0.5));
        assert_eq!(seen.rule(None, true), Some(Rule::Loss));
    }

    #[test]
    fn confidences_worked_by_hand() {
        let mut seen = Convergence::default();
        assert!(seen.overall_confidence().abs() < 1e-300);
        seen.probability(0.4);
        // A half of 0.8 gives 0.2, no spread 0.3, never above 0.8.
        assert!((seen.action_confidence() - 0.5).abs() < 1e-12);
        seen.loss(1.0);
        seen.loss(2.0);
        assert!((seen.loss_confidence() - 2.0 / 30.0).abs() < 1e-12);
        assert!((seen.overall_confidence() - f64::midpoint(0.5, 2.0 / 30.0)).abs() < 1e-12);
        (0..WINDOW).for_each(|_| seen.loss(2.0));
        assert!((seen.loss_confidence() - 1.0).abs() < 1e-12);
    }
}
