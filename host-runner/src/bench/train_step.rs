//! The time of one GRPO update of a joint policy, the largest that we train.

use crate::grpo::group::{Group, Grouping};
use crate::grpo::heads::Heads;
use crate::grpo::loss::{Coefficients, Divergence};
use crate::grpo::network::Network;
use crate::grpo::update::{Learner, Member, Passes, Policy};
use crate::import::prototype::Form;
use crate::measure::percentile::Quartiles;
use crate::quantize::FreezeError;
use crate::resources::cpu_seconds;
use controller_core::rng::Pcg32;
use std::time::Instant;

/// Hidden layers of the published early-exit policy in its largest form.
pub const HIDDEN: [usize; 4] = [32, 32, 32, 32];
/// Samples of an update, each in a state of its own.
pub const SAMPLES: usize = 64;
/// Passes over all samples, one parameter update each.
pub const EPOCHS: usize = 10;

/// Milliseconds of one update.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// By the clock on the wall.
    pub wall_ms: Quartiles,
    /// By this process's CPU time, which stands still while other programs run.
    pub cpu_ms: Quartiles,
    /// Inputs, logits and parameters of the network.
    pub shape: (usize, usize, usize),
}

/// Measures updates on one thread: 64 samples of different random states, 10 epochs of one minibatch, clipped ratio,
/// exact divergence from a reference whose distributions are known before, entropy bonus, Adam.
pub fn measure(updates: usize, seed: u64) -> Result<Times, FreezeError> {
    let form = Form::early_exit();
    let network = Network::new(form.inputs.len(), &HIDDEN, form.actions.count(), seed);
    let shape = (network.inputs(), form.actions.count(), network.parameters().count());
    let mut rng = Pcg32::new(seed);
    let policy = Policy::of(&network);
    let groups: Vec<Group> = form
        .sample(SAMPLES, seed)
        .into_iter()
        .map(|observation| {
            let heads = policy.heads(&observation, &form.actions);
            Group { rewards: vec![0.0], ..Group::choose(observation, &heads, Grouping::Drawn(1), None, &mut rng) }
        })
        .collect();
    let references: Vec<Heads> = groups.iter().map(|group| policy.heads(&group.observation, &form.actions)).collect();
    let advantage = |group: usize| f64::from(u32::try_from(group % 8).unwrap_or(0)) / 2.0 - 1.75;
    let members: Vec<Member> =
        (0..SAMPLES).map(|group| Member { group, index: 0, advantage: advantage(group) }).collect();
    let passes = Passes {
        epochs: EPOCHS,
        minibatches: 1,
        learning_rate: 1e-4,
        only: None,
        coefficients: Coefficients { clip: 0.2, kl: 0.1, divergence: Divergence::Exact, entropy: 0.02, log_shift: 0.0 },
    };
    let fresh = Learner::new(network.clone());
    let (mut wall_ms, mut cpu_ms) = (Vec::new(), Vec::new());
    // One more than asked for: the first one warms the caches.
    for number in 0..=updates {
        let mut learner = fresh.clone();
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        std::hint::black_box(learner.update(&form.actions, &groups, &references, &members, &passes, &mut rng)?);
        if number > 0 {
            wall_ms.push(wall.elapsed().as_secs_f64() * 1e3);
            cpu_ms.push((cpu_seconds() - cpu) * 1e3);
        }
    }
    Ok(Times { wall_ms: Quartiles::of(wall_ms), cpu_ms: Quartiles::of(cpu_ms), shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_the_published_shape() {
        // 5·32 + 32 + 3·(32·32 + 32) + 32·5808 + 5808.
        assert_eq!(measure(1, 1).unwrap().shape, (5, 5808, 195_024));
    }
}
