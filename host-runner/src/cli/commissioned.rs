//! What `search live` hands over: the setting that others start from.

use crate::env::profile::BoardProfile;
use crate::grpo::checkpoint::Checkpoint;
use crate::input_file;
use crate::run::choice::Choice;
use anyhow::Context as _;
use controller_core::action::{Action, ActionSpace, Knob};
use controller_core::supervisor::FallbackRule;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commissioned {
    /// The setting, as `--governor` takes it.
    pub governor: String,
    /// It was found on a simulated board.
    pub simulated: bool,
    /// Load that it is for, requests per second.
    pub requests_per_s: f64,
    /// Settings tried.
    pub evaluations: usize,
    /// Saved against the reference, share of the energy per request, and half its 95 % interval.
    pub energy_saved_share: f64,
    pub energy_saved_half_width_share: f64,
    /// The same of the cost, half energy and half response.
    pub cost_saved_share: f64,
    pub cost_saved_half_width_share: f64,
}

/// Share of the probability that a policy of our making gives to the setting, knob by knob.
const PROBABILITY: f64 = 0.8;

impl Commissioned {
    /// Parses a file.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        serde_json::from_slice(bytes).context("this is not what `energyllm search live` writes")
    }

    /// The setting on a board.
    pub fn action(&self, actions: &ActionSpace) -> anyhow::Result<Action> {
        let choice: Choice = self.governor.parse()?;
        anyhow::ensure!(
            matches!(choice, Choice::Fixed { .. }),
            "'{choice}' is no fixed setting; run `search live` again"
        );
        Ok(choice.fixed_action(actions)?)
    }
}

/// The profile with the setting that `search live` found as what the policy must not be worse than.
pub fn with_fallback(profile: BoardProfile, path: &Path) -> anyhow::Result<BoardProfile> {
    let found = || -> anyhow::Result<_> {
        let action = Commissioned::parse(&input_file::read(path)?)?.action(&profile.actions)?;
        profile.actions.setting(action).context("it is no setting of this board")
    };
    let setting = found().with_context(|| format!("cannot use {} as --fallback", path.display()))?;
    let rule = profile.fallback.map_or(FallbackRule::with_setting(setting), |rule| FallbackRule { setting, ..rule });
    Ok(BoardProfile { fallback: Some(rule), ..profile })
}

/// Makes an untrained policy prefer an action whatever it sees.
pub fn prefer(policy: &mut Checkpoint, action: Action) {
    let sizes = policy.content.actions.sizes();
    let Some(last) = policy.network.layers.last_mut() else { return };
    let mut biases = last.biases.as_mut_slice();
    for (knob, size) in Knob::ALL.into_iter().zip(sizes) {
        let (head, rest) = biases.split_at_mut(size);
        biases = rest;
        // Among others with logit 0.
        let others = size.saturating_sub(1) as f64;
        if let Some(bias) = head.get_mut(usize::from(action.get(knob))).filter(|_| others > 0.0) {
            *bias = libm::log(PROBABILITY / (1.0 - PROBABILITY) * others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_something_else_is_refused() {
        let said = format!("{:#}", Commissioned::parse(b"{\"governor\": 3}").unwrap_err());
        assert!(said.contains("search live"), "{said}");
    }
}
