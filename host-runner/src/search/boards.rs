//! Boards as they could be: draws of a few-parameter model of time and power over clock and batch.
//!
//! The form is that of the plant. A batch takes the longer of a launch floor that no GPU clock
//! changes and of GPU work that shrinks with the clock and grows with the batch, joined softly; a prefill comes
//! on top. Power has four parts: static, per launch (so `1/t`), clocks (`f^a`), and tokens.
//!
//! [`Prior::Generic`] spreads every parameter over all that such an engine could be: the knee of the
//! roofline anywhere in the range of the clocks, any split of the power. No number in it comes from a log.
//! [`Prior::Board`] varies a calibrated profile a little, as sessions of one board differ.

use crate::env::replay::{Arm, Objective, Outcome};
use firmware_sim::plant::noise::Generator;
use firmware_sim::plant::{Profile, latency, power};

/// Where imagined boards come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Prior {
    /// Any board.
    Generic,
    /// Boards like this one.
    Board(Box<Profile>),
}

/// Boards imagined for a prior.
const BOARDS: usize = 1000;
/// Decode steps of a batch, and prompt tokens of a request, as in the published sweeps. Time and energy are taken
/// relative to the reference arm, so that these two matter for the share of the prefill alone.
const STEPS: f64 = 100.0;
const PROMPT_TOKENS: f64 = 17.0;

impl Prior {
    /// Costs of all arms on imagined boards, one vector per board. Every board is scaled to
    /// the known time and energy of the objective's reference arm, so that only ratios are imagined.
    #[must_use]
    pub fn costs(&self, arms: &[Arm], objective: &Objective, seed: u64) -> Vec<Vec<f64>> {
        self.on_boards(arms, objective, seed, |outcomes| {
            arms.iter().zip(outcomes).map(|(arm, outcome)| objective.cost(*arm, *outcome)).collect()
        })
    }

    /// Energy of a batch at the hungriest arm, J, one number per imagined board.
    #[must_use]
    pub fn hungriest_batch_j(&self, arms: &[Arm], objective: &Objective, seed: u64) -> Vec<f64> {
        self.on_boards(arms, objective, seed, |outcomes| {
            outcomes.iter().map(|outcome| outcome.energy_j).fold(0.0, f64::max)
        })
    }

    /// What all arms do on every imagined board, seen through `view`.
    fn on_boards<T>(&self, arms: &[Arm], objective: &Objective, seed: u64, view: impl Fn(&[Outcome]) -> T) -> Vec<T> {
        let mut random = Generator::new(seed);
        let clocks = arms.iter().map(|arm| arm.clock_ghz);
        let range = clocks.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), f| (low.min(f), high.max(f)));
        let board = |_| match self {
            Self::Generic => view(&outcomes(arms, objective, FewParameters::draw(range, objective, &mut random))),
            Self::Board(profile) => {
                let varied = vary(profile, 1.0, &mut random);
                view(&outcomes(arms, objective, |arm: Arm| full_batch(&varied, arm, varied.layers)))
            }
        };
        (0..BOARDS).map(board).collect()
    }
}

/// What all arms do on one board, scaled to the reference.
fn outcomes(arms: &[Arm], objective: &Objective, board: impl Fn(Arm) -> Outcome) -> Vec<Outcome> {
    let (there, known) = (board(objective.reference), objective.at_reference);
    let scaled = |outcome: Outcome| Outcome {
        energy_j: outcome.energy_j / there.energy_j * known.energy_j,
        latency_s: outcome.latency_s / there.latency_s * known.latency_s,
    };
    arms.iter().map(|arm| scaled(board(*arm))).collect()
}

/// A board in nine numbers, in units of its own launch floor.
struct FewParameters {
    /// Clock at which one request's GPU work takes as long as the launch floor, GHz.
    knee_ghz: f64,
    /// Growth of GPU work per further request.
    growth: f64,
    /// GPU time that no clock changes.
    memory: f64,
    /// Exponent that joins floor and work.
    sharpness: f64,
    /// Prefill per request at the reference clock.
    prefill: f64,
    /// Power at the reference: static, launches, clocks, tokens; sums to 1.
    shares: [f64; 4],
    /// Power of the clock that the clock part follows.
    exponent: f64,
}

impl FewParameters {
    /// Any board. Log-uniform where a number has no scale, uniform where it is a share.
    fn draw((low_ghz, high_ghz): (f64, f64), objective: &Objective, random: &mut Generator) -> impl Fn(Arm) -> Outcome {
        let mut between = |low: f64, high: f64| low + (high - low) * random.uniform();
        let mut scale = |low: f64, high: f64| between(low.ln(), high.ln()).exp();
        // Half the lowest clock: never GPU-bound. The highest: GPU-bound at every clock.
        let knee_ghz = scale(low_ghz / 2.0, high_ghz);
        let growth = scale(0.005, 0.1);
        let sharpness = scale(2.0, 16.0);
        let (memory, prefill, exponent) = (between(0.0, 0.2), between(0.0, 0.005), between(1.0, 3.0));
        // Spacings of exponentials: every split of the whole is equally likely.
        let parts: [f64; 4] = core::array::from_fn(|_| -(1.0 - between(0.0, 1.0)).ln());
        let whole: f64 = parts.iter().sum();
        let shares = parts.map(|part| part / whole);
        let board = Self { knee_ghz, growth, memory, sharpness, prefill, shares, exponent };
        let reference = objective.reference;
        move |arm| board.outcome(arm, reference)
    }

    fn decode(&self, arm: Arm) -> f64 {
        let work = self.knee_ghz / arm.clock_ghz * (1.0 + self.growth * (arm.batch - 1.0)) + self.memory;
        (1.0 + work.powf(self.sharpness)).powf(1.0 / self.sharpness)
    }

    fn outcome(&self, arm: Arm, reference: Arm) -> Outcome {
        let (decode, there) = (self.decode(arm), self.decode(reference));
        let clock = arm.clock_ghz / reference.clock_ghz;
        let [fixed, launches, clocks, tokens] = self.shares;
        let rate = arm.batch / reference.batch * there / decode;
        let power = fixed + launches * there / decode + clocks * clock.powf(self.exponent) + tokens * rate;
        let latency_s = decode + self.prefill * arm.batch / clock;
        Outcome { energy_j: power * latency_s, latency_s }
    }
}

/// A board like this one: single parameters off by some percent, as between sessions; `spread` 5 makes it another board.
#[must_use]
pub fn vary(profile: &Profile, spread: f64, random: &mut Generator) -> Profile {
    let mut varied = profile.clone();
    let mut factor = |sd: f64| (spread * sd * random.normal().clamp(-2.0, 2.0)).exp();
    let decode = &mut varied.decode;
    decode.floor_s *= factor(0.03);
    decode.gpu_s_ghz *= factor(0.05);
    decode.gpu_per_sequence_s_ghz *= factor(0.05);
    decode.memory_s *= factor(0.2);
    let power = &mut varied.power.decode;
    power.base_w *= factor(0.05);
    power.clock_w_per_ghz *= factor(0.1);
    power.clock_squared_w_per_ghz2 *= factor(0.1);
    power.launch_j *= factor(0.05);
    power.token_j *= factor(0.1);
    power.token_clock_j_per_ghz *= factor(0.1);
    varied
}

/// A full batch of the published sweeps on a profile at a depth, without noise.
#[must_use]
pub fn full_batch(profile: &Profile, arm: Arm, depth: u32) -> Outcome {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clocks and batches are small and positive"
    )]
    let (khz, batch, tokens) =
        ((arm.clock_ghz * 1e6).round() as u32, arm.batch as u32, (arm.batch * PROMPT_TOKENS) as u32);
    let die_c = profile.power.leakage.reference_c;
    let step_s = latency::decode_step_seconds(profile, khz, batch, depth, 1.0);
    let prefill_s = latency::prefill_seconds(profile, khz, batch, tokens, depth);
    let decode_w = power::decode_watts(profile, khz, batch, depth, step_s, die_c);
    Outcome {
        energy_j: decode_w * STEPS * step_s + power::prefill_watts(profile, khz, die_c) * prefill_s,
        latency_s: STEPS * step_s + prefill_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms() -> Vec<Arm> {
        let row = |clock: u32| {
            (1..=7).map(move |b| Arm { clock_ghz: 0.204 + 0.102 * f64::from(clock), batch: 4.0 * f64::from(b) })
        };
        (1..=7).flat_map(row).collect()
    }

    fn objective(arms: &[Arm]) -> Objective {
        let reference = arms[arms.len() - 1];
        Objective { requests_per_s: 1.0, reference, at_reference: Outcome { energy_j: 150.0, latency_s: 4.5 } }
    }

    #[test]
    fn every_imagined_board_costs_one_at_the_reference_and_obeys_physics() {
        let arms = arms();
        let objective = objective(&arms);
        for prior in [Prior::Generic, Prior::Board(Box::new(Profile::agx_orin_hf()))] {
            for costs in prior.costs(&arms, &objective, 3) {
                assert!((costs[arms.len() - 1] - 1.0).abs() < 1e-9);
                assert!(costs.iter().all(|cost| cost.is_finite() && *cost > 0.0));
                // At a clock and a light load, a batch of 4 wastes energy: the costs of the first clock fall with the batch.
                assert!(costs[0] > costs[1], "{:?}", &costs[..7]);
            }
        }
    }

    #[test]
    fn the_same_seed_imagines_the_same_boards() {
        let arms = arms();
        let draw = |seed| Prior::Generic.costs(&arms, &objective(&arms), seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
