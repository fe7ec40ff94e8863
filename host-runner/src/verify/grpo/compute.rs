//! Our numbers for a case, by the names of the file.

use super::cases::{Case, CasesError, Inputs, Number};
use crate::grpo::advantage::{AdvantageError, Baseline, Floor, Scaling, Spread, group_relative};
use crate::grpo::categorical::{Categorical, LogitError};
use crate::grpo::loss::{Coefficients, Divergence, Sample, Terms, gradient};
use controller_core::advantage as core;
use controller_core::reward::{Fixed, MICRO};
use std::collections::BTreeMap;

/// What the published code adds to a standard deviation.
const ADDED: f64 = 1e-8;
/// What it adds inside the logarithm of the entropy.
const LOG_SHIFT: f64 = 1e-10;
/// Where its first version splits samples by headroom.
const SPLIT: f64 = 0.33;
/// Nearer than this to the edge of the clip, either sub-gradient is right.
const EDGE: f64 = 1e-9;

/// A number or list and how far from it another right implementation may be. At the very edge of
/// the clip everything between the two sub-gradients is right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantity {
    pub(super) low: Vec<f64>,
    pub(super) high: Vec<f64>,
}

impl Quantity {
    fn exact(values: Vec<f64>) -> Self {
        Self { low: values.clone(), high: values }
    }
}

/// Everything about a case.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    /// Quantities beside the forms of the loss.
    pub(super) advantages: BTreeMap<&'static str, Quantity>,
    /// The loss with the published code's advantages and with ours, by form.
    pub(super) forms: BTreeMap<&'static str, BTreeMap<&'static str, Quantity>>,
    /// What rounding of a group's mean can do to advantages, and with them to losses and gradients.
    pub(super) rounding: f64,
    /// Some logits were refused as not finite.
    pub(super) refused: bool,
    /// Largest difference between fixed-point and floating-point advantages.
    pub(super) fixed_error: f64,
}

pub(super) fn compute(case: &Case) -> Result<Computed, CasesError> {
    let inputs = &case.inputs;
    let rewards = values(&inputs.rewards);
    let groups = groups(inputs);
    let published = Scaling { baseline: Baseline::GroupMean, spread: Spread::Population, floor: Floor::Added(ADDED) };
    let mut relative = vec![0.0; rewards.len()];
    let (mut amplification, mut fixed_error) = (0.0f64, 0.0f64);
    for members in groups.values() {
        let of_group: Vec<f64> = members.iter().map(|&member| rewards[member]).collect();
        match group_relative(&of_group, published) {
            Ok(advantages) => {
                for (&member, advantage) in members.iter().zip(advantages) {
                    relative[member] = advantage;
                }
            }
            // Nobody to compare with: the published code gives 0.
            Err(AdvantageError::TooSmall { .. }) => {}
            Err(error) => return Err(case.shape_error(error.to_string())),
        }
        amplification = amplification.max(amplified(&of_group));
        fixed_error = fixed_error.max(fixed_point_error(&of_group));
    }
    let twice = Scaling { spread: Spread::Sample, ..published };
    // A batch of one has no unbiased deviation: NaN, as there.
    let final_ = group_relative(&relative, twice).unwrap_or_else(|_| vec![f64::NAN; relative.len()]);

    let (new, new_refused) = policy(&inputs.logits_new);
    let (old, old_refused) = policy(&inputs.logits_old);
    let (reference, reference_refused) = policy(&inputs.logits_ref);
    let stored = inputs.old_logp_override.as_deref().map(values);
    let old_log_probabilities: Vec<f64> = stored.unwrap_or_else(|| {
        old.iter().zip(&inputs.actions).map(|(head, &action)| head.log_probabilities()[action]).collect()
    });
    let batch = Batch { inputs, new: &new, reference: &reference, old: &old_log_probabilities };
    let ratio = batch.terms(&relative, Divergence::Exact, 0.0).iter().fold(1.0f64, |top, terms| top.max(terms.ratio));
    let rounding = 8.0 * f64::EPSILON * amplification * ratio;
    let forms =
        BTreeMap::from([("seed", batch.form(&final_, rounding)), ("recommended", batch.form(&relative, rounding))]);
    Ok(Computed {
        advantages: BTreeMap::from([
            ("adv_group", Quantity::exact(relative)),
            ("adv_seed_final", Quantity::exact(final_)),
        ]),
        forms,
        rounding,
        refused: new_refused || old_refused || reference_refused,
        fixed_error,
    })
}

fn values(numbers: &[Number]) -> Vec<f64> {
    numbers.iter().map(|number| number.0).collect()
}

/// Members of each group in the order of the batch; a group need not be contiguous.
fn groups(inputs: &Inputs) -> BTreeMap<i64, Vec<usize>> {
    let mut groups = BTreeMap::<i64, Vec<usize>>::new();
    for (member, group) in inputs.group_ids.iter().enumerate() {
        groups.entry(*group).or_default().push(member);
    }
    groups
}

/// Largest reward by the deviation that it is divided by: how much a rounding error of the mean grows.
fn amplified(rewards: &[f64]) -> f64 {
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let deviation = (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / count).sqrt();
    rewards.iter().fold(0.0f64, |top, r| top.max(r.abs())) * count.sqrt() / (deviation + ADDED)
}

/// The controller's advantages against ours for rewards in millionths, over all variants.
fn fixed_point_error(rewards: &[f64]) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "casts of f64 saturate, and so does the controller's total")]
    let micro: Vec<i32> = rewards.iter().map(|r| (r * f64::from(MICRO)).round() as i32).collect();
    let rounded: Vec<f64> = micro.iter().map(|r| f64::from(*r) / f64::from(MICRO)).collect();
    let floor = Fixed::from_num(1e-3);
    let mut worst = 0.0f64;
    for baseline in [Baseline::GroupMean, Baseline::LeaveOneOut] {
        for spread in [Spread::Population, Spread::Sample, Spread::None] {
            let fixed = core::group_relative(&micro, Scaling { baseline, spread, floor: Floor::AtLeast(floor) });
            let float = group_relative(&rounded, Scaling { baseline, spread, floor: Floor::AtLeast(floor.to_num()) });
            // Groups of one have none, larger ones than fit are not the controller's.
            let (Ok(fixed), Ok(float)) = (fixed, float) else { continue };
            worst = fixed.iter().zip(float).fold(worst, |worst, (a, b)| worst.max((a.to_num::<f64>() - b).abs()));
        }
    }
    worst
}

/// The distributions of a tensor of logits. With a single one that is not finite, the published code
/// takes the whole tensor for zeros; the flag says so.
fn policy(logits: &[Vec<Number>]) -> (Vec<Categorical>, bool) {
    let rows: Vec<Vec<f64>> = logits.iter().map(|row| values(row)).collect();
    let checked: Result<Vec<Categorical>, LogitError> = rows.iter().map(|row| Categorical::checked(row)).collect();
    match checked {
        Ok(heads) => (heads, false),
        Err(_) => (rows.iter().map(|row| Categorical::new(&vec![0.0; row.len()])).collect(), true),
    }
}

/// A batch without its advantages.
struct Batch<'a> {
    inputs: &'a Inputs,
    new: &'a [Categorical],
    reference: &'a [Categorical],
    old: &'a [f64],
}

impl Batch<'_> {
    fn coefficients(&self, divergence: Divergence, log_shift: f64) -> Coefficients {
        let Inputs { clip_eps: clip, kl_coef: kl, entropy_coef: entropy, .. } = *self.inputs;
        Coefficients { clip, kl, divergence, entropy, log_shift }
    }

    fn samples<'b>(&'b self, advantages: &'b [f64]) -> impl Iterator<Item = (&'b [Categorical], Sample<'b>)> {
        let parts = self.new.iter().zip(self.reference).zip(&self.inputs.actions).zip(self.old).zip(advantages);
        parts.map(|((((new, reference), action), &old_log_probability), &advantage)| {
            let (choices, reference) = (std::slice::from_ref(action), std::slice::from_ref(reference));
            (std::slice::from_ref(new), Sample { choices, old_log_probability, advantage, reference })
        })
    }

    fn terms(&self, advantages: &[f64], divergence: Divergence, log_shift: f64) -> Vec<Terms> {
        let coefficients = self.coefficients(divergence, log_shift);
        self.samples(advantages).map(|(policy, sample)| Terms::of(policy, &sample, coefficients)).collect()
    }

    /// Every quantity of one form of the loss.
    fn form(&self, advantages: &[f64], rounding: f64) -> BTreeMap<&'static str, Quantity> {
        let exact = self.terms(advantages, Divergence::Exact, 0.0);
        let k1 = self.terms(advantages, Divergence::K1, LOG_SHIFT);
        let reversed = self.terms(advantages, Divergence::Reversed, LOG_SHIFT);
        let k3 = self.terms(advantages, Divergence::K3, 0.0);
        let each = |pick: fn(&Terms) -> f64| exact.iter().map(pick).collect::<Vec<f64>>();
        let mean = |terms: &[Terms], pick: &dyn Fn(&Terms) -> f64| {
            vec![terms.iter().map(pick).sum::<f64>() / terms.len() as f64]
        };
        let total = |terms: &[Terms], coefficients: Coefficients| mean(terms, &|terms| terms.total(coefficients));
        let seed = self.coefficients(Divergence::K1, LOG_SHIFT);
        let plain = self.coefficients(Divergence::Exact, 0.0);
        let mut out = BTreeMap::new();
        for (name, values) in [
            ("logp_old", self.old.to_vec()),
            ("logp_new", each(|terms| terms.log_probability)),
            ("logp_ref", each(|terms| terms.reference_log_probability)),
            ("ratio", each(|terms| terms.ratio)),
            ("surr1", each(|terms| terms.surrogate)),
            ("surr2", each(|terms| terms.clipped_surrogate)),
            ("policy_loss", mean(&exact, &Terms::policy_loss)),
            ("kl_seed_k1_new_minus_ref", mean(&k1, &|terms| terms.divergence)),
            ("kl_oldseed_ref_minus_new", mean(&reversed, &|terms| terms.divergence)),
            ("kl_k3", mean(&k3, &|terms| terms.divergence)),
            ("kl_exact_categorical", mean(&exact, &|terms| terms.divergence)),
            ("entropy_seed_eps1e10", mean(&k1, &|terms| terms.entropy)),
            ("entropy_exact", mean(&exact, &|terms| terms.entropy)),
            ("total_loss_seed", total(&k1, seed)),
            ("total_loss_exactkl", total(&exact, plain)),
        ] {
            out.insert(name, Quantity::exact(values));
        }
        out.insert("clipped", self.clipped(&exact, rounding));
        out.insert("grad_new_logits_seed", self.gradients(advantages, seed));
        out.insert("grad_new_logits_exactkl", self.gradients(advantages, plain));
        if let Some(headroom) = &self.inputs.temperature_headroom {
            let weights = split_weights(&values(headroom));
            let weighted = |terms: &[Terms], pick: &dyn Fn(&Terms) -> f64| -> f64 {
                terms.iter().zip(&weights).map(|(terms, weight)| pick(terms) * weight).sum()
            };
            let policy_loss = weighted(&reversed, &Terms::policy_loss);
            let divergence = weighted(&reversed, &|terms| terms.divergence);
            let entropy = mean(&reversed, &|terms| terms.entropy)[0];
            let total = policy_loss + seed.kl * divergence - seed.entropy * entropy;
            out.insert("oldseed_conditional_policy_loss", Quantity::exact(vec![policy_loss]));
            out.insert("oldseed_conditional_kl", Quantity::exact(vec![divergence]));
            out.insert("oldseed_conditional_total", Quantity::exact(vec![total]));
        }
        out
    }

    fn at_edge(&self, terms: &Terms) -> bool {
        ((terms.ratio - 1.0).abs() - self.inputs.clip_eps).abs() <= EDGE
    }

    /// Which branch is the smaller one; both are at the edge, and where an advantage is 0 but for
    /// rounding.
    fn clipped(&self, terms: &[Terms], rounding: f64) -> Quantity {
        let flag = |clipped: bool| f64::from(u8::from(clipped));
        let open = |terms: &Terms| {
            let outside = (terms.ratio - 1.0).abs() > self.inputs.clip_eps;
            let apart = (terms.surrogate - terms.clipped_surrogate).abs();
            self.at_edge(terms) || (outside && apart <= super::LIMIT + rounding)
        };
        let low = terms.iter().map(|terms| flag(terms.is_clipped() && !open(terms))).collect();
        let high = terms.iter().map(|terms| flag(terms.is_clipped() || open(terms))).collect();
        Quantity { low, high }
    }

    /// Gradients of the mean loss, row by row.
    fn gradients(&self, advantages: &[f64], coefficients: Coefficients) -> Quantity {
        let count = advantages.len() as f64;
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for (policy, sample) in self.samples(advantages) {
            let at_edge = self.at_edge(&Terms::of(policy, &sample, coefficients));
            let at = |clip: f64| gradient(policy, &sample, Coefficients { clip, ..coefficients });
            // A hair more or less of clip puts an edge on either side.
            let hair = if at_edge { 2.0 * EDGE } else { 0.0 };
            for (a, b) in at(coefficients.clip - hair).into_iter().zip(at(coefficients.clip + hair)) {
                low.push(a.min(b) / count);
                high.push(a.max(b) / count);
            }
        }
        Quantity { low, high }
    }
}

/// Half of the weight to the samples short of headroom and half to the others, evenly; an empty
/// side's half is lost.
fn split_weights(headroom: &[f64]) -> Vec<f64> {
    let short = headroom.iter().filter(|h| **h <= SPLIT).count();
    let of = |side: usize| 0.5 / side.max(1) as f64;
    headroom.iter().map(|h| if *h <= SPLIT { of(short) } else { of(headroom.len() - short) }).collect()
}
