//! What our policies look at.

use controller_core::observation::{Feature, FeatureRange};

/// Features and ranges of policies trained here. Ranges cover what an AGX Orin can meet; values
/// outside saturate.
#[must_use]
pub fn standard() -> Vec<FeatureRange> {
    let range = |feature, low, high| FeatureRange { feature, low, high };
    vec![
        range(Feature::Temperature, 20_000, 100_000),
        range(Feature::TemperatureSlope, -100, 100),
        range(Feature::FanPwm, 0, 255),
        range(Feature::OfferedOctaves, 0, 2_560),
        range(Feature::Queue, 0, 64),
        range(Feature::Power, 10_000, 45_000),
        range(Feature::DecodeClock, 306_000, 1_300_500),
        range(Feature::Depth, 8, 16),
        range(Feature::ResponseShare, 0, 4_000),
        range(Feature::BatchShare, 0, 2_000),
        range(Feature::TokenAllowance, 0, 160),
        range(Feature::ServedOctaves, 0, 2_560),
        range(Feature::PeakResponse, 0, 4_000),
    ]
}

/// Fraction bits of a normalized feature: ±8191 stands for ±1.
pub const INPUT_BITS: i32 = 13;

/// A normalized observation as the network in training sees it.
#[must_use]
pub fn real_input(observation: &[i16]) -> Vec<f64> {
    observation.iter().map(|x| f64::from(*x) / f64::from(1 << INPUT_BITS)).collect()
}
