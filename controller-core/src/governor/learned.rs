//! The frozen policy as a governor.

use super::{Governor, Situation};
use crate::action::{Action, ActionSpace, Knob};
use crate::observation::Observation;
use crate::policy::{Header, Network, Policy};
use core::fmt;

/// Decides by the network of a policy image.
#[derive(Clone, Debug)]
pub struct Learned<'a> {
    network: Network<'a>,
    observation: Observation,
}

/// Why a policy cannot govern a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnedError {
    /// The policy was made for other values of a knob.
    OtherActions {
        /// The knob.
        knob: Knob,
        /// How many values the policy knows.
        policy: usize,
        /// How many values the board has.
        board: usize,
    },
}

impl fmt::Display for LearnedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherActions { knob, policy, board } if policy == board => {
                write!(
                    f,
                    "the policy was trained for other values of the {knob} than this board has; train one for this board"
                )
            }
            Self::OtherActions { knob, policy, board } => write!(
                f,
                "the policy was trained for {policy} values of the {knob}, this board has {board}; train one for this board"
            ),
        }
    }
}

impl core::error::Error for LearnedError {}

impl<'a> Learned<'a> {
    /// Puts a policy in charge of a board whose knobs must be those the policy was trained for.
    pub fn new(policy: Policy<'a>, actions: &ActionSpace) -> Result<Self, LearnedError> {
        check_actions(policy.image().header(), actions)?;
        Ok(Self::trusted(policy.into_network()))
    }

    /// Puts a network in charge of a board for which [`check_actions`] has passed its image.
    #[must_use]
    pub const fn trusted(network: Network<'a>) -> Self {
        Self { network, observation: Observation::new() }
    }

    /// The network in charge.
    #[must_use]
    pub const fn network(&self) -> &Network<'a> {
        &self.network
    }
}

/// Checks that a policy was trained for the knobs of this board.
pub fn check_actions(header: &Header, actions: &ActionSpace) -> Result<(), LearnedError> {
    let trained = &header.actions;
    match Knob::ALL.into_iter().find(|&knob| !trained.values(knob).eq(actions.values(knob))) {
        Some(knob) => Err(LearnedError::OtherActions { knob, policy: trained.len(knob), board: actions.len(knob) }),
        None => Ok(()),
    }
}

impl Governor for Learned<'_> {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        self.observation = situation.observer.observe(self.network.outline().observation(), situation.telemetry);
        self.network.decide(&self.observation)
    }

    fn observation(&self) -> &[i16] {
        &self.observation
    }
}
