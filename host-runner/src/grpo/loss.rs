//! The GRPO objective of one sample and its gradient with respect to the logits.
//!
//! `L = -min(ρA, clip(ρ, 1-ε, 1+ε)A) + β·D(π, π_ref) - η·H(π)`, with `ρ = π(a)/π_old(a)`, over one
//! or several independent categorical distributions side by side. D is the exact divergence or one
//! of the estimates from the sampled action (J. Schulman, "Approximating KL Divergence", 2020).

use super::categorical::Categorical;
use super::vector::wide;

/// How far the policy has gone from the reference, with `d = log π(a) - log π_ref(a)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// `Σ π (log π - log π_ref)` over all choices: no noise from sampling.
    Exact,
    /// `d`. Unbiased only in value: its gradient averages to zero.
    K1,
    /// `-d`, as the first published code has it: the sign is wrong, and it rewards divergence.
    Reversed,
    /// `d²/2`.
    K2,
    /// `e^{-d} + d - 1`: unbiased and never negative; that of the GRPO paper.
    K3,
}

/// Coefficients of the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Clip range ε of the ratio.
    pub clip: f64,
    /// Weight β of the divergence from the reference policy.
    pub kl: f64,
    /// How it is measured.
    pub divergence: Divergence,
    /// Weight η of the entropy bonus.
    pub entropy: f64,
    /// What is added to each probability inside the entropy's logarithm: 0 for the entropy itself,
    /// 1e-10 in the published code.
    pub log_shift: f64,
}

/// One member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// What was chosen in each distribution.
    pub choices: &'a [usize],
    /// Log-probability under the policy that drew it.
    pub old_log_probability: f64,
    /// Group-relative advantage.
    pub advantage: f64,
    /// The reference policy in this context.
    pub reference: &'a [Categorical],
}

/// The loss of one sample, part by part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Log-probability of what was chosen.
    pub log_probability: f64,
    /// Its log-probability under the reference policy.
    pub reference_log_probability: f64,
    /// ρ.
    pub ratio: f64,
    /// ρA.
    pub surrogate: f64,
    /// clip(ρ)A.
    pub clipped_surrogate: f64,
    /// D.
    pub divergence: f64,
    /// H, with the shift inside the logarithm.
    pub entropy: f64,
}

impl Terms {
    /// The parts of the loss of a policy, given as its distributions.
    #[must_use]
    pub fn of(policy: &[Categorical], sample: &Sample<'_>, coefficients: Coefficients) -> Self {
        let heads = policy.iter().zip(sample.reference);
        let sums: Vec<Sums> =
            heads.map(|(head, reference)| Sums::of(head, reference, coefficients.log_shift)).collect();
        Self::from_sums(policy, sample, coefficients, &sums)
    }

    fn from_sums(policy: &[Categorical], sample: &Sample<'_>, coefficients: Coefficients, sums: &[Sums]) -> Self {
        let log_probability = log_probability(policy, sample.choices);
        let reference_log_probability = log_probability_of_reference(sample);
        let ratio = libm::exp(log_probability - sample.old_log_probability);
        let apart = log_probability - reference_log_probability;
        Self {
            log_probability,
            reference_log_probability,
            ratio,
            surrogate: ratio * sample.advantage,
            clipped_surrogate: ratio.clamp(1.0 - coefficients.clip, 1.0 + coefficients.clip) * sample.advantage,
            divergence: match coefficients.divergence {
                Divergence::Exact => sums.iter().map(|head| head.kl).sum(),
                Divergence::K1 => apart,
                Divergence::Reversed => -apart,
                Divergence::K2 => apart * apart / 2.0,
                Divergence::K3 => libm::exp(-apart) + apart - 1.0,
            },
            entropy: sums.iter().map(|head| head.entropy).sum(),
        }
    }

    /// The clipped branch is the smaller one, so the ratio pushes no further.
    #[must_use]
    pub fn is_clipped(&self) -> bool {
        self.clipped_surrogate < self.surrogate
    }

    /// `-min(ρA, clip(ρ)A)`.
    #[must_use]
    pub fn policy_loss(&self) -> f64 {
        -self.surrogate.min(self.clipped_surrogate)
    }

    /// The loss.
    #[must_use]
    pub fn total(&self, coefficients: Coefficients) -> f64 {
        self.policy_loss() + coefficients.kl * self.divergence - coefficients.entropy * self.entropy
    }
}

/// Gradient of [`Terms::total`] with respect to the logits, all distributions side by side. At the
/// very edge of the clip the unclipped branch counts.
#[must_use]
pub fn gradient(policy: &[Categorical], sample: &Sample<'_>, coefficients: Coefficients) -> Vec<f64> {
    let mut out = vec![0.0; policy.iter().map(|head| head.log_probabilities().len()).sum()];
    gradient_into(policy, sample, coefficients, &mut out);
    out
}

/// Writes [`gradient`] into `out`, which has one place per logit, and returns the parts of the loss.
pub fn gradient_into(
    policy: &[Categorical],
    sample: &Sample<'_>,
    coefficients: Coefficients,
    out: &mut [f64],
) -> Terms {
    let heads = policy.iter().zip(sample.reference);
    let sums: Vec<Sums> = heads.map(|(head, reference)| Sums::of(head, reference, coefficients.log_shift)).collect();
    let terms = Terms::from_sums(policy, sample, coefficients, &sums);
    // d(-ρA)/dz = -ρA (onehot - p), and nothing where the clipped branch is the smaller one.
    let push = if terms.is_clipped() { 0.0 } else { terms.surrogate };
    let apart = terms.log_probability - terms.reference_log_probability;
    // Estimates from the sampled action move with its log-probability: dD/dz = slope·(onehot - p).
    let slope = match coefficients.divergence {
        Divergence::Exact => 0.0,
        Divergence::K1 => 1.0,
        Divergence::Reversed => -1.0,
        Divergence::K2 => apart,
        Divergence::K3 => 1.0 - libm::exp(-apart),
    };
    let mut rest = out;
    let heads = policy.iter().zip(sample.reference).zip(sample.choices).zip(sums);
    for (((head, reference), &chosen), Sums { kl, surprise, .. }) in heads {
        let (out, others) = rest.split_at_mut(head.log_probabilities().len());
        rest = others;
        HeadGradient { push, slope, kl, surprise, coefficients }.write(head, reference, chosen, out);
    }
    terms
}

/// What the gradients of one head's logits share.
#[derive(Clone, Copy)]
struct HeadGradient {
    push: f64,
    slope: f64,
    kl: f64,
    /// Mean surprise.
    surprise: f64,
    coefficients: Coefficients,
}

impl HeadGradient {
    fn write(self, head: &Categorical, reference: &Categorical, chosen: usize, out: &mut [f64]) {
        let Coefficients { divergence, log_shift, .. } = self.coefficients;
        let logs = head.log_probabilities().iter().zip(reference.log_probabilities());
        let choices = head.probabilities().iter().zip(logs);
        // Two loops without a question inside; the chosen one comes after.
        if divergence == Divergence::Exact && log_shift == 0.0 {
            wide(|| {
                for (out, (p, (log_p, log_q))) in out.iter_mut().zip(choices) {
                    *out = self.exact(0.0, *p, *log_p, *log_q);
                }
            });
        } else {
            for (out, (p, (log_p, log_q))) in out.iter_mut().zip(choices) {
                *out = self.any(0.0, *p, *log_p, *log_q);
            }
        }
        let (p, log_p) = (head.probabilities()[chosen], head.log_probabilities()[chosen]);
        out[chosen] = self.any(1.0, p, log_p, reference.log_probabilities()[chosen]);
    }

    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of the loop around it")]
    #[inline(always)]
    fn exact(self, onehot: f64, p: f64, log_p: f64, log_q: f64) -> f64 {
        let Coefficients { kl, entropy, .. } = self.coefficients;
        let pull = kl * p * (log_p - log_q - self.kl);
        -self.push * (onehot - p) + pull + entropy * p * (log_p - self.surprise)
    }

    fn any(self, onehot: f64, p: f64, log_p: f64, log_q: f64) -> f64 {
        let Coefficients { kl, divergence, entropy, log_shift, .. } = self.coefficients;
        let pull = match divergence {
            Divergence::Exact => kl * p * (log_p - log_q - self.kl),
            _ => kl * self.slope * (onehot - p),
        };
        -self.push * (onehot - p) + pull + entropy * p * (surprise(p, log_p, log_shift) - self.surprise)
    }
}

fn log_probability(policy: &[Categorical], choices: &[usize]) -> f64 {
    policy.iter().zip(choices).map(|(head, &index)| head.log_probabilities()[index]).sum()
}

fn log_probability_of_reference(sample: &Sample<'_>) -> f64 {
    log_probability(sample.reference, sample.choices)
}

/// What all gradients of a head need, in one pass over it.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// `Σ p (log p - log q)`.
    kl: f64,
    /// `Σ p · surprise(p)`.
    surprise: f64,
    /// `-Σ p log(p + shift)`.
    entropy: f64,
}

impl Sums {
    fn of(head: &Categorical, reference: &Categorical, shift: f64) -> Self {
        let logs = head.log_probabilities().iter().zip(reference.log_probabilities());
        let choices = || head.probabilities().iter().zip(logs.clone());
        let (mut kl, mut plain) = (0.0, 0.0);
        for (p, (log_p, log_q)) in choices() {
            kl += p * (log_p - log_q);
            plain += p * log_p;
        }
        if shift == 0.0 {
            return Self { kl, surprise: plain, entropy: -plain };
        }
        Self {
            kl,
            surprise: choices().map(|(p, (log_p, _))| p * surprise(*p, *log_p, shift)).sum(),
            entropy: head.probabilities().iter().map(|p| -p * libm::log(p + shift)).sum(),
        }
    }
}

/// Derivative of `p log(p + shift)` with respect to p; without shift `log p`, its constant 1 cancels.
fn surprise(p: f64, log_p: f64, shift: f64) -> f64 {
    if shift == 0.0 { log_p } else { libm::log(p + shift) + p / (p + shift) }
}

#[cfg(test)]
mod tests {
    use super::super::heads::Heads;
    use super::super::heads::tests::{LOGITS, space};
    use super::*;
    use controller_core::action::Action;

    const DIVERGENCES: [Divergence; 5] =
        [Divergence::Exact, Divergence::K1, Divergence::Reversed, Divergence::K2, Divergence::K3];

    fn heads(logits: &[f64]) -> Heads {
        Heads::new(logits, &space())
    }

    #[test]
    fn gradient_equals_finite_differences_on_both_sides_of_the_clip() {
        let reference = heads(&[0.1, 0.4, -0.3, 0.2, 0.0, 0.9, 0.1, -0.2, 0.3, 0.0]);
        let choices = [1, 2, 0, 1, 0];
        let log_p = log_probability(heads(&LOGITS).categoricals(), &choices);
        for (shift, advantage) in [(0.05, 1.3), (-0.05, -0.7), (-0.5, 1.0), (0.5, 1.0), (0.5, -1.0), (-0.5, -1.0)] {
            for divergence in DIVERGENCES {
                for log_shift in [0.0, 1e-3] {
                    let coefficients = Coefficients { clip: 0.2, kl: 0.3, divergence, entropy: 0.05, log_shift };
                    let sample = Sample {
                        choices: &choices,
                        old_log_probability: log_p + shift,
                        advantage,
                        reference: reference.categoricals(),
                    };
                    let analytic = gradient(heads(&LOGITS).categoricals(), &sample, coefficients);
                    for i in 0..LOGITS.len() {
                        let at = |by: f64| {
                            let mut logits = LOGITS;
                            logits[i] += by;
                            Terms::of(heads(&logits).categoricals(), &sample, coefficients).total(coefficients)
                        };
                        let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                        let apart = (numeric - analytic[i]).abs();
                        assert!(apart < 1e-6, "{divergence:?}, shift {shift}, logit {i}: {numeric} {}", analytic[i]);
                    }
                }
            }
        }
    }

    #[test]
    fn the_clip_stops_the_push() {
        let heads = heads(&LOGITS);
        let action = Action::default();
        let choices = heads.choices(action);
        let sample = Sample {
            choices: &choices,
            old_log_probability: heads.log_probability(action) - 1.0,
            advantage: 1.0,
            reference: heads.categoricals(),
        };
        let only_ratio =
            Coefficients { clip: 0.2, kl: 0.0, divergence: Divergence::Exact, entropy: 0.0, log_shift: 0.0 };
        let still = gradient(heads.categoricals(), &sample, only_ratio);
        assert!(still.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn the_estimates_average_to_the_divergence() {
        // Σ_a π(a)·estimate(a) is exact for k1 and k3.
        let (policy, reference) = ([Categorical::new(&[0.3, -1.0, 0.8])], [Categorical::new(&[0.0, 0.5, 0.1])]);
        let mean = |divergence| -> f64 {
            let coefficients = Coefficients { clip: 0.2, kl: 1.0, divergence, entropy: 0.0, log_shift: 0.0 };
            let at = |index: usize| {
                let (choices, log_p) = ([index], policy[0].log_probabilities()[index]);
                let sample =
                    Sample { choices: &choices, old_log_probability: log_p, advantage: 0.0, reference: &reference };
                libm::exp(log_p) * Terms::of(&policy, &sample, coefficients).divergence
            };
            (0..3).map(at).sum()
        };
        let exact = policy[0].kl(&reference[0]);
        for (divergence, expected) in [
            (Divergence::Exact, exact),
            (Divergence::K1, exact),
            (Divergence::K3, exact),
            (Divergence::Reversed, -exact),
        ] {
            assert!((mean(divergence) - expected).abs() < 1e-14, "{divergence:?}");
        }
    }
}
