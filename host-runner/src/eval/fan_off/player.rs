//! Who is tested: a governor under the supervisor, or a setting by itself.

use crate::run::choice::{Choice, ChoiceError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who is tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Player {
    /// Under the supervisor.
    Supervised(Choice),
    /// One setting, and nobody who holds it back.
    Bare(Choice),
}

impl fmt::Display for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervised(choice) => choice.fmt(f),
            Self::Bare(choice) => write!(f, "bare {choice}"),
        }
    }
}

impl From<Player> for String {
    fn from(player: Player) -> Self {
        player.to_string()
    }
}

impl TryFrom<String> for Player {
    type Error = ChoiceError;

    fn try_from(name: String) -> Result<Self, ChoiceError> {
        match name.strip_prefix("bare ") {
            Some(choice) => choice.parse().map(Self::Bare),
            None => name.parse().map(Self::Supervised),
        }
    }
}
