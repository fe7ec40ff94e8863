//! Bit-exactness in one number: a digest over many decisions.

use crate::synthetic::{Turn, reward};
use controller_core::action::{Action, Knob};
use controller_core::observation::{MAX_FEATURES, ONE, Observation};
use controller_core::policy::Policy;
use controller_core::reward::Components;
use controller_core::rng::Pcg32;

/// FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo) with 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The digest of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes in bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Takes in an action, one byte per knob.
    pub fn action(&mut self, action: Action) {
        self.bytes(&Knob::ALL.map(|knob| action.get(knob)));
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

/// A uniform random observation of `inputs` features.
pub fn draw_observation(rng: &mut Pcg32, inputs: usize) -> Observation {
    let span = 2 * u32::from(ONE.unsigned_abs()) + 1;
    let value = |_| i16::try_from(rng.below(span)).unwrap_or(0) - ONE;
    (0..inputs.min(MAX_FEATURES)).map(value).collect()
}

/// Digest of the chosen action, the CRC-32 of all logits, and the reward of a random outcome of
/// that action, for `count` uniform random observations. The same image, seed and count must give
/// the same digest on every machine and in every build.
#[must_use]
pub fn decision_digest(policy: &Policy<'_>, seed: u64, count: u32) -> u64 {
    let mut rng = Pcg32::new(seed);
    let mut digest = Digest::new();
    let header = policy.image().header();
    let reward = reward(&header.actions);
    for number in 0..count {
        let output = policy.evaluate(&draw_observation(&mut rng, header.observation.len()));
        digest.action(output.action);
        digest.bytes(&output.logits_crc.to_le_bytes());
        let turn = Turn::draw(&mut rng, number);
        let setting = header.actions.setting(output.action);
        if let Some(Ok(reward)) = setting.map(|setting| reward.settle(setting, &turn.measurement)) {
            let Components { efficiency, response, temperature, power, quality } = reward.components;
            for part in [efficiency, response, temperature, power, quality, reward.total] {
                digest.bytes(&part.to_le_bytes());
            }
        }
    }
    digest.value()
}
