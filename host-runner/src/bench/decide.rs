//! The time of a decision: the policy alone, and a whole step from telemetry to applied action.

use crate::measure::percentile::percentile;
use controller_core::control::{Controller, ControllerError};
use controller_core::governor::{Learned, LearnedError};
use controller_core::policy::{ImageError, Policy, PolicyImage};
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use firmware_sim::digest::draw_observation;
use firmware_sim::synthetic::{Turn, fallback, reward};
use std::hint::black_box;
use std::time::Instant;

/// Calls between two looks at the clock, so that the clock's own cost does not count.
const CALLS_PER_SAMPLE: usize = 64;

/// Different inputs to go through.
const INPUTS: usize = 1024;

/// Why a policy cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The image is unusable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The policy does not fit its own action space.
    #[error(transparent)]
    Learned(#[from] LearnedError),
    /// The controller refuses its limits or its reward.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// Nanoseconds of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Half of the samples took no longer.
    pub median_ns: f64,
    /// A quarter took no longer.
    pub lower_quartile_ns: f64,
    /// Three quarters took no longer.
    pub upper_quartile_ns: f64,
    /// 99 of 100 took no longer.
    pub p99_ns: f64,
}

impl Cost {
    /// Runs `call` on every input in turn, `samples` times [`CALLS_PER_SAMPLE`] calls after a
    /// warm-up of a tenth of that.
    fn of<I>(samples: usize, inputs: &[I], mut call: impl FnMut(&I)) -> Self {
        let mut next = inputs.iter().cycle();
        let mut sample = || {
            let start = Instant::now();
            next.by_ref().take(CALLS_PER_SAMPLE).for_each(&mut call);
            start.elapsed().as_secs_f64() * 1e9 / CALLS_PER_SAMPLE as f64
        };
        (0..samples / 10).for_each(|_| {
            sample();
        });
        let mut times: Vec<f64> = (0..samples).map(|_| sample()).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: f64| percentile(&times, percent).unwrap_or(f64::NAN);
        Self { median_ns: at(50.0), lower_quartile_ns: at(25.0), upper_quartile_ns: at(75.0), p99_ns: at(99.0) }
    }
}

/// The cost of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Observation to action.
    pub decide: Cost,
    /// Telemetry to applied action: observe, decide, supervise.
    pub step: Cost,
    /// Measurement to reward and record.
    pub settle: Cost,
}

/// Measures the policy in `image` on random inputs.
pub fn measure(image: &[u8], seed: u64, samples: usize) -> Result<Costs, BenchError> {
    let policy = Policy::new(PolicyImage::new_checked(image)?)?;
    let mut rng = Pcg32::new(seed);
    let width = policy.image().header().observation.len();
    let observations: Vec<_> = (0..INPUTS).map(|_| draw_observation(&mut rng, width)).collect();
    let decide = Cost::of(samples, &observations, |observation| {
        black_box(policy.decide(black_box(observation)));
    });
    let turns: Vec<_> = (0..INPUTS).zip(1..).map(|(_, number)| Turn::draw(&mut rng, number)).collect();
    let mut controller = controller_of(policy)?;
    let step = Cost::of(samples, &turns, |turn| {
        black_box(controller.step(turn.now, black_box(&turn.telemetry)));
    });
    // A settled turn is closed, so each needs a step before it, whose cost comes off again.
    let both = Cost::of(samples, &turns, |turn| {
        black_box(controller.step(turn.now, black_box(&turn.telemetry)));
        black_box(controller.settle(black_box(turn.measurement)));
    });
    let settle = Cost {
        median_ns: both.median_ns - step.median_ns,
        lower_quartile_ns: both.lower_quartile_ns - step.lower_quartile_ns,
        upper_quartile_ns: both.upper_quartile_ns - step.upper_quartile_ns,
        p99_ns: both.p99_ns - step.p99_ns,
    };
    Ok(Costs { decide, step, settle })
}

/// Makes `calls` steps and nothing else worth counting: for instruction counters around the
/// program, which compare two runs of different length.
pub fn repeat(image: &[u8], seed: u64, calls: u32) -> Result<(), BenchError> {
    let mut controller = controller_of(Policy::new(PolicyImage::new_checked(image)?)?)?;
    let turn = Turn::draw(&mut Pcg32::new(seed), 1);
    for _ in 0..calls {
        black_box(controller.step(black_box(turn.now), black_box(&turn.telemetry)));
    }
    Ok(())
}

fn controller_of(policy: Policy<'_>) -> Result<Controller<Learned<'_>>, BenchError> {
    let actions = policy.image().header().actions.clone();
    let governor = Learned::new(policy, &actions)?;
    let reward = reward(&actions);
    let fallback = fallback(&actions);
    let controller = Controller::new(governor, actions, Limits::agx_orin(), reward)?;
    Ok(match fallback {
        Some(fallback) => controller.with_fallback(fallback)?,
        None => controller,
    })
}
