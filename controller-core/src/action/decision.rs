//! What a turn does, and why.

use super::Action;
use crate::wire::wire;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What the controller hands out for one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What the governor asked for.
    pub requested: Action,
    /// What the board must do.
    pub applied: Action,
    /// Start no batch this turn: the board has to cool first.
    pub hold: bool,
    /// Why `applied` differs from `requested`, or that it does not.
    pub reason: Reason,
}

wire!(struct Decision { requested, applied, hold, reason });

/// Why the supervisor let an action pass or changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The governor's action was applied as it is.
    AsRequested,
    /// The governor asked for a value that the action space does not have.
    OutOfRange,
    /// The exit layer lies below the quality floor of the model.
    QualityFloor,
    /// No valid temperature has been seen yet: safest action.
    Boot,
    /// The predicted temperature comes near the limit: clocks capped, fan raised.
    ThermalCap,
    /// The predicted temperature would pass the limit: no batch until the board has cooled.
    ThermalHold,
    /// Power above its limit: clocks capped.
    PowerCap,
    /// Temperature missing or too old: safest action. Or power is, and its limit cannot be watched: clocks capped.
    StaleTelemetry,
    /// The temperature stays the same although power has moved: safest action.
    StuckSensor,
    /// A knob may not move that fast.
    Pace,
    /// The governor is compared with the static setting, whose turn it is.
    StaticProbe,
    /// The governor has been measured to be worse than the static setting.
    StaticFallback,
}

wire!(enum Reason {
    0 => AsRequested,
    1 => OutOfRange,
    2 => QualityFloor,
    3 => Boot,
    4 => ThermalCap,
    5 => ThermalHold,
    6 => PowerCap,
    7 => StaleTelemetry,
    8 => StuckSensor,
    9 => Pace,
    10 => StaticProbe,
    11 => StaticFallback,
});

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsRequested => "as requested",
            Self::OutOfRange => "value outside the action space",
            Self::QualityFloor => "quality floor",
            Self::Boot => "boot, no temperature yet",
            Self::ThermalCap => "thermal cap",
            Self::ThermalHold => "thermal hold",
            Self::PowerCap => "power cap",
            Self::StaleTelemetry => "stale telemetry",
            Self::StuckSensor => "stuck sensor",
            Self::Pace => "pace of a knob",
            Self::StaticProbe => "static probe",
            Self::StaticFallback => "static fallback",
        })
    }
}
