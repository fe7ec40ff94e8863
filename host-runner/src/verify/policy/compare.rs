//! A policy against a golden file.

use super::PolicyError;
use super::golden::{Golden, read};
use super::report::{FloatReport, FrozenReport, PolicyReport, Worst};
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::heads::Heads;
use crate::grpo::layout::INPUT_BITS;
use crate::grpo::network::Network;
use crate::import::prototype::{Form, Prototype};
use crate::import::torch;
use crate::input_file;
use crate::quantize::{ErrorBound, freeze, real_logits};
use crate::verify::table::Table;
use controller_core::action::{ActionSpace, Knob};
use controller_core::observation::ONE;
use controller_core::policy::{self, MAGIC, Policy, PolicyImage};
use std::path::Path;

/// Largest error of a log-probability or entropy in f32. f32 logs of the same policy differ by 1.7e-6.
pub const FLOAT_LIMIT: f64 = 2e-6;
/// Largest error of the same in f64.
pub(super) const DOUBLE_LIMIT: f64 = 1e-9;
/// Situations that a prototype is calibrated on, and their seed: those of `freeze`.
const CALIBRATION: (usize, u64) = (4096, 7);

/// Reads a policy of any sort and a golden file, and compares.
pub fn verify_file(path: &Path, golden: &Path) -> Result<PolicyReport, PolicyError> {
    let table = Table::read(golden, &["s0", "argmax_action"])?;
    let goldens = read(&table)?;
    let bytes = input_file::read(path).map_err(|cause| PolicyError::Read { path: path.to_owned(), cause })?;
    if bytes.starts_with(&MAGIC) {
        return image(&bytes, &goldens);
    }
    if bytes.starts_with(&torch::MAGIC) {
        let prototype = Prototype::read(path)?;
        let calibration = prototype.form.sample(CALIBRATION.0, CALIBRATION.1);
        let float = float(&prototype.network, &prototype.form.actions, &goldens)?;
        let form = prototype.form.clone();
        let observe = |state: &[f64]| (form.exact_input(state), form.observation(state));
        let frozen = frozen(&prototype.checkpoint(), &calibration, &goldens, &observe)?;
        return Ok(PolicyReport::new("checkpoint of the prototype", goldens.len(), Some(float), frozen));
    }
    let checkpoint = Checkpoint::read(path)?;
    let float = float(&checkpoint.network, &checkpoint.content.actions, &goldens)?;
    let observe = |state: &[f64]| (state.to_vec(), nearest(state));
    let calibration: Vec<Vec<i16>> = goldens.iter().map(|golden| nearest(&golden.state)).collect();
    let frozen = frozen(&checkpoint, &calibration, &goldens, &observe)?;
    Ok(PolicyReport::new("checkpoint", goldens.len(), Some(float), frozen))
}

/// The normalized observation nearest to a network's input.
fn nearest(state: &[f64]) -> Vec<i16> {
    let one = f64::from(ONE);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 14 bits")]
    let round = |x: &f64| (x * f64::from(1 << INPUT_BITS)).round().clamp(-one, one) as i16;
    state.iter().map(round).collect()
}

fn check(goldens: &[Golden], inputs: usize, actions: &ActionSpace) -> Result<(), PolicyError> {
    let count = actions.count();
    for golden in goldens {
        if golden.state.len() != inputs {
            return Err(PolicyError::Inputs { columns: golden.state.len(), inputs });
        }
        if let Some(wrong) = golden.ranking.iter().find(|ranked| ranked.action >= count) {
            return Err(PolicyError::Action { row: golden.row.clone(), action: wrong.action, count });
        }
    }
    Ok(())
}

/// The trained network in f32 and f64.
fn float(network: &Network, actions: &ActionSpace, goldens: &[Golden]) -> Result<FloatReport, PolicyError> {
    check(goldens, network.inputs(), actions)?;
    let mut report = FloatReport::default();
    for golden in goldens {
        let double = network.forward(&golden.state).logits;
        let single = forward_f32(network, &golden.state);
        for (logits, wrong, worst) in [
            (&single, &mut report.wrong_f32, &mut report.error_f32),
            (&double, &mut report.wrong_f64, &mut report.error_f64),
        ] {
            let heads = Heads::new(logits, actions);
            if actions.index(heads.greedy()) != golden.ranking.first().map(|best| best.action) {
                wrong.push(golden.row.clone());
            }
            for ranked in &golden.ranking {
                let action = actions.action(ranked.action).expect("checked above");
                if let Some(expected) = ranked.log_probability {
                    worst.see(heads.log_probability(action) - expected, &golden.row);
                    report.log_probabilities += 1;
                }
            }
            if let Some(expected) = golden.entropy {
                worst.see(heads.entropy() - expected, &golden.row);
            }
        }
        let heads = Heads::new(&double, actions);
        let tops: f64 = tops(&double, &heads);
        if let Some(expected) = golden.max_logit {
            report.error_f64.see(tops - expected, &golden.row);
        }
        if let Some(expected) = golden.logged {
            report.error_logged.see(heads.log_probability(heads.greedy()) - expected, &golden.row);
        }
    }
    report.log_probabilities /= 2; // counted in both precisions
    Ok(report)
}

/// The largest logit, or the sum of every head's.
fn tops(logits: &[f64], heads: &Heads) -> f64 {
    let mut rest = logits;
    let mut sum = 0.0;
    for head in heads.categoricals() {
        let (own, tail) = rest.split_at(head.log_probabilities().len());
        sum += own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        rest = tail;
    }
    sum
}

/// The network with every parameter and activation in f32. A sum is rounded once, at its end: f32 sums
/// in the order of the weights alone err by up to 3.5e-6 on the published policy, and each library
/// has another order.
fn forward_f32(network: &Network, state: &[f64]) -> Vec<f64> {
    #[expect(clippy::cast_possible_truncation, reason = "f32 is the point")]
    let single = |x: f64| f64::from(x as f32);
    let mut values: Vec<f64> = state.iter().map(|x| single(*x)).collect();
    let last = network.layers.len().saturating_sub(1);
    for (number, layer) in network.layers.iter().enumerate() {
        let rows = layer.weights.chunks_exact(layer.inputs).zip(&layer.biases);
        let sums = rows.map(|(row, bias)| {
            let products = row.iter().zip(&values).map(|(weight, x)| single(*weight) * x);
            let sum = single(products.sum::<f64>() + single(*bias));
            if number < last { sum.max(0.0) } else { sum }
        });
        values = sums.collect();
    }
    values
}

/// A golden state as the network's exact input and as the frozen policy's observation.
type Observe<'a> = dyn Fn(&[f64]) -> (Vec<f64>, Vec<i16>) + 'a;

/// The checkpoint frozen in memory, with a proven bound.
fn frozen(
    checkpoint: &Checkpoint,
    calibration: &[Vec<i16>],
    goldens: &[Golden],
    observe: &Observe<'_>,
) -> Result<FrozenReport, PolicyError> {
    let (bytes, _) = freeze(checkpoint, "verify", calibration)?;
    let policy = Policy::new(PolicyImage::new_checked(&bytes)?)?;
    let bound = ErrorBound::new(checkpoint, calibration)?;
    let mut report = FrozenReport::new(&policy, bytes.len(), true);
    for golden in goldens {
        let (exact, observation) = observe(&golden.state);
        let choices = bound.choices(&exact, &observation);
        let widest = choices.iter().fold(0.0f64, |top, choice| top.max(choice.bound));
        report.bounds.push(widest);
        let certain = choices.iter().all(|choice| choice.is_certain);
        report.decide(golden, &policy, &observation, certain);
    }
    Ok(report)
}

/// An image alone, with a bound measured on the golden file.
fn image(bytes: &[u8], goldens: &[Golden]) -> Result<PolicyReport, PolicyError> {
    let policy = Policy::new(PolicyImage::new_checked(bytes)?)?;
    let header = policy.image().header();
    check(goldens, header.observation.len(), &header.actions)?;
    let form = Form::of_image(header);
    let observe = |state: &[f64]| form.as_ref().map_or_else(|| nearest(state), |form| form.observation(state));
    let mut report = FrozenReport::new(&policy, bytes.len(), false);
    let mut measured = Worst::default();
    for golden in goldens {
        let heads = Heads::new(&real_logits(&policy, &observe(&golden.state)), &header.actions);
        let log_p = |action: usize| heads.log_probability(header.actions.action(action).expect("checked above"));
        let Some((best, rivals)) = golden.ranking.split_first() else { continue };
        for rival in rivals {
            let (Some(first), Some(second)) = (best.log_probability, rival.log_probability) else { continue };
            measured.see((log_p(best.action) - log_p(rival.action)) - (first - second), &golden.row);
        }
    }
    if measured.seen {
        report.bounds.push(measured.error);
    }
    for golden in goldens {
        let lead = match *golden.ranking.as_slice() {
            [best, second, ..] => best.log_probability.zip(second.log_probability).map(|(a, b)| a - b),
            _ => None,
        };
        let certain = measured.seen && lead.is_some_and(|lead| lead > measured.error);
        report.decide(golden, &policy, &observe(&golden.state), certain);
    }
    Ok(PolicyReport::new("image", goldens.len(), None, report))
}

impl FrozenReport {
    fn new(policy: &Policy<'_>, bytes: usize, is_proven: bool) -> Self {
        let joint = policy.image().header().heads == policy::Heads::Joint;
        Self { bytes, joint, is_proven, ..Self::default() }
    }

    fn decide(&mut self, golden: &Golden, policy: &Policy<'_>, observation: &[i16], certain: bool) {
        let actions = &policy.image().header().actions;
        let found = policy.decide(observation);
        let expected = golden.ranking.first().and_then(|best| actions.action(best.action));
        let Some(expected) = expected else { return };
        self.rows += 1;
        self.same_action += usize::from(found == expected);
        for (count, knob) in self.same_choice.iter_mut().zip(Knob::ALL) {
            *count += usize::from(found.get(knob) == expected.get(knob));
        }
        self.certain += usize::from(certain);
        if found != expected {
            self.different.push(golden.row.clone());
            if certain {
                self.wrong.push(golden.row.clone());
            }
        }
    }
}
