//! The main job of `energyllm run` with answers of drawn length instead of a model: a governor on
//! the simulated board, whose fan fails half way.

use crate::workspace;
use controller_core::control::{Controller, RewardRule};
use controller_core::reward::service::Service as ServiceReward;
use controller_core::supervisor::Limits;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;
use host_runner::env::answers::DrawnLengths;
use host_runner::env::profile::BoardProfile;
use host_runner::env::quality::Quality;
use host_runner::env::queue::Queue;
use host_runner::env::service::Service;
use host_runner::run::choice::Choice;
use host_runner::run::prompts::Prompt;
use host_runner::run::summary::{Collector, Summary};
use host_runner::run::{Course, TurnRecord, serve};
use std::sync::atomic::AtomicBool;

/// What is served, and where.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Of arrivals, lengths and noise.
    pub seed: u64,
    /// Air around the board, °C.
    pub ambient_c: f64,
    /// Offered load.
    pub rate_per_s: f64,
    /// Requests.
    pub requests: usize,
    /// Whether the fan fails half way.
    pub fan_fails: bool,
}

/// The scenario of `energyllm run` without options.
pub const DEFAULT: Scenario = Scenario { seed: 1, ambient_c: 42.0, rate_per_s: 4.0, requests: 4800, fan_fails: true };

/// Other seeds, rooms and loads.
pub const SCENARIOS: [Scenario; 5] = [
    DEFAULT,
    Scenario { seed: 2, ..DEFAULT },
    Scenario { seed: 3, ambient_c: 25.0, ..DEFAULT },
    Scenario { seed: 4, rate_per_s: 1.0, requests: 1200, ..DEFAULT },
    Scenario { seed: 5, rate_per_s: 8.0, requests: 9600, ..DEFAULT },
];

/// The shipped board.
#[must_use]
pub fn profile() -> BoardProfile {
    BoardProfile::read(&workspace("models/boards/agx-orin-hf.toml")).expect("the shipped profile is good")
}

/// The shipped policy image.
#[must_use]
pub fn shipped_policy() -> Vec<u8> {
    std::fs::read(workspace("models/policies/service.elp")).expect("the shipped policy is there")
}

/// A run, turn by turn and as a whole.
#[derive(Debug)]
pub struct Served {
    /// The figures.
    pub summary: Summary,
    /// The record.
    pub turns: Vec<TurnRecord>,
}

impl Served {
    /// Mean reward of a request over the last half of the turns, in millionths.
    #[must_use]
    pub fn late_reward(&self) -> f64 {
        let late = &self.turns[self.turns.len() / 2..];
        let scored = late
            .iter()
            .filter_map(|turn| Some((f64::from(turn.step.reward?.total), f64::from(turn.step.measurement.requests))));
        let (sum, requests) =
            scored.fold((0.0, 0.0), |(sum, all), (reward, requests)| (sum + reward * requests, all + requests));
        sum / requests
    }
}

/// Runs a governor; `image` is the policy of `learned`. With `fallback`, beside the profile's
/// static setting.
///
/// # Panics
/// When the sensor ever shows more than the limit.
#[must_use]
pub fn run(choice: &Choice, image: &[u8], scenario: &Scenario, fallback: bool) -> Served {
    let profile = profile();
    let quality = Quality::read(&workspace("models/tiny-llama/depths.json")).expect("the shipped model has depths");
    let governor = choice.build(&profile.actions, &workspace("policy"), image).expect("a governor of this board");
    let table = quality.table(&profile.actions.depth, 16);
    let limits = Limits { min_depth: quality.floor(16, profile.service.quality_floor), ..profile.limits };
    let reward = RewardRule::Service(ServiceReward { quality: table, ..profile.service.clone() });
    let mut controller = Controller::new(governor, profile.actions.clone(), limits, reward).expect("checked parts");
    if let Some(rule) = profile.fallback.filter(|_| fallback) {
        controller = controller.with_fallback(rule).expect("checked with the profile");
    }
    let conditions = Conditions {
        ambient_c: scenario.ambient_c,
        start_c: scenario.ambient_c + 20.0,
        seed: scenario.seed,
        limit_c: 95.0,
        ..Conditions::default()
    };
    let mut service = Service::new(
        SimulatedBoard::new(&profile.plant, conditions),
        Queue::new(scenario.rate_per_s, scenario.requests, scenario.seed),
        DrawnLengths::new((12, 28), (12, 28), scenario.seed),
    );
    let (stop, prompts) = (AtomicBool::new(false), [Prompt { text: "?".into(), answer: None }]);
    let fan_off_at = scenario.fan_fails.then_some(scenario.requests / 2);
    let course = Course { prompts: &prompts, fan_off_at, stop: &stop };
    let (mut collector, mut turns) = (Collector::default(), Vec::new());
    let finished = serve(&mut service, &mut controller, &course, |turn| {
        let sampled = turn.step.telemetry.temperature.value().expect("the simulated sensor always answers");
        assert!(sampled.0 <= 95_000, "{choice}: sampled {sampled}");
        collector.add(turn);
        turns.push(turn.clone());
        Ok(())
    })
    .expect("drawn answers cannot fail");
    Served { summary: collector.finish(&finished), turns }
}
