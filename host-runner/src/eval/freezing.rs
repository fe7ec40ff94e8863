//! A policy in closed loop before and after it was frozen: the same requests, noise and disturbances, seed by seed.

use super::closed_loop::bench::{Bench, Setup};
use super::closed_loop::scenario::Scenario;
use crate::env::profile::BoardProfile;
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::governor::Trained;
use crate::quantize::{FreezeError, trained_policy};
use controller_core::control::ControllerError;
use controller_core::governor::{Learned, LearnedError};
use controller_core::policy::{ImageError, Policy, PolicyImage};
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use serde::Serialize;

/// Where policies are compared: cool, hot, without a fan, under changing and under heavy load.
pub const SCENARIOS: [Scenario; 5] =
    [Scenario::FanOn, Scenario::FanOff, Scenario::HotAmbient, Scenario::LoadSteps, Scenario::Load400];

/// The cost of one scenario, mean over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Name of the scenario.
    pub scenario: String,
    /// Energy per generated token before, J.
    pub trained_j_per_token: f64,
    /// And after.
    pub frozen_j_per_token: f64,
    /// Service reward before.
    pub trained_reward: f64,
    /// And after.
    pub frozen_reward: f64,
}

/// Why policies cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum FreezingError {
    /// The image is unusable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image does not fit its own knobs.
    #[error(transparent)]
    Learned(#[from] LearnedError),
    /// The controller refuses limits or reward.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// The trained policy cannot be rounded.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
}

/// Energy per token of all scenarios together, after over before, less 1: what freezing costs.
#[must_use]
pub fn loss(costs: &[Cost]) -> f64 {
    let sum = |number: fn(&Cost) -> f64| costs.iter().map(number).sum::<f64>();
    sum(|cost| cost.frozen_j_per_token) / sum(|cost| cost.trained_j_per_token) - 1.0
}

/// Plays every scenario with both. The board gets the policy's knobs.
pub fn compare(
    checkpoint: &Checkpoint,
    image: &[u8],
    profile: &BoardProfile,
    (reward, limits): (&Service, Limits),
    seeds: &std::ops::Range<u64>,
) -> Result<Vec<Cost>, FreezingError> {
    let content = &checkpoint.content;
    let profile = BoardProfile { actions: content.actions.clone(), fallback: None, ..profile.clone() };
    let trained = Trained::new(trained_policy(checkpoint)?, &content.observation, &content.actions);
    let count = seeds.clone().count() as f64;
    SCENARIOS
        .into_iter()
        .map(|scenario| {
            let setup = Setup::new(&profile, reward, limits, scenario);
            let mut cost = Cost {
                scenario: scenario.name(),
                trained_j_per_token: 0.0,
                frozen_j_per_token: 0.0,
                trained_reward: 0.0,
                frozen_reward: 0.0,
            };
            for seed in seeds.clone() {
                let before = Bench::new(&setup, trained.clone(), seed)?.run(setup.terms());
                let frozen = Learned::new(Policy::new(PolicyImage::new_checked(image)?)?, setup.actions())?;
                let after = Bench::new(&setup, frozen, seed)?.run(setup.terms());
                cost.trained_j_per_token += before.energy_per_token_j() / count;
                cost.frozen_j_per_token += after.energy_per_token_j() / count;
                cost.trained_reward += before.reward(setup.terms()) / count;
                cost.frozen_reward += after.reward(setup.terms()) / count;
            }
            Ok(cost)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpo::layout;
    use crate::grpo::rollout::World;
    use crate::grpo::trainer::{Plan, Trainer};
    use crate::quantize::{FakeQuantizer, freeze};
    use std::path::Path;

    #[test]
    fn a_policy_that_was_trained_rounded_loses_nothing() {
        let file = include_str!("../../../models/boards/agx-orin-hf.toml");
        let mut profile = BoardProfile::parse(file, Path::new("board.toml")).unwrap();
        profile.service.quality = profile.actions.depth.iter().map(|depth| (*depth, 1000)).collect();
        let world = World {
            layout: layout::standard(),
            reward: profile.service.clone(),
            limits: profile.limits,
            hold_s: (5.0, 20.0),
            profile: profile.clone(),
        };
        let plan = Plan { iterations: 3, quantized: 3, contexts: 4, threads: 1, ..Plan::default() };
        let mut trainer = Trainer::new(world, plan);
        while !trainer.is_done() {
            trainer.iterate().unwrap();
        }
        let checkpoint = trainer.checkpoint();
        let peaks = checkpoint.content.activation_peaks.clone().expect("training was quantization-aware");
        assert_eq!(peaks.len(), 2);
        assert!(FakeQuantizer::with_peaks(peaks).round(&checkpoint.network).is_ok());
        let observations: Vec<Vec<i16>> = (0..50i16).map(|i| vec![i * 100; layout::standard().len()]).collect();
        let (image, fidelity) = freeze(&checkpoint, "test", &observations).unwrap();
        assert!((fidelity.same_action - 1.0).abs() < 1e-12 && fidelity.worst_distance < 1e-12, "{fidelity:?}");
        let costs = compare(&checkpoint, &image, &profile, (&profile.service, profile.limits), &(1..2)).unwrap();
        assert_eq!(costs.len(), SCENARIOS.len());
        for cost in &costs {
            assert_eq!(cost.trained_j_per_token.to_bits(), cost.frozen_j_per_token.to_bits(), "{cost:?}");
        }
        assert!(loss(&costs).abs() < 1e-300);
    }
}
