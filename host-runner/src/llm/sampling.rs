//! From logits to a token, and how sure the model was.

use super::request::{Sampling, TokenId};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

/// A distribution over the vocabulary, reduced to what decides and what is reported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distribution {
    /// The most probable token.
    pub(super) best: TokenId,
    /// Nats: 0 for certainty, ln(vocabulary) for no idea. Of the model's own distribution, before any temperature.
    pub(super) entropy: f32,
}

impl Distribution {
    /// Reduces logits; `None` if one is NaN or plus infinity, or all are minus infinity (an excluded token).
    pub(super) fn of(logits: &[f32]) -> Option<Self> {
        let (mut best, mut max) = (0, f32::NEG_INFINITY);
        for (token, &logit) in logits.iter().enumerate() {
            if logit > max {
                (best, max) = (token, logit);
            } else if logit.is_nan() {
                return None;
            }
        }
        if !max.is_finite() {
            return None;
        }
        // With d = logit - max: H = ln(sum e^d) - sum(d e^d) / sum(e^d). One exponential per logit.
        let (mut sum, mut weighted) = (0.0_f64, 0.0_f64);
        for &logit in logits {
            let d = logit - max;
            let weight = d.exp();
            if weight > 0.0 {
                sum += f64::from(weight);
                weighted += f64::from(weight * d);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "an entropy is at most ln(2^31)")]
        let entropy = (sum.ln() - weighted / sum).max(0.0) as f32;
        Some(Self { best: TokenId::try_from(best).ok()?, entropy })
    }
}

/// Natural logarithm of the probability of `token`. The logits are a distribution ([`Distribution::of`]).
pub(super) fn log_probability(logits: &[f32], token: TokenId) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - max).exp())).sum();
    let own = usize::try_from(token).ok().and_then(|token| logits.get(token)).copied();
    f64::from(own.unwrap_or(f32::NEG_INFINITY) - max) - sum.ln()
}

/// Chooses tokens for one sequence.
pub(super) enum Sampler {
    Greedy,
    /// llama.cpp's own chain, with its own random state.
    Chain(LlamaSampler),
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        match sampling {
            Sampling::Greedy => Self::Greedy,
            Sampling::Nucleus { temperature, top_p, seed } => Self::Chain(LlamaSampler::chain_simple([
                LlamaSampler::temp(temperature),
                LlamaSampler::top_p(top_p, 1),
                // The greatest seed means "a random one" to llama.cpp.
                LlamaSampler::dist(seed.min(u32::MAX - 1)),
            ])),
        }
    }

    /// The next token, given its `logits` and what they come to.
    pub(super) fn choose(&mut self, logits: &[f32], distribution: Distribution) -> TokenId {
        match self {
            Self::Greedy => distribution.best,
            Self::Chain(chain) => {
                let data = (0..).zip(logits).map(|(token, &z)| LlamaTokenData::new(LlamaToken::new(token), z, 0.0));
                let mut candidates = LlamaTokenDataArray::from_iter(data, false);
                candidates.apply_sampler(chain);
                candidates.selected_token().map_or(distribution.best, |token| token.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_distributions() {
        let uniform = Distribution::of(&[3.0; 8]).unwrap();
        assert_eq!(uniform.best, 0);
        assert!((uniform.entropy - 8_f32.ln()).abs() < 1e-6);

        let certain = Distribution::of(&[0.0, 200.0, -5.0]).unwrap();
        assert_eq!((certain.best, certain.entropy), (1, 0.0));

        // p = (3/4, 1/4): 2 ln 2 - 3/4 ln 3
        let skewed = Distribution::of(&[3_f32.ln(), 0.0]).unwrap();
        assert!((skewed.entropy - (2.0 * 2_f32.ln() - 0.75 * 3_f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn excluded_tokens_count_as_impossible() {
        let half = Distribution::of(&[f32::NEG_INFINITY, 1.0, 1.0]).unwrap();
        assert_eq!(half.best, 1);
        assert!((half.entropy - 2_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn probabilities_of_tokens() {
        let logits = [3_f32.ln(), 0.0];
        assert!((log_probability(&logits, 0) - 0.75_f64.ln()).abs() < 1e-6);
        assert!((log_probability(&logits, 1) - 0.25_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn no_distribution_without_finite_logits() {
        for logits in [&[0.0, f32::NAN][..], &[f32::NAN, 0.0], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY; 3], &[]] {
            assert_eq!(Distribution::of(logits), None, "{logits:?}");
        }
    }

    #[test]
    fn draws_repeat_with_the_seed() {
        let logits: Vec<f32> = (0..64_u8).map(|i| f32::from(i % 7)).collect();
        let distribution = Distribution::of(&logits).unwrap();
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling::Nucleus { temperature: 1.0, top_p: 0.9, seed });
            (0..50).map(|_| sampler.choose(&logits, distribution)).collect::<Vec<_>>()
        };
        for seed in [0, 1, u32::MAX] {
            assert_eq!(draw(seed), draw(seed));
        }
        assert_ne!(draw(1), draw(2));
    }
}
