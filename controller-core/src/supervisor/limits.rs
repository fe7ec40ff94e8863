//! What no governor may pass, and how early the supervisor steps in.

use crate::time::Duration;
use crate::units::{MilliCelsius, MilliWatts};
use core::fmt;
use serde::{Deserialize, Serialize};

/// The limits that no governor may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Temperature that must never be sampled.
    pub temperature: MilliCelsius,
    /// Mean power above which clocks are capped.
    pub power: MilliWatts,
    /// Distance of the soft limit below `temperature`, milli-kelvin.
    pub soft_margin_mk: u16,
    /// Distance of the hold limit below `temperature`, milli-kelvin.
    pub hold_margin_mk: u16,
    /// How far below a limit the prediction must fall before the limit lets go, milli-kelvin.
    pub hysteresis_mk: u16,
    /// How far ahead the slope is followed.
    pub horizon: Duration,
    /// Oldest temperature that still counts.
    pub max_age: Duration,
    /// Fastest rise that the board's physics allows, milli-kelvin per second; an old sample is
    /// taken to have risen at this rate since.
    pub max_slew_mk_per_s: u16,
    /// Fewest decoder layers that keep the answers good enough; smaller depths are raised to it.
    /// It belongs to the language model, so a board's profile leaves it out.
    #[serde(default)]
    pub min_depth: u16,
}

impl Limits {
    /// Limits of a Jetson AGX Orin module: 95 °C (it throttles itself at 99 °C and shuts down at
    /// 100.5 °C) and 60 W. The slew is full power into the die and spreader alone,
    /// 40 W / 66.5 J/K.
    #[must_use]
    pub const fn agx_orin() -> Self {
        Self {
            temperature: MilliCelsius::from_degrees(95),
            power: MilliWatts(60_000),
            soft_margin_mk: 4_000,
            hold_margin_mk: 2_000,
            hysteresis_mk: 1_500,
            horizon: Duration::from_secs(10),
            max_age: Duration::from_secs(3),
            max_slew_mk_per_s: 600,
            min_depth: 1,
        }
    }

    /// Checks that the limits leave room to work in.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.hold_margin_mk == 0 || self.soft_margin_mk <= self.hold_margin_mk {
            return Err(LimitsError::Margins);
        }
        if self.hysteresis_mk == 0 {
            return Err(LimitsError::Hysteresis);
        }
        if self.max_age == Duration::ZERO {
            return Err(LimitsError::Age);
        }
        if self.max_slew_mk_per_s == 0 {
            return Err(LimitsError::Slew);
        }
        if self.horizon > Duration::from_secs(600) {
            return Err(LimitsError::Horizon);
        }
        if self.power.0 == 0 {
            return Err(LimitsError::Power);
        }
        let (coldest, hottest) = (MilliCelsius::from_degrees(40), MilliCelsius::from_degrees(105));
        if self.temperature < coldest || self.temperature > hottest {
            return Err(LimitsError::Temperature);
        }
        Ok(())
    }

    pub(super) fn soft(&self) -> i32 {
        self.temperature.0.saturating_sub(i32::from(self.soft_margin_mk))
    }

    pub(super) fn hold(&self) -> i32 {
        self.temperature.0.saturating_sub(i32::from(self.hold_margin_mk))
    }
}

/// Why limits cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsError {
    /// The soft limit is not below the hold limit, or the hold limit not below the limit.
    Margins,
    /// No hysteresis.
    Hysteresis,
    /// No reading could ever be fresh.
    Age,
    /// A board that never warms: an old reading would count as a fresh one.
    Slew,
    /// A slope followed so far ahead that any rise would look like the limit.
    Horizon,
    /// No power is allowed.
    Power,
    /// A temperature limit that no module can work with, or that lies above its own throttling.
    Temperature,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Margins => "the soft margin must be larger than the hold margin, and the hold margin above 0",
            Self::Hysteresis => "the hysteresis must be above 0",
            Self::Age => "the largest age of a reading must be above 0",
            Self::Slew => "the largest slew must be above 0; give the board's fastest rise in mK/s",
            Self::Horizon => "the horizon must be at most 600 s; times here are in microseconds",
            Self::Power => "the power limit must be above 0",
            Self::Temperature => "the temperature limit must lie between 40 and 105 °C",
        })
    }
}

impl core::error::Error for LimitsError {}
