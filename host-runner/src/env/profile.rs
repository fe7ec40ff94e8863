//! A board's numbers, from one TOML file: physics, knobs, limits and reward.

use crate::input_file;
use crate::roofline::{Roofline, RooflineError};
use controller_core::action::{ActionSpace, ActionSpaceError};
use controller_core::reward::RewardError;
use controller_core::reward::service::Service;
use controller_core::supervisor::{Fallback, FallbackError, FallbackRule, Limits, LimitsError};
use firmware_sim::plant::{Profile, ProfileError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardProfile {
    /// Its physics, for the simulator.
    pub plant: Profile,
    /// The values of its knobs.
    pub actions: ActionSpace,
    /// What must never be passed.
    pub limits: Limits,
    /// The static setting that a governor must not be worse than; without it nobody compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackRule>,
    /// What its owner wants.
    pub service: Service,
    /// The data sheet and the engine behind `plant`, for an engine that is modelled and not fitted to a grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardProfileError {
    /// The file cannot be read.
    #[error(
        "cannot read the board profile {path}: {source}; profiles ship in models/boards, seen from the root of the repository"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not a profile.
    #[error("{path} is not a board profile: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause, with the place in the file.
        source: Box<toml::de::Error>,
    },
    /// Physics that cannot be.
    #[error("{path}, [plant]: {source}")]
    Plant {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ProfileError,
    },
    /// Knobs that cannot be.
    #[error("{path}, [actions]: {source}")]
    Actions {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ActionSpaceError,
    },
    /// A clock to choose that the board does not have.
    #[error(
        "{path}, [actions]: {knob} contains {khz} kHz, which the board cannot run; choose from plant.gpu_clock_khz: \
         {allowed:?}"
    )]
    Clock {
        /// The file.
        path: PathBuf,
        /// The list that it stands in.
        knob: &'static str,
        /// The clock.
        khz: u32,
        /// The clocks of the board.
        allowed: Vec<u32>,
    },
    /// The depths do not end with the whole model.
    #[error("{path}, [actions]: depth ends with {last}, but must end with all of plant.layers, {layers}; append it")]
    Depth {
        /// The file.
        path: PathBuf,
        /// The largest depth to choose.
        last: u16,
        /// Layers of the plant.
        layers: u32,
    },
    /// Limits that cannot be.
    #[error("{path}, [limits]: {source}")]
    Limits {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: LimitsError,
    },
    /// A fallback that cannot be.
    #[error("{path}, [fallback]: {source}")]
    Fallback {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: FallbackError,
    },
    /// A roofline that cannot be.
    #[error("{path}, [roofline]: {source}")]
    Roofline {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: RooflineError,
    },
    /// A reward that cannot be.
    #[error("{path}, [service]: {source}")]
    Service {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: RewardError,
    },
}

impl BoardProfile {
    /// Reads and checks a profile.
    pub fn read(path: &Path) -> Result<Self, BoardProfileError> {
        let text =
            input_file::read_text(path).map_err(|source| BoardProfileError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Checks a profile; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, BoardProfileError> {
        let profile: Self = toml::from_str(text)
            .map_err(|source| BoardProfileError::Content { path: path.into(), source: Box::new(source) })?;
        profile.plant.check().map_err(|source| BoardProfileError::Plant { path: path.into(), source })?;
        profile.actions.check().map_err(|source| BoardProfileError::Actions { path: path.into(), source })?;
        profile.check_actions(path)?;
        profile.limits.check().map_err(|source| BoardProfileError::Limits { path: path.into(), source })?;
        if let Some(rule) = profile.fallback {
            Fallback::new(rule, &profile.actions)
                .map_err(|source| BoardProfileError::Fallback { path: path.into(), source })?;
        }
        profile.service.check().map_err(|source| BoardProfileError::Service { path: path.into(), source })?;
        if let Some(roofline) = &profile.roofline {
            roofline.check().map_err(|source| BoardProfileError::Roofline { path: path.into(), source })?;
        }
        Ok(profile)
    }

    /// Every setting to choose is one that the plant has; else its energy would belong to another setting than the one
    /// shown.
    fn check_actions(&self, path: &Path) -> Result<(), BoardProfileError> {
        let Self { plant, actions, .. } = self;
        for (knob, clocks) in [("prefill_khz", &actions.prefill_khz), ("decode_khz", &actions.decode_khz)] {
            if let Some(&khz) = clocks.iter().find(|khz| !plant.gpu_clock_khz.contains(khz)) {
                let allowed = plant.gpu_clock_khz.to_vec();
                return Err(BoardProfileError::Clock { path: path.into(), knob, khz, allowed });
            }
        }
        match actions.depth.last() {
            Some(&last) if u32::from(last) != plant.layers => {
                Err(BoardProfileError::Depth { path: path.into(), last, layers: plant.layers })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../../models/boards/agx-orin-hf.toml");

    fn refused(from: &str, to: &str) -> BoardProfileError {
        assert!(FILE.contains(from));
        BoardProfile::parse(&FILE.replacen(from, to, 1), Path::new("board.toml")).expect_err(to)
    }

    #[test]
    fn actions_that_the_plant_lacks_are_refused() {
        for knob in ["prefill_khz", "decode_khz"] {
            let error = refused(&format!("{knob} = [306000, 408000"), &format!("{knob} = [306000, 409000"));
            assert!(matches!(error, BoardProfileError::Clock { khz: 409_000, .. }), "{error}");
            let text = error.to_string();
            let named = format!("board.toml, [actions]: {knob} contains 409000 kHz");
            assert!(text.starts_with(&named) && text.contains("408000"), "{text}");
        }
        let error = refused("14, 15, 16]", "14, 15]");
        assert!(matches!(error, BoardProfileError::Depth { last: 15, layers: 16, .. }), "{error}");
        let error = refused("layers = 16", "layers = 32");
        assert!(matches!(error, BoardProfileError::Depth { last: 16, layers: 32, .. }), "{error}");
    }

    #[test]
    fn limits_and_wishes_without_sense_are_refused() {
        let error = refused("max_slew_mk_per_s = 600", "max_slew_mk_per_s = 0");
        assert!(matches!(error, BoardProfileError::Limits { source: LimitsError::Slew, .. }), "{error}");
        let error = refused("horizon = 10000000", "horizon = 600000001");
        assert!(matches!(error, BoardProfileError::Limits { source: LimitsError::Horizon, .. }), "{error}");
        for (from, to, says) in [
            ("slew = 4", "slew = 0", "[limits]: the slew of the prefill clock must be at least 1 step; 255 is free"),
            ("dwell = 20000000", "dwell = 700000000", "[limits]: the dwell of the fan must be at most 600 s"),
            ("stuck_after = 60000000", "stuck_after = 60", "[limits]: stuck_after must be 0 (never) or at least 10 s"),
            ("power_hysteresis = 2000", "power_hysteresis = 60000", "[limits]: the power limit must be above its hyst"),
            (
                "decode_khz = 612000, batch",
                "decode_khz = 612001, batch",
                "[fallback]: the decode clock of the static setting is none",
            ),
            ("block_turns = 6", "block_turns = 0", "[fallback]: block_turns must lie between 1 and 100"),
        ] {
            let error = refused(from, to).to_string();
            assert!(error.starts_with(&format!("board.toml, {says}")), "{error}");
        }
        let text = FILE.replace("fan = { dwell = 20000000, slew = 1, hysteresis = 1 }", "");
        let error = BoardProfile::parse(&text, Path::new("board.toml")).unwrap_err().to_string();
        assert!(error.contains("missing field `fan`"), "{error}");
        let error = refused("quality_floor = 980", "quality_floor = 1001");
        assert!(matches!(error, BoardProfileError::Service { source: RewardError::AboveOne(_), .. }), "{error}");
    }
}
