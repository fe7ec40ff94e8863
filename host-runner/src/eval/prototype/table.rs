//! What every action of the published space is worth at a temperature, by the plant.

use controller_core::action::{Action, ActionSpace};
use controller_core::reward::published::Outcome;
use controller_core::reward::reference;
use controller_core::reward::step::Step;
use firmware_sim::plant::Profile;
use firmware_sim::plant::latency::{decode_step_seconds, prefill_seconds};
use firmware_sim::plant::power::{Lag, decode_watts, leakage_watts, logged_prefill_watts};

/// New tokens per sequence in every published log.
const STEPS: u32 = 100;
/// Padded prompt length by batch, tokens: means over the published fan-on grid. The longest of more prompts is longer.
const PADDED_LENGTH: [(u32, f64); 6] = [(1, 11.2), (4, 13.5), (8, 15.0), (16, 16.4), (24, 17.1), (32, 17.7)];

/// A batch at one action, at the temperature that the power fit stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Batch {
    prefill_s: f64,
    decode_s: f64,
    decode_w: f64,
    prefill_khz: u32,
    tokens: f64,
}

/// All actions under a reward.
#[derive(Clone, Debug)]
pub struct Table {
    profile: Profile,
    actions: ActionSpace,
    batches: Vec<Batch>,
    rule: Step<f64>,
}

/// The published action space: every clock for prefill and decode, batches 1 to 32, full depth.
#[must_use]
pub fn published_actions(profile: &Profile) -> ActionSpace {
    ActionSpace {
        prefill_khz: profile.gpu_clock_khz.iter().copied().collect(),
        decode_khz: profile.gpu_clock_khz.iter().copied().collect(),
        batch: (1..=32).collect(),
        depth: u16::try_from(profile.layers).into_iter().collect(),
        fan_pwm: [0].into_iter().collect(),
    }
}

impl Table {
    /// The table of a board in a session: `floor_scale` is the scalar on the decode launch floor.
    #[must_use]
    pub fn new(profile: &Profile, floor_scale: f64, rule: Step<f64>) -> Self {
        let actions = published_actions(profile);
        let batches = (0..actions.count()).filter_map(|index| actions.action(index));
        let batches = batches.map(|action| batch(profile, &actions, action, floor_scale)).collect();
        Self { profile: profile.clone(), actions, batches, rule }
    }

    /// The actions.
    #[must_use]
    pub const fn actions(&self) -> &ActionSpace {
        &self.actions
    }

    /// Reward of an action at a die temperature.
    ///
    /// # Panics
    /// When the action is not one of the table.
    #[must_use]
    pub fn reward(&self, action: Action, die_c: f64) -> f64 {
        let index = self.actions.index(action).expect("an action of the published space");
        self.settle(&self.batches[index], die_c, (1.0, 1.0))
    }

    /// The same with factors on time and power, as batches of one setting differ.
    #[must_use]
    pub fn noisy_reward(&self, action: Action, die_c: f64, factors: (f64, f64)) -> f64 {
        let index = self.actions.index(action).expect("an action of the published space");
        self.settle(&self.batches[index], die_c, factors)
    }

    /// Rewards of all actions at a die temperature, in the order of the action space.
    #[must_use]
    pub fn rewards(&self, die_c: f64) -> Vec<f64> {
        self.batches.iter().map(|batch| self.settle(batch, die_c, (1.0, 1.0))).collect()
    }

    fn settle(&self, batch: &Batch, die_c: f64, (slower, hungrier): (f64, f64)) -> f64 {
        let decode_w = (batch.decode_w + leakage_watts(&self.profile.power.leakage, die_c)) * hungrier;
        let prefill_w = logged_prefill_watts(Lag::SameRow, decode_w, batch.prefill_khz);
        let decode_s = batch.decode_s * slower;
        let energy = decode_w * decode_s + prefill_w * batch.prefill_s;
        let latency = batch.prefill_s + decode_s;
        let outcome = Outcome {
            throughput: batch.tokens / latency,
            edp_efficiency: 1.0 / (energy * latency),
            energy: Some(energy),
            latency,
            power: f64::midpoint(decode_w, prefill_w),
            temperature: die_c,
            entropy: None,
            depth: None,
        };
        reference::step(&self.rule, &outcome).expect("finite outcomes and ranges that are not empty").total()
    }
}

fn batch(profile: &Profile, actions: &ActionSpace, action: Action, floor_scale: f64) -> Batch {
    let setting = actions.setting(action).expect("an action of the published space");
    let (sequences, depth) = (u32::from(setting.batch), u32::from(setting.depth));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred tokens")]
    let prompt_tokens = (f64::from(sequences) * padded_length(sequences)).round() as u32;
    let step_s = decode_step_seconds(profile, setting.decode.0, sequences, depth, floor_scale);
    // At the reference temperature, where leakage adds nothing.
    let decode_w = decode_watts(profile, setting.decode.0, sequences, depth, step_s, profile.power.leakage.reference_c);
    Batch {
        prefill_s: prefill_seconds(profile, setting.prefill.0, sequences, prompt_tokens, depth),
        decode_s: f64::from(STEPS) * step_s,
        decode_w,
        prefill_khz: setting.prefill.0,
        tokens: f64::from(prompt_tokens + STEPS * sequences),
    }
}

/// Straight lines between the measured batches.
fn padded_length(batch: u32) -> f64 {
    let line = PADDED_LENGTH.windows(2).find(|pair| batch <= pair[1].0);
    line.map_or(PADDED_LENGTH[5].1, |pair| {
        let ((low, a), (high, b)) = (pair[0], pair[1]);
        a + (b - a) * f64::from(batch.saturating_sub(low)) / f64::from(high - low)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_lengths_meet_the_measured_ones() {
        for (batch, length) in PADDED_LENGTH {
            assert!((padded_length(batch) - length).abs() < 1e-12);
        }
        assert!((padded_length(6) - 14.25).abs() < 1e-12);
    }

    #[test]
    fn actions_are_in_the_published_order() {
        // idx = p*352 + d*32 + (b-1), checked against the published log: (7,6,32) is 2687.
        let actions = published_actions(&Profile::agx_orin_hf());
        assert_eq!(actions.count(), 3872);
        assert_eq!(actions.index(Action { prefill: 7, decode: 6, batch: 31, depth: 0, fan: 0 }), Some(2687));
    }
}
