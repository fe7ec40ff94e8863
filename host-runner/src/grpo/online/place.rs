//! Where an online training happens, as data: enough to stand there again after an interruption.

use crate::env::living::{LivingBoard, Simulated, Workload};
use crate::env::logged::{Logged, LoggedError};
use crate::verify::plant::{Log, LogError};
use controller_core::action::ActionSpace;
use controller_core::observation::FeatureRange;
use controller_core::supervisor::Limits;
use firmware_sim::plant::Profile;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// A board that can be built again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The simulated board.
    Simulated {
        /// Its physics.
        plant: Box<Profile>,
        /// Limits of the supervisor.
        limits: Limits,
        /// What it has to do.
        workload: Workload,
    },
    /// Logged grids.
    Logged {
        /// The board that they were logged on.
        plant: Box<Profile>,
        /// Limits of the supervisor.
        limits: Limits,
        /// Grids with a working fan.
        fan_on: Vec<GridFile>,
        /// Grids without.
        fan_off: Vec<GridFile>,
        /// Seed of the choice among rows of one setting.
        seed: u64,
    },
    /// A real board, which cannot be built again.
    Real {
        /// Its name.
        name: String,
        /// Limits of the supervisor.
        limits: Limits,
    },
}

/// A file with its digest, so that nobody goes on with another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridFile {
    path: PathBuf,
    sha256: String,
}

/// Why a place cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A log cannot be read.
    #[error("cannot read the grid {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A log is no log.
    #[error("{path}: {source}", path = path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: LogError,
    },
    /// A log has changed since the training began.
    #[error("{path} is not the file that this training began with; put that one back", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A real board has no beginning to go back to.
    #[error(
        "this training was on the real board {0}, which cannot be set back; start another one from its policy: `train online \
         --board jetson --from CHECKPOINT`"
    )]
    Real(String),
    /// The logs make no board.
    #[error(transparent)]
    Logged(#[from] LoggedError),
}

impl GridFile {
    /// A file as it is now.
    pub fn of(path: &Path) -> Result<Self, PlaceError> {
        Ok(Self { path: path.into(), sha256: digest(&bytes(path)?) })
    }

    /// The file's log.
    pub fn read(&self, profile: &Profile) -> Result<Log, PlaceError> {
        let bytes = bytes(&self.path)?;
        if digest(&bytes) != self.sha256 {
            return Err(PlaceError::Changed { path: self.path.clone() });
        }
        let log = Log::read(bytes.as_slice(), profile);
        log.map_err(|source| PlaceError::Log { path: self.path.clone(), source })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, PlaceError> {
    crate::input_file::read(path).map_err(|source| PlaceError::Read { path: path.into(), source })
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

impl Place {
    /// The limits of its supervisor.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        match self {
            Self::Simulated { limits, .. } | Self::Logged { limits, .. } | Self::Real { limits, .. } => limits,
        }
    }

    /// What it is called in checkpoints and images.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Simulated { plant, .. } => format!("plant {}, online", plant.name),
            Self::Logged { plant, .. } => format!("logged grids, {}", plant.name),
            Self::Real { name, .. } => format!("{name}, online"),
        }
    }

    /// What happens there is simulated, not logged.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated { .. })
    }

    /// What it is called in reports.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Simulated { .. } => "simulated board",
            Self::Logged { .. } => "logged grids",
            Self::Real { .. } => "this board, measured",
        }
    }

    /// The board, at its very beginning. `actions` and `layout` are the policy's.
    pub fn build(&self, actions: &ActionSpace, layout: &[FeatureRange]) -> Result<Box<dyn LivingBoard>, PlaceError> {
        match self {
            Self::Simulated { plant, limits, workload } => {
                Ok(Box::new(Simulated::new(plant, *limits, workload, actions.clone(), layout.to_vec())))
            }
            Self::Logged { plant, limits, fan_on, fan_off, seed } => {
                let read =
                    |files: &[GridFile]| files.iter().map(|file| file.read(plant)).collect::<Result<Vec<_>, _>>();
                let (on, off) = (read(fan_on)?, read(fan_off)?);
                let board = Logged::new(plant, *limits, (&on, &off), actions.clone(), layout.to_vec(), *seed)?;
                Ok(Box::new(board))
            }
            Self::Real { name, .. } => Err(PlaceError::Real(name.clone())),
        }
    }
}
