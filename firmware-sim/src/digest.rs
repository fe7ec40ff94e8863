//! Bit-exactness in one number: a digest over the decisions of a policy on random observations.

use controller_core::action::Knob;
use controller_core::observation::{MAX_FEATURES, ONE};
use controller_core::policy::Policy;
use controller_core::rng::Pcg32;

/// FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo), 64 bits, over the chosen indices and the CRC-32 of
/// all logits for `count` uniform random observations. The same image, seed and count must give
/// the same digest on every machine and in every build.
#[must_use]
pub fn policy_digest(policy: &Policy<'_>, seed: u64, count: u32) -> u64 {
    let mut rng = Pcg32::new(seed);
    let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
    let inputs = policy.image().header().observation.len();
    let span = 2 * ONE.unsigned_abs() + 1;
    for _ in 0..count {
        let mut observation = [0i16; MAX_FEATURES];
        for value in observation.iter_mut().take(inputs) {
            let drawn = rng.below(u32::from(span));
            *value = i16::try_from(drawn).unwrap_or(0) - ONE;
        }
        let output = policy.evaluate(observation.get(..inputs).unwrap_or_default());
        let indices = Knob::ALL.map(|knob| output.action.get(knob));
        for byte in indices.into_iter().chain(output.logits_crc.to_le_bytes()) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    digest
}
