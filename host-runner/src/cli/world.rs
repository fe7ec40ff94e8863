//! Options that training and freezing share: the board and the language model to train for.

use super::board::place::{DEFAULT_PROFILE, profile_only};
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::grpo::layout;
use crate::grpo::rollout::World;
use clap::Args;
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct WorldArguments {
    /// Board profile: physics, knobs, limits and reward.
    #[arg(long, value_name = "FILE|sim", default_value = DEFAULT_PROFILE, value_parser = profile_only)]
    pub board: PathBuf,
    /// Quality of the answers per depth, written by the model's maker.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/depths.json")]
    pub depths: PathBuf,
    /// Longest time that an action is held when its worth is judged, seconds; the shortest is an eighth.
    #[arg(long, value_name = "SECONDS", default_value_t = 240.0)]
    pub horizon: f64,
}

impl WorldArguments {
    /// Reads the files.
    pub fn world(&self) -> anyhow::Result<World> {
        let profile = BoardProfile::read(&self.board)?;
        anyhow::ensure!((1.0..=7200.0).contains(&self.horizon), "--horizon must lie between 1 and 7200 seconds");
        let quality = Quality::read(&self.depths)?;
        let full = profile.actions.depth.last().copied().unwrap_or(1);
        let reward = Service { quality: quality.table(&profile.actions.depth, full), ..profile.service.clone() };
        let limits = Limits { min_depth: quality.floor(full, reward.quality_floor), ..profile.limits };
        let hold_s = (self.horizon / 8.0, self.horizon);
        Ok(World { layout: layout::standard(), reward, limits, hold_s, profile })
    }
}
