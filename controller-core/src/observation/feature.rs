//! What the controller can look at, and how a number becomes an input of the policy.

use crate::division::quotient;
use crate::wire::wire;
use core::fmt;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Most features of an observation.
pub const MAX_FEATURES: usize = 16;

/// A normalized feature lies in `-ONE..=ONE`, standing for -1 to 1 (Q13, less the top step so
/// that the range is symmetric).
pub const ONE: i16 = 8191;

/// Version of the meaning of the features; images made for another one are refused.
pub const FEATURES_VERSION: u16 = 2;

/// What the controller can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feature {
    /// Junction temperature, milli-degrees Celsius.
    Temperature,
    /// Rate of change of the temperature over half a minute, milli-kelvin per second.
    TemperatureSlope,
    /// Fan drive as read back, 0 to 255.
    FanPwm,
    /// Arrival rate, thousandths of a request per second.
    OfferedLoad,
    /// Waiting requests.
    Queue,
    /// Mean power, milliwatts.
    Power,
    /// Decode clock of the previous turn, kHz.
    DecodeClock,
    /// Exit layer of the previous turn.
    Depth,
    /// Longest response of the previous batch, milliseconds.
    Response,
    /// Mean next-token entropy of the previous batch, thousandths of a nat.
    Entropy,
    /// Index of the prefill clock of the previous batch.
    PrefillIndex,
    /// Index of the decode clock of the previous batch.
    DecodeIndex,
    /// Most requests of the previous batch, as its action had it.
    BatchSize,
    /// Tokens per second that answer the offered load: arrival rate times the mean answer of about the last 256 requests.
    OfferedTokens,
    /// Response that the reward allows, milliseconds per token of that mean answer; 0, the strictest, where the reward
    /// knows no limit.
    TokenAllowance,
    /// Longest response of a batch, thousandths of what the reward allows, mean over about the last 256 requests.
    ResponseShare,
    /// Prefill and decode of a batch, thousandths of the response that the reward allows, mean over about the last 256
    /// requests.
    BatchShare,
    /// Tokens per second, idle time included, over about the last 256 requests, in 256ths of an octave above one a second. Who
    /// keeps up serves what is offered, so this is the load without the chance of the last half minute.
    ServedOctaves,
    /// Highest response of the recent past, thousandths of what the reward allows: longest of a batch, falling to the mean over
    /// about 256 requests. Tells bursts from a steady load while it is calm.
    PeakResponse,
    /// [`Feature::OfferedTokens`] in 256ths of an octave above one a second: a board meets loads from some tokens a second to
    /// a thousand, and what to do depends on their ratio.
    OfferedOctaves,
}

wire!(enum Feature {
    0 => Temperature,
    1 => TemperatureSlope,
    2 => FanPwm,
    3 => OfferedLoad,
    4 => Queue,
    5 => Power,
    6 => DecodeClock,
    7 => Depth,
    8 => Response,
    9 => Entropy,
    10 => PrefillIndex,
    11 => DecodeIndex,
    12 => BatchSize,
    13 => OfferedTokens,
    14 => TokenAllowance,
    15 => ResponseShare,
    16 => BatchShare,
    17 => ServedOctaves,
    18 => PeakResponse,
    19 => OfferedOctaves,
});

/// One feature and the values that map to -1 and to 1; values outside saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureRange {
    /// Which feature.
    pub feature: Feature,
    /// Maps to -1.
    pub low: i32,
    /// Maps to 1.
    pub high: i32,
}

wire!(struct FeatureRange { feature, low, high });

impl FeatureRange {
    /// Maps a raw value to `-ONE..=ONE`, rounding half up, saturating at the ends.
    #[must_use]
    pub fn normalize(&self, raw: i32) -> i16 {
        let span = i64::from(self.high) - i64::from(self.low);
        if span <= 0 {
            return 0; // refused by `Layout` checks; harmless all the same
        }
        let above = (i64::from(raw) - i64::from(self.low)).clamp(0, span);
        let (above, span, one) = (above.unsigned_abs(), span.unsigned_abs(), u64::from(ONE.unsigned_abs()));
        let steps = quotient(above * 2 * one + span / 2, span); // from -1 upwards
        i16::try_from(steps).map_or(ONE, |steps| steps - ONE)
    }
}

/// 256ths of an octave above one; 0 at one and below. Between powers of two the logarithm is taken as straight, which is at
/// most 22 too low.
pub(super) fn octaves(value: u64) -> i32 {
    let value = u32::try_from(value).unwrap_or(u32::MAX).max(1);
    let whole = value.ilog2();
    let part = (value << (31 - whole) >> 23) & 0xff;
    i32::try_from((whole << 8) + part).unwrap_or(i32::MAX)
}

/// The features of a policy in the order of its inputs.
pub type Layout = Vec<FeatureRange, MAX_FEATURES>;

/// Normalized features, ready for the policy.
pub type Observation = Vec<i16, MAX_FEATURES>;

/// Why a layout cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// No features at all.
    Empty,
    /// A range whose high end is not above its low end.
    EmptyRange(Feature),
    /// The same feature twice.
    Repeated(Feature),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the observation has no features; name at least one"),
            Self::EmptyRange(feature) => {
                write!(f, "the range of {feature:?} is empty; its high end must lie above its low end")
            }
            Self::Repeated(feature) => write!(f, "{feature:?} occurs twice in the observation; name it once"),
        }
    }
}

impl core::error::Error for LayoutError {}

/// Checks that a layout has features, each once, each with a range that is not empty.
pub fn check_layout(layout: &[FeatureRange]) -> Result<(), LayoutError> {
    if layout.is_empty() {
        return Err(LayoutError::Empty);
    }
    for (position, range) in layout.iter().enumerate() {
        if range.high <= range.low {
            return Err(LayoutError::EmptyRange(range.feature));
        }
        if layout.iter().skip(position + 1).any(|other| other.feature == range.feature) {
            return Err(LayoutError::Repeated(range.feature));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEMPERATURE: FeatureRange = FeatureRange { feature: Feature::Temperature, low: 20_000, high: 100_000 };

    #[test]
    fn normalization_hits_its_ends_and_middle() {
        for (raw, expected) in [(20_000, -ONE), (60_000, 0), (100_000, ONE), (0, -ONE), (i32::MAX, ONE)] {
            assert_eq!(TEMPERATURE.normalize(raw), expected, "raw {raw}");
        }
    }

    proptest! {
        #[test]
        fn normalization_is_monotone_and_bounded(low in any::<i32>(), high in any::<i32>(), a in any::<i32>(), b in any::<i32>()) {
            prop_assume!(low < high);
            let range = FeatureRange { feature: Feature::Queue, low, high };
            let (x, y) = (range.normalize(a.min(b)), range.normalize(a.max(b)));
            prop_assert!(x <= y);
            prop_assert!((-ONE..=ONE).contains(&x) && (-ONE..=ONE).contains(&y));
        }
    }

    proptest! {
        #[test]
        fn octaves_are_a_logarithm(low in 1u64..=1 << 31, high in 1u64..=1 << 31) {
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(octaves(low) <= octaves(high));
            prop_assert_eq!(octaves(2 * low.min(1 << 30)), octaves(low.min(1 << 30)) + 256);
            prop_assert_eq!(octaves(1 << low.ilog2()), 256 * i32::try_from(low.ilog2()).unwrap());
        }
    }

    #[test]
    fn layouts_are_checked() {
        assert_eq!(check_layout(&[]), Err(LayoutError::Empty));
        assert_eq!(check_layout(&[TEMPERATURE, TEMPERATURE]), Err(LayoutError::Repeated(Feature::Temperature)));
        let flat = FeatureRange { high: 20_000, ..TEMPERATURE };
        assert_eq!(check_layout(&[flat]), Err(LayoutError::EmptyRange(Feature::Temperature)));
    }
}
