//! A board's numbers, from one TOML file: physics, knobs, limits and reward.

use crate::input_file;
use controller_core::action::{ActionSpace, ActionSpaceError};
use controller_core::reward::RewardError;
use controller_core::reward::service::Service;
use controller_core::supervisor::{Limits, LimitsError};
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
    /// What its owner wants.
    pub service: Service,
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
    /// Limits that cannot be.
    #[error("{path}, [limits]: {source}")]
    Limits {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: LimitsError,
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
        profile.limits.check().map_err(|source| BoardProfileError::Limits { path: path.into(), source })?;
        profile.service.check().map_err(|source| BoardProfileError::Service { path: path.into(), source })?;
        Ok(profile)
    }
}
