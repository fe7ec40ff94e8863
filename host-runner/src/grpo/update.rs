//! The update: several passes over groups that were tried, with the clipped ratio, the divergence from a reference and an
//! entropy bonus.

use super::group::Group;
use super::heads::{Heads, logits_of};
use super::layout::real_input;
use super::loss::{Coefficients, Sample, Terms, gradient_into};
use super::network::{Batch, Grid, Network};
use super::optimizer::Adam;
use super::vector::wide;
use crate::quantize::{FakeQuantizer, FreezeError};
use controller_core::action::{ActionSpace, Knob};
use controller_core::rng::Pcg32;
use std::borrow::Cow;

/// A policy that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Learner {
    /// The network.
    pub network: Network,
    /// Its optimizer.
    pub optimizer: Adam,
    /// Where the policy is trained as it will be frozen: the rounding of the image.
    pub quantizer: Option<FakeQuantizer>,
}

/// How to learn from a set of groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passes {
    /// Passes over all members.
    pub epochs: usize,
    /// Parameter updates per pass.
    pub minibatches: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Of a factored policy, only the rows of this knob in the last layer learn.
    pub only: Option<Knob>,
    /// The objective.
    pub coefficients: Coefficients,
}

/// A member of a group with its advantage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Index of the group.
    pub group: usize,
    /// Index within the group.
    pub index: usize,
    /// Group-relative advantage.
    pub advantage: f64,
}

/// All members of groups, with the advantages that `of` gives to each group.
pub fn members(groups: &[Group], of: impl Fn(&Group) -> Vec<f64>) -> Vec<Member> {
    let with_advantages = |(group, tried)| {
        of(tried).into_iter().enumerate().map(move |(index, advantage)| Member { group, index, advantage })
    };
    groups.iter().enumerate().flat_map(with_advantages).collect()
}

/// What an update did, in the mean over its members and passes, each before its parameter update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Policy loss, weighted divergence and entropy together.
    pub loss: f64,
    /// `-min(ρA, clip(ρ)A)`.
    pub policy_loss: f64,
    /// Divergence from the reference, nats.
    pub kl: f64,
    /// Entropy, nats, all heads together.
    pub entropy: f64,
    /// Share of members whose ratio is clipped.
    pub clip_fraction: f64,
    /// Norm of the gradient before clipping, mean over the parameter updates.
    pub gradient_norm: f64,
    /// Parameter updates.
    pub updates: u32,
}

impl Learner {
    /// A policy with fresh moments.
    #[must_use]
    pub fn new(network: Network) -> Self {
        let optimizer = Adam::new(&network);
        Self { network, optimizer, quantizer: None }
    }

    /// The policy as it decides: that of the network, or, in quantization-aware training, that of the image it would make.
    pub fn policy(&self) -> Result<Policy<'_>, FreezeError> {
        match &self.quantizer {
            None => Ok(Policy::of(&self.network)),
            Some(quantizer) => quantizer.round(&self.network),
        }
    }

    /// Learns from groups. `references` hold the reference policy at each group's observation.
    pub fn update(
        &mut self,
        actions: &ActionSpace,
        groups: &[Group],
        references: &[Heads],
        members: &[Member],
        passes: &Passes,
        rng: &mut Pcg32,
    ) -> Result<Losses, FreezeError> {
        let mut order = members.to_vec();
        let size = order.len().div_ceil(passes.minibatches.max(1)).max(1);
        let (mut tally, mut norms) = (Tally::default(), Vec::new());
        let mut room = Room { run: Batch::default(), gradients: Vec::new(), sum: self.network.zeros_like() };
        for _ in 0..passes.epochs {
            shuffle(&mut order, rng);
            for batch in order.chunks(size) {
                let situations = Situations { actions, groups, references };
                self.gradient(situations, batch, passes.coefficients, &mut room, &mut tally)?;
                if let Some(knob) = passes.only {
                    room.sum.keep_outputs(logits_of(knob, actions));
                }
                norms.push(self.optimizer.step(&mut self.network, &room.sum, passes.learning_rate));
            }
        }
        let gradient_norm = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
        Ok(Losses { gradient_norm, updates: u32::try_from(norms.len()).unwrap_or(u32::MAX), ..tally.mean() })
    }

    /// Leaves the gradient of a minibatch in the room.
    fn gradient(
        &self,
        Situations { actions, groups, references }: Situations<'_>,
        batch: &[Member],
        coefficients: Coefficients,
        Room { run, gradients, sum }: &mut Room,
        tally: &mut Tally,
    ) -> Result<(), FreezeError> {
        let policy = self.policy()?;
        let observations: Vec<Vec<f64>> =
            batch.iter().map(|member| real_input(&groups[member.group].observation)).collect();
        policy.network.forward_batch_into(&observations, policy.grids.as_deref(), run);
        let width = run.logits.len() / batch.len().max(1);
        gradients.resize(run.logits.len(), 0.0);
        let rows = run.logits.chunks_exact(width.max(1)).zip(gradients.chunks_exact_mut(width.max(1)));
        for (member, (logits, out)) in batch.iter().zip(rows) {
            let group = &groups[member.group];
            let heads = Heads::new(logits, actions);
            let sample = Sample {
                choices: &heads.choices(group.actions[member.index]),
                old_log_probability: group.log_probabilities[member.index],
                advantage: member.advantage,
                reference: references[member.group].categoricals(),
            };
            tally.add(&gradient_into(heads.categoricals(), &sample, coefficients, out), coefficients);
            wide(|| out.iter_mut().for_each(|g| *g /= batch.len() as f64));
        }
        sum.clear();
        policy.network.backward_batch(run, gradients, sum);
        Ok(())
    }
}

/// What members were tried in.
#[derive(Clone, Copy)]
struct Situations<'a> {
    actions: &'a ActionSpace,
    groups: &'a [Group],
    references: &'a [Heads],
}

/// Memory that all minibatches of an update use.
struct Room {
    run: Batch,
    gradients: Vec<f64>,
    sum: Network,
}

/// A policy that decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy<'a> {
    network: Cow<'a, Network>,
    grids: Option<Vec<Grid>>,
}

impl<'a> Policy<'a> {
    /// The policy of a network as it is.
    #[must_use]
    pub const fn of(network: &'a Network) -> Self {
        Self { network: Cow::Borrowed(network), grids: None }
    }

    /// The policy of a network whose activations are rounded, one grid per hidden layer.
    #[must_use]
    pub const fn rounded(network: Network, grids: Vec<Grid>) -> Self {
        Self { network: Cow::Owned(network), grids: Some(grids) }
    }

    /// Its distributions for a normalized observation.
    #[must_use]
    pub fn heads(&self, observation: &[i16], actions: &ActionSpace) -> Heads {
        Heads::new(&self.logits(observation), actions)
    }

    /// Its logits for a normalized observation.
    #[must_use]
    pub fn logits(&self, observation: &[i16]) -> Vec<f64> {
        match &self.grids {
            None => self.network.forward(&real_input(observation)).logits,
            Some(grids) => self.network.forward_batch(&[real_input(observation)], Some(grids)).logits,
        }
    }
}

/// Sums over members.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    losses: Losses,
    members: f64,
}

impl Tally {
    fn add(&mut self, terms: &Terms, coefficients: Coefficients) {
        let Losses { loss, policy_loss, kl, entropy, clip_fraction, .. } = &mut self.losses;
        *loss += terms.total(coefficients);
        *policy_loss += terms.policy_loss();
        *kl += terms.divergence;
        *entropy += terms.entropy;
        *clip_fraction += if terms.is_clipped() { 1.0 } else { 0.0 };
        self.members += 1.0;
    }

    fn mean(self) -> Losses {
        let mean = |sum: f64| sum / self.members.max(1.0);
        let Losses { loss, policy_loss, kl, entropy, clip_fraction, .. } = self.losses;
        Losses {
            loss: mean(loss),
            policy_loss: mean(policy_loss),
            kl: mean(kl),
            entropy: mean(entropy),
            clip_fraction: mean(clip_fraction),
            ..self.losses
        }
    }
}

/// Fisher-Yates.
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut Pcg32) {
    for last in (1..items.len()).rev() {
        let other = rng.below(u32::try_from(last + 1).expect("batches are small")) as usize;
        items.swap(last, other);
    }
}
