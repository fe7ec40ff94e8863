//! What no governor may pass, and how early the supervisor steps in.

use super::pace::{PaceError, Paces};
use crate::time::Duration;
use crate::units::{MilliCelsius, MilliWatts};
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Longest span of time over which anything is extrapolated.
pub(super) const LONGEST_SPAN: Duration = Duration::from_secs(600);

/// Shortest sameness that may count as a stuck sensor.
const SHORTEST_STUCK: Duration = Duration::from_secs(10);

/// The limits that no governor may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Temperature that must never be sampled.
    pub temperature: MilliCelsius,
    /// Power at which clocks are capped.
    pub power: MilliWatts,
    /// How far below its limit the predicted power must fall before the limit lets go.
    pub power_hysteresis: MilliWatts,
    /// Fastest rise of power that the board's physics allows, milliwatts per second; an old
    /// sample is taken to have risen at this rate since.
    pub max_power_slew_mw_per_s: u32,
    /// Distance of the soft limit below `temperature`, milli-kelvin.
    pub soft_margin_mk: u16,
    /// Distance of the hold limit below `temperature`, milli-kelvin.
    pub hold_margin_mk: u16,
    /// How far below a limit the prediction must fall before the limit lets go, milli-kelvin.
    pub hysteresis_mk: u16,
    /// How far ahead the slope is followed.
    pub horizon: Duration,
    /// Oldest reading that still counts.
    pub max_age: Duration,
    /// Fastest rise that the board's physics allows, milli-kelvin per second; an old sample is
    /// taken to have risen at this rate since.
    pub max_slew_mk_per_s: u16,
    /// Fastest fall that the board's physics allows, milli-kelvin per second; a sample that lies
    /// lower than that is not believed yet.
    pub max_fall_mk_per_s: u16,
    /// A temperature that is the same to the last digit, sample after sample, for so long after
    /// power has moved by [`STUCK_POWER_MW`](super::STUCK_POWER_MW) comes from a dead sensor. 0: never,
    /// for sensors too coarse to tell.
    pub stuck_after: Duration,
    /// How fast each knob may move.
    pub pace: Paces,
    /// Fewest decoder layers that keep the answers good enough; smaller depths are raised to it.
    /// It belongs to the language model, so a board's profile leaves it out.
    #[serde(default)]
    pub min_depth: u16,
}

wire!(struct Limits {
    temperature,
    power,
    power_hysteresis,
    max_power_slew_mw_per_s,
    soft_margin_mk,
    hold_margin_mk,
    hysteresis_mk,
    horizon,
    max_age,
    max_slew_mk_per_s,
    max_fall_mk_per_s,
    stuck_after,
    pace,
    min_depth,
});

impl Limits {
    /// Limits of a Jetson AGX Orin module: 95 °C (it throttles itself at 99 °C and shuts down at
    /// 100.5 °C) and 60 W. The slew is full power into the die and spreader alone,
    /// 40 W / 66.5 J/K. The fall is an upper bound: the die loses at most 2 K to its heat sink in
    /// some seconds, and the sink 0.3 K/s. Its sensor reads multiples of 1/32 K and the die stands
    /// 0.05 K/W above the heat sink, so 2 W show.
    #[must_use]
    pub const fn agx_orin() -> Self {
        Self {
            temperature: MilliCelsius::from_degrees(95),
            power: MilliWatts(60_000),
            power_hysteresis: MilliWatts(2_000),
            max_power_slew_mw_per_s: 10_000,
            soft_margin_mk: 4_000,
            hold_margin_mk: 2_000,
            hysteresis_mk: 1_500,
            horizon: Duration::from_secs(10),
            max_age: Duration::from_secs(3),
            max_slew_mk_per_s: 600,
            max_fall_mk_per_s: 1_000,
            stuck_after: Duration::from_secs(60),
            pace: Paces::agx_orin(),
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
        if self.max_age == Duration::ZERO || self.max_age > LONGEST_SPAN {
            return Err(LimitsError::Age);
        }
        if self.max_slew_mk_per_s == 0 || self.max_power_slew_mw_per_s == 0 {
            return Err(LimitsError::Slew);
        }
        if self.max_fall_mk_per_s == 0 {
            return Err(LimitsError::Fall);
        }
        if self.stuck_after != Duration::ZERO && self.stuck_after < SHORTEST_STUCK {
            return Err(LimitsError::Stuck);
        }
        if self.horizon > LONGEST_SPAN {
            return Err(LimitsError::Horizon);
        }
        if self.power.0 == 0 || self.power_hysteresis.0 == 0 || self.power_hysteresis >= self.power {
            return Err(LimitsError::Power);
        }
        self.pace.check().map_err(LimitsError::Pace)?;
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
    /// No reading could ever be fresh, or none ever old.
    Age,
    /// A board that never warms: an old reading would count as a fresh one.
    Slew,
    /// A board that never cools: one hot reading would count for ever.
    Fall,
    /// Healthy sensors would count as stuck.
    Stuck,
    /// A slope followed so far ahead that any rise would look like the limit.
    Horizon,
    /// No power is allowed, or the hysteresis leaves none.
    Power,
    /// A knob that could never move.
    Pace(PaceError),
    /// A temperature limit that no module can work with, or that lies above its own throttling.
    Temperature,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Margins => "the soft margin must be larger than the hold margin, and the hold margin above 0",
            Self::Hysteresis => "the hysteresis must be above 0",
            Self::Age => {
                "the largest age of a reading must be above 0 and at most 600 s; times here are in microseconds"
            }
            Self::Slew => "the largest slew of temperature and power must be above 0; give the board's fastest rise",
            Self::Fall => "the largest fall must be above 0; give the board's fastest cooling in mK/s",
            Self::Stuck => "stuck_after must be 0 (never) or at least 10 s; times here are in microseconds",
            Self::Horizon => "the horizon must be at most 600 s; times here are in microseconds",
            Self::Power => "the power limit must be above its hysteresis, and the hysteresis above 0",
            Self::Temperature => "the temperature limit must lie between 40 and 105 °C",
            Self::Pace(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for LimitsError {}
