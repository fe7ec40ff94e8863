//! How a group is tried on a board that cannot be cloned.
//!
//! Its members run one after the other, and meanwhile the board warms, the load moves, and batches differ. So the order is
//! random, and every member runs twice: once on the way out, once on the way back, in mirrored order (counterbalancing; D. C.
//! Montgomery, "Design and Analysis of Experiments", on trends over run order). A reward that drifts by the same amount every
//! turn then adds the same to every member's mean and nothing to their differences. What the two runs of a member differ
//! by beyond that drift is noise, so the noise floor of the advantages is measured, not assumed.

use super::super::update::shuffle;
use controller_core::rng::Pcg32;
use serde::{Deserialize, Serialize};

/// The members of a group in the order in which they run: random, then mirrored.
#[must_use]
pub fn order(members: usize, rng: &mut Pcg32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members).collect();
    shuffle(&mut order, rng);
    order.extend(order.clone().iter().rev());
    order
}

/// What the turns of a group say.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Mean reward of every member, its number being its place.
    pub rewards: Vec<f64>,
    /// Drift of the reward, per turn.
    pub drift: f64,
    /// Sum of squared differences between a member's two runs, the drift taken off.
    pub squares: f64,
}

/// Judges a group by the rewards of its turns, in the order in which they ran.
///
/// # Panics
/// When there is not one reward per turn of a mirrored order.
#[must_use]
pub fn judge(order: &[usize], rewards: &[f64]) -> Judged {
    assert_eq!(order.len(), rewards.len(), "one reward per turn");
    let members = order.len() / 2;
    let runs = |place: usize| (rewards[place], rewards[order.len() - 1 - place]);
    let gap = |place: usize| (order.len() - 1 - 2 * place) as f64;
    let mut means = vec![0.0; members];
    let (mut moved, mut gaps) = (0.0, 0.0);
    for place in 0..members {
        let (out, back) = runs(place);
        means[order[place]] = f64::midpoint(out, back);
        moved += (back - out) * gap(place);
        gaps += gap(place) * gap(place);
    }
    let drift = if gaps > 0.0 { moved / gaps } else { 0.0 };
    let left = |place: usize| {
        let (out, back) = runs(place);
        back - out - drift * gap(place)
    };
    Judged { rewards: means, drift, squares: (0..members).map(|place| left(place) * left(place)).sum() }
}

/// Noise of a member's mean reward, pooled over all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    squares: f64,
    degrees: f64,
}

impl Noise {
    /// Takes in a group.
    pub fn add(&mut self, judged: &Judged) {
        self.squares += judged.squares;
        // One degree of freedom has gone into the drift.
        self.degrees += (judged.rewards.len() as f64 - 1.0).max(0.0);
    }

    /// Standard deviation of the mean of two runs; 0 before anything is known. A difference of two runs has twice the
    /// variance of one, their mean half of it.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        if self.degrees > 0.0 { (self.squares / self.degrees / 4.0).sqrt() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firmware_sim::plant::noise::Generator;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_steady_drift_moves_no_difference(
            worth in proptest::collection::vec(-1.0..1.0f64, 2..12), drift in -0.1..0.1f64, seed in any::<u64>(),
        ) {
            let order = order(worth.len(), &mut Pcg32::new(seed));
            let turns: Vec<f64> = order.iter().enumerate().map(|(t, m)| worth[*m] + drift * t as f64).collect();
            let judged = judge(&order, &turns);
            let shift = judged.rewards[0] - worth[0];
            for (found, expected) in judged.rewards.iter().zip(&worth) {
                prop_assert!((found - expected - shift).abs() < 1e-12);
            }
            prop_assert!((judged.drift - drift).abs() < 1e-12 && judged.squares < 1e-20);
        }

        #[test]
        fn every_member_runs_twice(members in 1usize..20, seed in any::<u64>()) {
            let order = order(members, &mut Pcg32::new(seed));
            prop_assert_eq!(order.len(), 2 * members);
            prop_assert!((0..members).all(|m| order.iter().filter(|other| **other == m).count() == 2));
            prop_assert!(order.iter().eq(order.iter().rev()));
        }
    }

    #[test]
    fn noise_is_measured() {
        let (mut rng, mut generator, mut noise) = (Pcg32::new(1), Generator::new(2), Noise::default());
        assert!(noise.deviation().abs() < 1e-300);
        for _ in 0..500 {
            let order = order(6, &mut rng);
            let turns: Vec<f64> =
                order.iter().enumerate().map(|(t, m)| *m as f64 + 0.02 * t as f64 + 0.1 * generator.normal()).collect();
            noise.add(&judge(&order, &turns));
        }
        // 0.1 a turn, so 0.0707 in the mean of two.
        assert!((noise.deviation() - 0.1 / 2f64.sqrt()).abs() < 0.003, "{}", noise.deviation());
    }
}
