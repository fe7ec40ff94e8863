//! What training saves: the network with everything that freezing and resuming need.

use super::network::Network;
use super::optimizer::Adam;
use crate::atomic_file::{AtomicFile, AtomicFileError};
use crate::input_file;
use controller_core::action::ActionSpace;
use controller_core::observation::FeatureRange;
use controller_core::reward::Variant;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the file format.
pub const VERSION: u32 = 1;

/// A trained policy in floating point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// [`VERSION`].
    pub version: u32,
    /// Features and ranges of the inputs.
    pub observation: Vec<FeatureRange>,
    /// Values of every knob.
    pub actions: ActionSpace,
    /// Reward trained for.
    pub reward: Variant,
    /// What it was trained in.
    pub environment: String,
    /// Seed of the training.
    pub seed: u64,
    /// Policy updates made.
    pub updates: u32,
    /// Turns of the simulated board that were evaluated.
    pub evaluations: u64,
    /// The network.
    pub network: Network,
    /// The optimizer's moments.
    pub optimizer: Adam,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading failed.
    #[error("cannot read the checkpoint {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// Not a checkpoint.
    #[error("{path} is not a checkpoint of this program: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// From another version.
    #[error(
        "{path} has checkpoint version {found}, this build reads {VERSION}; train again or use the build that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Checkpoint {
    /// Reads a checkpoint.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text = input_file::read_text(path).map_err(|source| CheckpointError::Read { path: path.into(), source })?;
        let checkpoint: Self =
            serde_json::from_str(&text).map_err(|source| CheckpointError::Content { path: path.into(), source })?;
        if checkpoint.version == VERSION {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Version { path: path.into(), found: checkpoint.version })
        }
    }

    /// Writes a checkpoint.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let text =
            serde_json::to_string(self).map_err(|source| CheckpointError::Content { path: path.into(), source })?;
        Ok(AtomicFile::write(path, text.as_bytes())?)
    }
}
