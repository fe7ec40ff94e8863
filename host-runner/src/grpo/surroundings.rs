//! Rooms, loads and answers to train in: drawn at random, so that a policy meets cold starts and heat
//! waves, dead fans, idling and overload, steady and bursty loads, short and long answers.

use controller_core::rng::Pcg32;
use firmware_sim::plant::Conditions;

/// No load is offered beyond what the board can carry at its fastest and no answer is so long, tokens per second;
/// beyond it every action is equally bad and nothing is learned.
const MOST_TOKENS_PER_S: f64 = 900.0;
/// The answers, tokens, that the response limit of a profile is made for; who asks for longer ones waits longer.
const USUAL_ANSWER: f64 = 20.0;
/// Loads are drawn up to here: the longest context and the longest hold after it, seconds.
const LOAD_UNTIL_S: f64 = 3500.0;
/// Fans fail within this time: late enough to have worked, soon enough that a policy learns to be cool by then, seconds.
const FAILS_WITHIN_S: f64 = 900.0;

/// What a context is put into.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Room, start, fan and noise of the board.
    pub conditions: Conditions,
    /// When the fan fails, seconds; `None`: never.
    pub fan_fails_at_s: Option<f64>,
    /// From each moment on (seconds), so many requests per second.
    pub load: Vec<(f64, f64)>,
    /// Shortest and longest prompt, tokens.
    pub prompt_tokens: (u32, u32),
    /// Shortest and longest answer, tokens.
    pub answer_tokens: (u32, u32),
    /// How much longer than the profile's the response limit is.
    pub patience: f64,
    /// When the context is left, seconds.
    pub ends_s: f64,
}

/// Uniform in `low..high`.
#[must_use]
pub fn uniform(rng: &mut Pcg32, low: f64, high: f64) -> f64 {
    low + (high - low) * f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// As many between 1 and 2 as between 4 and 8; both ends must be above zero.
#[must_use]
pub fn log_uniform(rng: &mut Pcg32, (low, high): (f64, f64)) -> f64 {
    libm::exp(uniform(rng, libm::log(low), libm::log(high)))
}

impl Surroundings {
    /// Draws some.
    #[must_use]
    pub fn random(rng: &mut Pcg32) -> Self {
        let ambient_c = uniform(rng, 10.0, 48.0);
        let conditions = Conditions {
            ambient_c,
            start_c: uniform(rng, ambient_c, 94.0),
            seed: u64::from(rng.next_u32()),
            fan_working: rng.below(4) != 0,
            floor_scale: uniform(rng, 0.96, 1.04),
            ..Conditions::default()
        };
        let answer = log_uniform(rng, (12.0, 120.0));
        let spread = uniform(rng, 0.0, 0.5);
        Self {
            conditions,
            fan_fails_at_s: (rng.below(2) == 0).then(|| uniform(rng, 0.0, FAILS_WITHIN_S)),
            load: load(rng, (MOST_TOKENS_PER_S / answer).min(10.0)),
            prompt_tokens: (12, 28),
            answer_tokens: (round(answer * (1.0 - spread)), round(answer * (1.0 + spread))),
            patience: answer / USUAL_ANSWER * log_uniform(rng, (0.7, 2.0)),
            ends_s: uniform(rng, 200.0, 1200.0),
        }
    }
}

impl Surroundings {
    /// Mean arrival rate over all of the load.
    #[must_use]
    pub fn requests_per_s(&self) -> f64 {
        let ends_s = self.load.iter().skip(1).map(|(from_s, _)| *from_s).chain([LOAD_UNTIL_S]);
        let spans_s = ends_s.zip(&self.load).map(|(to_s, (from_s, rate))| (to_s.min(LOAD_UNTIL_S) - from_s, rate));
        spans_s.map(|(span_s, rate)| span_s.max(0.0) * rate).sum::<f64>() / LOAD_UNTIL_S
    }
}

/// Of eight loads five are steady, one changes every few minutes, and two come in bursts.
fn load(rng: &mut Pcg32, highest: f64) -> Vec<(f64, f64)> {
    let rate = |rng: &mut Pcg32| log_uniform(rng, (0.3, highest));
    let mut load = vec![(0.0, rate(rng))];
    let (mut now_s, kind) = (0.0, rng.below(8));
    while kind >= 5 && now_s < LOAD_UNTIL_S {
        if kind == 5 {
            now_s += uniform(rng, 100.0, 400.0);
            load.push((now_s, rate(rng)));
        } else {
            now_s += uniform(rng, 30.0, 90.0);
            load.push((now_s, uniform(rng, highest / 2.0, highest * 1.3)));
            now_s += uniform(rng, 5.0, 15.0);
            load.push((now_s, load[0].1));
        }
    }
    load
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred tokens")]
fn round(tokens: f64) -> u32 {
    tokens.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn surroundings_can_be_lived_in(seed in any::<u64>()) {
            let Surroundings { conditions, load, answer_tokens: (low, high), patience, .. } =
                Surroundings::random(&mut Pcg32::new(seed));
            prop_assert!(conditions.start_c >= conditions.ambient_c);
            prop_assert!(load[0].0 == 0.0 && load.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(load.iter().all(|(_, rate)| (0.29..=13.1).contains(rate)));
            prop_assert!(1 <= low && low <= high && high <= 180);
            prop_assert!((0.4..=12.1).contains(&patience));
            let rate = Surroundings::random(&mut Pcg32::new(seed)).requests_per_s();
            let (least, most) = load.iter().fold((f64::MAX, 0.0f64), |(least, most), (_, rate)| (least.min(*rate), most.max(*rate)));
            prop_assert!(least - 1e-9 <= rate && rate <= most + 1e-9);
            prop_assert!(load.len() > 1 || (rate - load[0].1).abs() < 1e-9);
        }
    }
}
