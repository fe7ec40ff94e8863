//! All governors over all seeds of a scenario.

use super::bench::{Bench, Setup};
use super::compare::{Interval, Verdict};
use super::scenario::Scenario;
use super::{best_static, oracle};
use crate::env::account::Account;
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::governor::Trained;
use crate::grpo::update::Policy;
use crate::run::choice::Choice;
use anyhow::Context as _;
use controller_core::action::Action;
use controller_core::governor::Fixed;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Player {
    /// A governor by name.
    Governor(Choice),
    /// A policy of the published prototype, on the nearest settings of this board.
    Prototype,
    /// The best static setting in hindsight.
    BestStatic,
    /// The per-state oracle.
    Oracle,
}

impl std::fmt::Display for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Governor(choice) => choice.fmt(f),
            Self::Prototype => f.write_str("prototype"),
            Self::BestStatic => f.write_str("best-static"),
            Self::Oracle => f.write_str("oracle"),
        }
    }
}

/// What to play.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First seed of the episodes.
    pub seed: u64,
    /// Episodes per player.
    pub seeds: u64,
    /// Episodes of the oracle, which takes long.
    pub oracle_seeds: u64,
    /// Threads; they do not change the result.
    pub threads: usize,
    /// The policy image's place and bytes.
    pub policy: (PathBuf, Vec<u8>),
    /// The policy of [`Player::Prototype`].
    pub prototype: Option<Checkpoint>,
}

/// One player's episodes of a scenario.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub player: Player,
    /// One account per seed.
    pub accounts: Vec<Account>,
}

/// A scenario and all who played it.
#[derive(Debug)]
pub struct Played {
    /// Which.
    pub scenario: Scenario,
    /// Its numbers.
    pub setup: Setup,
    /// The best static setting.
    pub best_static: Action,
    /// Players, in the order given.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// Mean of a number over the episodes.
    #[must_use]
    pub fn mean(&self, number: impl Fn(&Account) -> f64) -> f64 {
        self.accounts.iter().map(number).sum::<f64>() / self.accounts.len().max(1) as f64
    }

    /// Temperature samples above the limit, all episodes together.
    #[must_use]
    pub fn samples_above_limit(&self) -> u64 {
        self.accounts.iter().map(|account| account.samples_above_limit).sum()
    }

    /// Highest true temperature of all episodes, °C.
    #[must_use]
    pub fn hottest_c(&self) -> f64 {
        self.accounts.iter().map(|account| account.max_temperature_c).fold(f64::MIN, f64::max)
    }

    /// Paired differences to another player over the seeds that both played, this one less the other.
    #[must_use]
    pub fn less(&self, other: &Self, number: impl Fn(&Account) -> f64) -> Interval {
        let values = |entry: &Self| entry.accounts.iter().map(&number).collect::<Vec<_>>();
        Interval::of_differences(&values(self), &values(other))
    }

    /// Mean energy per token over another player's on the seeds that both played, less 1.
    #[must_use]
    pub fn energy_above(&self, other: &Self) -> f64 {
        let both = self.accounts.iter().zip(&other.accounts);
        let (mut ours, mut theirs) = (0.0, 0.0);
        for (our, their) in both {
            ours += our.energy_per_token_j();
            theirs += their.energy_per_token_j();
        }
        ours / theirs - 1.0
    }
}

impl Played {
    /// A player's entry.
    #[must_use]
    pub fn entry(&self, player: &Player) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.player == *player)
    }

    /// How `ours` stands against another player, by reward.
    #[must_use]
    pub fn verdict(&self, ours: &Entry, other: &Entry) -> Verdict {
        ours.less(other, |account| account.reward(self.setup.terms())).verdict()
    }
}

/// Plays a scenario. `each` is called after every episode.
pub fn play(
    scenario: Scenario,
    setup: Setup,
    players: &[Player],
    plan: &Plan,
    each: &(impl Fn() + Sync),
) -> anyhow::Result<Played> {
    let best_static = best_static::search(&setup, plan.seed)?;
    let seeds = |player: &Player| if *player == Player::Oracle { plan.oracle_seeds } else { plan.seeds };
    // The oracle first: it takes longest.
    let mut jobs: Vec<(usize, u64)> = Vec::new();
    for (index, player) in players.iter().enumerate() {
        jobs.extend((0..seeds(player)).map(|number| (index, plan.seed + number)));
    }
    jobs.sort_by_key(|(index, _)| players[*index] != Player::Oracle);
    let accounts = in_parallel(&jobs, plan.threads, |(index, seed)| {
        let account = episode(&setup, &players[*index], best_static, plan, *seed);
        each();
        account
    });
    let mut entries: Vec<Entry> =
        players.iter().map(|player| Entry { player: player.clone(), accounts: Vec::new() }).collect();
    for ((index, _), account) in jobs.iter().zip(accounts) {
        entries[*index].accounts.push(account?);
    }
    Ok(Played { scenario, setup, best_static, entries })
}

fn episode(setup: &Setup, player: &Player, best: Action, plan: &Plan, seed: u64) -> anyhow::Result<Account> {
    match player {
        Player::Oracle => Ok(oracle::play(setup, best, seed)?),
        Player::BestStatic => Ok(Bench::new(setup, Fixed(best), seed)?.run(setup.terms())),
        Player::Prototype => {
            let policy = plan.prototype.as_ref().context("the prototype plays only where its policy is given")?;
            let content = &policy.content;
            let governor = Trained::new(Policy::of(&policy.network), &content.observation, &content.actions);
            Ok(Bench::new(setup, governor, seed)?.run(setup.terms()))
        }
        Player::Governor(choice) => {
            let governor = choice.build(setup.actions(), &plan.policy.0, &plan.policy.1);
            let governor = governor.with_context(|| format!("cannot make the governor {choice}"))?;
            Ok(Bench::new(setup, governor, seed)?.run(setup.terms()))
        }
    }
}

/// Does every job on some thread; results are in the order of the jobs.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], threads: usize, work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let take = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(index) else { return done };
                done.push((index, work(job)));
            }
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(take)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("an episode does not panic")).collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
