//! When the fan works, episode by episode.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A schedule. Episodes count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanSchedule {
    /// The fan is left alone, and works.
    Always,
    /// It never works.
    Never,
    /// The published training from scratch: off for 100 episodes, on for 100, then off for 50 and on for 50, again and
    /// again.
    Prototype,
    /// The published continued training: off for 100 episodes, then on for 30 and off for 70, again and again.
    PrototypeContinued,
    /// On for so many episodes, then off for so many, again and again.
    Cycle {
        /// Episodes with the fan.
        on: u32,
        /// Episodes without.
        off: u32,
    },
}

impl FanSchedule {
    /// The fan works in this episode.
    #[must_use]
    pub const fn is_working(self, episode: u32) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Prototype => episode >= 100 && (episode < 200 || episode % 100 >= 50),
            Self::PrototypeContinued => episode >= 100 && episode % 100 < 30,
            Self::Cycle { on, off } => episode % (on + off) < on,
        }
    }

    /// The fan is switched at all.
    #[must_use]
    pub const fn is_scheduled(self) -> bool {
        !matches!(self, Self::Always)
    }
}

/// Why a text names no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fan schedule; known are always, never, prototype, prototype-continued, and cycle:ON,OFF with episodes from 1 to 100000"
)]
pub struct FanScheduleError(String);

impl FromStr for FanSchedule {
    type Err = FanScheduleError;

    fn from_str(text: &str) -> Result<Self, FanScheduleError> {
        let cycle = || {
            let (on, off) = text.strip_prefix("cycle:")?.split_once(',')?;
            let episodes = |text: &str| text.parse().ok().filter(|count| (1..=100_000).contains(count));
            Some(Self::Cycle { on: episodes(on)?, off: episodes(off)? })
        };
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            "prototype" => Ok(Self::Prototype),
            "prototype-continued" => Ok(Self::PrototypeContinued),
            _ => cycle().ok_or_else(|| FanScheduleError(text.to_owned())),
        }
    }
}

impl fmt::Display for FanSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Never => f.write_str("never"),
            Self::Prototype => f.write_str("prototype"),
            Self::PrototypeContinued => f.write_str("prototype-continued"),
            Self::Cycle { on, off } => write!(f, "cycle:{on},{off}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The switches as the published code makes them, one after the other.
    fn switched(episodes: u32, switch: impl Fn(u32) -> Option<bool>) -> Vec<bool> {
        let mut on = false;
        (0..episodes)
            .map(|episode| {
                on = switch(episode).unwrap_or(on);
                on
            })
            .collect()
    }

    #[test]
    fn published_schedules() {
        let found = |schedule: FanSchedule| (0..600).map(|e| schedule.is_working(e)).collect::<Vec<_>>();
        let from_scratch = switched(600, |e| match (e, e % 100) {
            (100, _) | (200.., 50) => Some(true),
            (200.., 0) => Some(false),
            _ => None,
        });
        assert_eq!(found(FanSchedule::Prototype), from_scratch);
        let continued = switched(600, |e| match (e, e % 100) {
            (100.., 0) => Some(true),
            (100.., 30) => Some(false),
            _ => None,
        });
        assert_eq!(found(FanSchedule::PrototypeContinued), continued);
    }

    #[test]
    fn names_round_trip() {
        for name in ["always", "never", "prototype", "prototype-continued", "cycle:30,70"] {
            assert_eq!(name.parse::<FanSchedule>().unwrap().to_string(), name);
        }
        for wrong in ["", "sometimes", "cycle:0,5", "cycle:5", "cycle:1,-1"] {
            assert!(wrong.parse::<FanSchedule>().is_err(), "{wrong}");
        }
    }
}
