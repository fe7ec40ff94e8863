//! The GRPO objective of one sample and its gradient with respect to the logits.
//!
//! `L = -min(ρA, clip(ρ, 1-ε, 1+ε)A) + β·KL(π || π_ref) - η·H(π)`, with `ρ = π(a)/π_old(a)`.
//! The KL divergence and the entropy are exact sums over the heads, not estimates from samples.

use super::heads::Heads;
use controller_core::action::{Action, Knob};

/// Coefficients of the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Clip range ε of the ratio.
    pub clip: f64,
    /// Weight β of the KL divergence from the reference policy.
    pub kl: f64,
    /// Weight η of the entropy bonus.
    pub entropy: f64,
}

/// One member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// What was tried.
    pub action: Action,
    /// Log-probability under the policy that drew it.
    pub old_log_probability: f64,
    /// Group-relative advantage.
    pub advantage: f64,
    /// The reference policy in this context.
    pub reference: &'a Heads,
}

/// The loss.
#[must_use]
pub fn value(heads: &Heads, sample: &Sample<'_>, coefficients: Coefficients) -> f64 {
    let ratio = libm::exp(heads.log_probability(sample.action) - sample.old_log_probability);
    let clipped = ratio.clamp(1.0 - coefficients.clip, 1.0 + coefficients.clip);
    let surrogate = (ratio * sample.advantage).min(clipped * sample.advantage);
    -surrogate + coefficients.kl * heads.kl(sample.reference) - coefficients.entropy * heads.entropy()
}

/// Gradient of [`value`] with respect to the logits, side by side in knob order.
#[must_use]
pub fn gradient(heads: &Heads, sample: &Sample<'_>, coefficients: Coefficients) -> Vec<f64> {
    let ratio = libm::exp(heads.log_probability(sample.action) - sample.old_log_probability);
    let beyond = if sample.advantage > 0.0 { ratio > 1.0 + coefficients.clip } else { ratio < 1.0 - coefficients.clip };
    // d(-ρA)/dz = -ρA (onehot - p), and nothing where the clipped branch is the smaller one.
    let push = if beyond { 0.0 } else { ratio * sample.advantage };
    let mut out = Vec::new();
    for ((knob, head), reference) in Knob::ALL.into_iter().zip(heads.iter()).zip(sample.reference.iter()) {
        let chosen = usize::from(sample.action.get(knob));
        let kl: f64 = head.iter().zip(reference).map(|(lp, lq)| libm::exp(*lp) * (lp - lq)).sum();
        let entropy: f64 = head.iter().map(|lp| -libm::exp(*lp) * lp).sum();
        for (index, (log_p, log_q)) in head.iter().zip(reference).enumerate() {
            let p = libm::exp(*log_p);
            let onehot = if index == chosen { 1.0 } else { 0.0 };
            out.push(
                -push * (onehot - p)
                    + coefficients.kl * p * (log_p - log_q - kl)
                    + coefficients.entropy * p * (log_p + entropy),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::{LOGITS, space};
    use super::*;

    #[test]
    fn gradient_equals_finite_differences_on_both_sides_of_the_clip() {
        let reference = Heads::new(&[0.1; 9], &space());
        let coefficients = Coefficients { clip: 0.2, kl: 0.3, entropy: 0.05 };
        let action = Action { prefill: 1, decode: 2, batch: 0, depth: 1, fan: 0 };
        let log_p = Heads::new(&LOGITS, &space()).log_probability(action);
        for (shift, advantage) in [(0.05, 1.3), (-0.05, -0.7), (-0.5, 1.0), (0.5, 1.0), (0.5, -1.0), (-0.5, -1.0)] {
            let sample = Sample { action, old_log_probability: log_p + shift, advantage, reference: &reference };
            let analytic = gradient(&Heads::new(&LOGITS, &space()), &sample, coefficients);
            for i in 0..LOGITS.len() {
                let at = |by: f64| {
                    let mut logits = LOGITS;
                    logits[i] += by;
                    value(&Heads::new(&logits, &space()), &sample, coefficients)
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((numeric - analytic[i]).abs() < 1e-6, "shift {shift}, logit {i}: {numeric} {}", analytic[i]);
            }
        }
    }

    #[test]
    fn the_clip_stops_the_push() {
        let heads = Heads::new(&LOGITS, &space());
        let action = Action::default();
        let sample = Sample {
            action,
            old_log_probability: heads.log_probability(action) - 1.0,
            advantage: 1.0,
            reference: &heads,
        };
        let still = gradient(&heads, &sample, Coefficients { clip: 0.2, kl: 0.0, entropy: 0.0 });
        assert!(still.iter().all(|g| *g == 0.0));
    }
}
