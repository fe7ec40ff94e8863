//! Many searches of one replay: cumulative regret, and how soon the recommendation is good.

use super::belief::Belief;
use super::boards::Prior;
use super::model_based::{MISFIT, ModelBased};
use crate::baseline::Bandit;
use crate::baseline::gaussian_ts::GaussianThompson;
use crate::baseline::grid_search::GridSearch;
use crate::baseline::lin_ts::LinThompson;
use crate::baseline::lin_ucb::LinUcb;
use crate::baseline::random::Random;
use crate::baseline::square_cb::SquareCb;
use crate::env::replay::Replay;
use crate::measure::percentile::percentile;
use firmware_sim::plant::Profile;
use firmware_sim::plant::noise::Generator;
use std::fmt;

/// A search by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ours, from a prior over all boards.
    ModelGeneric,
    /// Ours, from a prior around a calibrated profile.
    ModelProfile,
    /// Camel's.
    GaussianTs,
    /// AGFT's.
    LinUcb,
    /// Thompson sampling of the same features.
    LinTs,
    /// Inverse-gap weighting of the same features.
    SquareCb,
    /// A sweep, then the best.
    Grid,
    /// A sweep, then the best in nine pulls of ten.
    EpsilonGreedy,
    /// Any arm.
    Random,
}

impl Algorithm {
    /// All of them, ours first, the others by how well they do on the published grid.
    pub const ALL: [Self; 9] = [
        Self::ModelGeneric,
        Self::ModelProfile,
        Self::LinUcb,
        Self::LinTs,
        Self::SquareCb,
        Self::GaussianTs,
        Self::Grid,
        Self::EpsilonGreedy,
        Self::Random,
    ];

    /// Its name, as in the published table of anchors where it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModelGeneric => "model_generic",
            Self::ModelProfile => "model_profile",
            Self::GaussianTs => "camel_ts",
            Self::LinUcb => "linucb7",
            Self::LinTs => "lin_ts7",
            Self::SquareCb => "squarecb7",
            Self::Grid => "grid_then_commit",
            Self::EpsilonGreedy => "eps_greedy",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to experiment.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Searches per algorithm.
    pub seeds: u64,
    /// Pulls per search.
    pub pulls: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// The profile behind [`Algorithm::ModelProfile`].
    pub profile: Profile,
    /// Threads; they do not change the result.
    pub threads: usize,
}

/// A recommendation whose cost is at most this much above the best arm's is good.
pub const GOOD_WITHIN: f64 = 1.02;

/// What the searches of one algorithm came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Searches {
    /// Which algorithm.
    pub algorithm: Algorithm,
    /// Cumulative regret after every pull, one curve per seed.
    pub regret: Vec<Vec<f64>>,
    /// Per seed, the last pull (from 1) after which the recommendation was not good; 0: it always was.
    pub last_off: Vec<usize>,
}

impl Searches {
    /// Mean cumulative regret after so many pulls; `None` when there were fewer.
    #[must_use]
    pub fn mean_regret(&self, pulls: usize) -> Option<f64> {
        let values: Option<Vec<f64>> =
            self.regret.iter().map(|curve| curve.get(pulls.checked_sub(1)?).copied()).collect();
        values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Nearest-rank percentile over the seeds of the last pull with a recommendation that was not good.
    #[must_use]
    pub fn last_off(&self, percent: u32) -> usize {
        let mut sorted = self.last_off.clone();
        sorted.sort_unstable();
        percentile(&sorted, percent.into()).unwrap_or(0)
    }
}

/// Runs an algorithm over all seeds.
///
/// # Panics
/// With a plan of no seeds.
#[must_use]
pub fn run(replay: &Replay, algorithm: Algorithm, plan: &Plan) -> Searches {
    let prior = match algorithm {
        Algorithm::ModelGeneric => Some(Prior::Generic),
        Algorithm::ModelProfile => Some(Prior::Board(Box::new(plan.profile.clone()))),
        _ => None,
    };
    let prior =
        prior.map(|prior| Belief::of_samples(&prior.costs(replay.arms(), replay.objective(), plan.seed), MISFIT));
    let build = || build(algorithm, replay, prior.as_ref());
    let seeds: Vec<u64> = (0..plan.seeds).collect();
    let share = seeds.len().div_ceil(plan.threads.max(1)).max(1);
    let search = |number: &u64| one(replay, &mut *build(), plan, *number);
    let results: Vec<(Vec<f64>, usize)> = std::thread::scope(|scope| {
        let work = |part: &'_ [u64]| part.iter().map(search).collect::<Vec<_>>();
        let workers: Vec<_> = seeds.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a search does not panic")).collect()
    });
    let (regret, last_off) = results.into_iter().unzip();
    Searches { algorithm, regret, last_off }
}

fn build(algorithm: Algorithm, replay: &Replay, prior: Option<&Belief>) -> Box<dyn Bandit> {
    let (arms, noise_sd) = (replay.arms(), replay.noise_sd());
    match (algorithm, prior) {
        (Algorithm::ModelGeneric | Algorithm::ModelProfile, Some(prior)) => {
            Box::new(ModelBased::new(prior.clone(), noise_sd))
        }
        (Algorithm::GaussianTs, _) => Box::new(GaussianThompson::new(arms.len(), noise_sd)),
        (Algorithm::LinUcb, _) => Box::new(LinUcb::new(arms)),
        (Algorithm::LinTs, _) => Box::new(LinThompson::new(arms, noise_sd)),
        (Algorithm::SquareCb, _) => Box::new(SquareCb::new(arms)),
        (Algorithm::Grid, _) => Box::new(GridSearch::new(arms.len(), 0.0)),
        (Algorithm::EpsilonGreedy, _) => Box::new(GridSearch::new(arms.len(), 0.1)),
        _ => Box::new(Random::new(arms.len())),
    }
}

/// One search. Choices and noise have streams of their own, so that the noise of a pull does not
/// depend on how an algorithm draws.
fn one(replay: &Replay, bandit: &mut dyn Bandit, plan: &Plan, number: u64) -> (Vec<f64>, usize) {
    let stream = |kind: u64| Generator::new(plan.seed.wrapping_mul(0x1_0000_0001).wrapping_add(2 * number + kind));
    let (mut choices, mut noise) = (stream(0), stream(1));
    let best = replay.true_cost(replay.best());
    let (mut regret, mut curve, mut last_off) = (0.0, Vec::with_capacity(plan.pulls), 0);
    for pull in 1..=plan.pulls {
        let arm = bandit.choose(&mut choices);
        bandit.learn(arm, replay.pull(arm, &mut noise));
        regret += replay.true_cost(arm) - best;
        curve.push(regret);
        if replay.true_cost(bandit.recommend()) > GOOD_WITHIN * best {
            last_off = pull;
        }
    }
    (curve, last_off)
}
