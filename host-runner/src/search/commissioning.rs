//! A near-best setting for a board that nobody knows, in about a dozen evaluations.
//!
//! The reference (highest clock, largest batch) is measured first: costs are in its units, and it tells the noise. Then
//! comes the energy budget, stated before the search and kept by it. The search is [`ModelBased`] from the generic prior. At the
//! end the found setting and the reference take turns, and the saving gets its confidence interval.

use super::belief::Belief;
use super::boards::Prior;
use super::model_based::{MISFIT, ModelBased};
use crate::baseline::Bandit;
use crate::env::commission::{TooHot, Trials};
use crate::env::replay::{Arm, Objective, Outcome};
use crate::eval::closed_loop::compare::Interval;
use crate::measure::percentile::percentile;
use controller_core::action::Action;
use firmware_sim::plant::noise::Generator;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Evaluations of the search, reference and final comparison not included.
    pub evaluations: usize,
    /// Batches per evaluation.
    pub batches: u32,
    /// Pairs of batches in the final comparison.
    pub pairs: u32,
    /// Offered load that the setting is for, requests per second.
    pub requests_per_s: f64,
    /// Seed of the prior and of the choices.
    pub seed: u64,
}

/// Batches that measure the reference and the noise.
const REFERENCE_BATCHES: u32 = 6;
/// A spread of six batches may be small by chance: noise is taken to be at least this, in units of the reference's cost.
const LEAST_NOISE: f64 = 0.004;
/// Share of imagined boards whose energy the budget covers.
const COVERED_PCT: f64 = 95.0;

/// What is known before the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Announcement {
    /// Energy that search and comparison will not exceed, J: batches at the hungriest setting, on 95 % of the
    /// boards that the prior holds for possible, and the waiting between them.
    pub budget_j: f64,
    /// Energy that measuring the reference took, J.
    pub reference_j: f64,
    /// Noise of one evaluation, in units of the reference's cost.
    pub noise_sd: f64,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What was announced.
    pub announced: Announcement,
    /// Energy spent after the announcement, J.
    pub spent_j: f64,
    /// Evaluations made; fewer than planned when the budget ran out.
    pub evaluations: usize,
    /// Index of the recommended arm.
    pub arm: usize,
    /// Cost expected there, and the standard deviation of that belief.
    pub expected: (f64, f64),
    /// Energy per request saved against the reference, share of it, with its 95 % interval.
    pub energy_saved: Interval,
    /// Cost saved against the reference, share of it, with its 95 % interval.
    pub cost_saved: Interval,
    /// Every evaluation: arm and cost.
    pub history: Vec<(usize, f64)>,
}

/// Searches. `arms` and `actions` belong together; the last is the reference. `announce` is called before the first
/// evaluation.
pub fn search(
    trials: &mut Trials,
    arms: &[Arm],
    actions: &[Action],
    plan: &Plan,
    announce: impl FnOnce(&Announcement),
) -> Result<Found, TooHot> {
    let (reference, last) = (arms[arms.len() - 1], actions[actions.len() - 1]);
    let first: Vec<Outcome> = (0..REFERENCE_BATCHES).map(|_| trials.run(last)).collect::<Result<_, _>>()?;
    let objective = Objective { requests_per_s: plan.requests_per_s, reference, at_reference: mean(&first) };
    let costs: Vec<f64> = first.iter().map(|outcome| objective.cost(reference, *outcome)).collect();
    let noise_sd = (sd(&costs) / f64::from(plan.batches).sqrt()).max(LEAST_NOISE);
    let announced =
        Announcement { budget_j: budget_j(trials, arms, &objective, plan), reference_j: trials.energy_j(), noise_sd };
    announce(&announced);

    let prior = Belief::of_samples(&Prior::Generic.costs(arms, &objective, plan.seed), MISFIT);
    let mut bandit = ModelBased::new(prior, noise_sd);
    let mut random = Generator::new(plan.seed);
    let mut history = Vec::new();
    // The comparison at the end has its share of the budget.
    let whole = plan.evaluations as f64 * f64::from(plan.batches) + 2.0 * f64::from(plan.pairs);
    let per_batch_j = announced.budget_j / whole;
    let reserve_j = per_batch_j * (2.0 * f64::from(plan.pairs) + f64::from(plan.batches));
    for _ in 0..plan.evaluations {
        if trials.energy_j() - announced.reference_j + reserve_j > announced.budget_j {
            break;
        }
        let arm = bandit.choose(&mut random);
        let outcomes = (0..plan.batches).map(|_| trials.run(actions[arm])).collect::<Result<Vec<_>, _>>()?;
        let cost = objective.cost(arms[arm], mean(&outcomes));
        bandit.learn(arm, cost);
        history.push((arm, cost));
    }
    let arm = bandit.recommend();
    let expected = (bandit.belief().mean()[arm], bandit.belief().sd(arm));
    let (energy_saved, cost_saved) = compare(trials, &objective, (arms[arm], actions[arm]), last, plan.pairs)?;
    Ok(Found {
        announced,
        spent_j: trials.energy_j() - announced.reference_j,
        evaluations: history.len(),
        arm,
        expected,
        energy_saved,
        cost_saved,
        history,
    })
}

/// Energy of all batches to come, each at the hungriest arm of an imagined board, on all but the hungriest boards; the
/// waiting between two batches is billed as it was around the reference's.
fn budget_j(trials: &Trials, arms: &[Arm], objective: &Objective, plan: &Plan) -> f64 {
    let mut hungriest = Prior::Generic.hungriest_batch_j(arms, objective, plan.seed);
    hungriest.sort_by(f64::total_cmp);
    let covered = percentile(&hungriest, COVERED_PCT).unwrap_or(f64::INFINITY);
    let waiting = trials.energy_j() / f64::from(REFERENCE_BATCHES) - objective.at_reference.energy_j;
    let batches = plan.evaluations as f64 * f64::from(plan.batches) + 2.0 * f64::from(plan.pairs);
    batches * (covered + waiting)
}

/// Found setting and reference in turns, in changing order, so that a drift of the board hits both.
fn compare(
    trials: &mut Trials,
    objective: &Objective,
    (arm, action): (Arm, Action),
    last: Action,
    pairs: u32,
) -> Result<(Interval, Interval), TooHot> {
    let (mut energy, mut cost) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (found, reference) = if pair.is_multiple_of(2) {
            let found = trials.run(action)?;
            (found, trials.run(last)?)
        } else {
            let reference = trials.run(last)?;
            (trials.run(action)?, reference)
        };
        let per_request = |arm: Arm, outcome: Outcome| outcome.energy_j / arm.batch;
        energy.push(1.0 - per_request(arm, found) / per_request(objective.reference, reference));
        cost.push(1.0 - objective.cost(arm, found) / objective.cost(objective.reference, reference));
    }
    Ok((Interval::of(&energy), Interval::of(&cost)))
}

fn mean(outcomes: &[Outcome]) -> Outcome {
    let count = outcomes.len() as f64;
    Outcome {
        energy_j: outcomes.iter().map(|outcome| outcome.energy_j).sum::<f64>() / count,
        latency_s: outcomes.iter().map(|outcome| outcome.latency_s).sum::<f64>() / count,
    }
}

fn sd(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0)).sqrt()
}
