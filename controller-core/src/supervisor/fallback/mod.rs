//! Never worse than static: the governor's measured reward against that of one fixed setting.
//!
//! # How they are compared
//!
//! Reward depends on load and heat more than on who decides, so a number from yesterday is no
//! yardstick. The two are compared side by side, as in a switchback experiment (I. Bojinov et al.,
//! "Design and analysis of switchback experiments", 2023): a *pair* is a block of turns under the
//! governor and a block under the static setting, one right after the other, the order changing
//! from pair to pair so that drift cancels. The first turns of a block still feel the block before
//! and do not count. A block is worth its mean reward per request.
//!
//! # When the governor has lost
//!
//! Each pair gives `x = (static - governor - margin) / scale`, clipped to -1..=1. Two bets on
//! "the static setting is better" run over the pairs. Each is a stake that starts at one, is
//! multiplied by `1 + b·x` (b = 1/4 against small differences, 7/8 against large ones), and never
//! falls below one. Their mean is the *suspicion*. While the governor is not worse than by the
//! margin, so that the mean of x is at most 0 whatever the past, suspicion reaches N after no fewer
//! than N pairs on average (an e-detector: J. Shin, A. Ramdas, A. Rinaldo, arXiv 2203.03532; each
//! bet is a test martingale after J. Ville 1939). N is [`FallbackRule::false_alarm_pairs`]. No
//! distribution and no variance has to be known. A governor that loses every pair by the scale or
//! more is replaced after ln(2N) / ln(15/8) of them, 13 for N = 1000.
//!
//! What it cannot see: heat. Both blocks of a pair run at the temperature that both have made. Heat
//! costs energy, which it sees, and the limits hold without it.
//!
//! # How much comparing costs
//!
//! While suspicion is low the gap between pairs doubles up to the longest one; when it rises,
//! pairs follow each other. A replaced governor is tried again after a pause, which doubles with
//! every failure.

mod rule;
#[cfg(test)]
mod tests;

pub use rule::{FallbackError, FallbackRule};

use crate::action::{Action, ActionSpace};
use crate::division::signed_quotient;
use serde::{Deserialize, Serialize};

/// Who has the say, apart from safety.
///
/// ```text
///              suspicion reaches N
///   Trusted ─────────────────────────▶ Replaced ◀────────────────┐
///      ▲                                  │ pause over           │ two pairs' worth behind, or
///      │ all pairs done, not behind       ▼                      │ behind at the end; pause doubles
///      └─────────────────────────────── Probation ───────────────┘
/// ```
///
/// Pairs start in the supervisor's state Running only. The pause is back at its first length when
/// the gap between pairs has grown to its longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// The governor decides; pairs are run now and then.
    Trusted,
    /// The static setting is applied.
    Replaced,
    /// The governor is on trial: pairs one after the other.
    Probation,
}

/// Who decides a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    Governor,
    Static,
}

/// What a block has earned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Block {
    /// Millionths, each turn weighted by its requests.
    reward: i64,
    requests: i64,
    turns: u16,
    counted: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No comparison for so many turns.
    Rest(u32),
    /// The first block of a pair.
    First(Block),
    /// The second, with the first beside it.
    Second(Block, Block),
}

/// One, in the unit of `x`.
const X_ONE: i64 = 1 << 10;
/// One, in the unit of the stakes.
const STAKE_ONE: u64 = 1 << 16;
/// What the two bets risk on each pair, in eighths of the stake.
const BETS: [i64; 2] = [2, 7];
/// Suspicion from which pairs follow each other.
const ALERT: u64 = 2 * STAKE_ONE;

/// The comparison and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    rule: FallbackRule,
    action: Action,
    standing: Standing,
    phase: Phase,
    /// Who has the first block of the present or next pair.
    first: Arm,
    stakes: [u64; BETS.len()],
    gap: u32,
    pause: u32,
    /// Pairs of this probation, and by how much the governor is ahead, in units of `x`.
    trial: (u8, i64),
    replacements: u32,
}

impl Fallback {
    /// A fallback that trusts the governor until it is measured to be worse.
    pub fn new(rule: FallbackRule, actions: &ActionSpace) -> Result<Self, FallbackError> {
        rule.check()?;
        let action = actions.find(&rule.setting).map_err(FallbackError::NotOnBoard)?;
        Ok(Self {
            rule,
            action,
            standing: Standing::Trusted,
            phase: Phase::Rest(0),
            first: Arm::Governor,
            stakes: [STAKE_ONE; BETS.len()],
            gap: 0,
            pause: rule.first_pause_turns,
            trial: (0, 0),
            replacements: 0,
        })
    }

    /// Who has the say.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// How often the governor has been replaced.
    #[must_use]
    pub const fn replacements(&self) -> u32 {
        self.replacements
    }

    /// The static action.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The suspicion against the governor, in thousandths: 1000 is none, and
    /// `false_alarm_pairs · 1000` replaces it.
    #[must_use]
    pub fn suspicion_milli(&self) -> u64 {
        (self.suspicion() * 1000) >> 16
    }

    fn suspicion(&self) -> u64 {
        self.stakes.iter().sum::<u64>() / BETS.len() as u64
    }

    /// Who decides the coming turn; a new pair begins only when the board is `calm`.
    pub(super) fn arm(&mut self, calm: bool) -> Arm {
        if calm && self.phase == Phase::Rest(0) {
            self.phase = Phase::First(Block::default());
            if self.standing == Standing::Replaced {
                self.standing = Standing::Probation;
                self.trial = (0, 0);
            }
        }
        match (self.phase, self.standing) {
            (Phase::Rest(_), Standing::Trusted) => Arm::Governor,
            (Phase::Rest(_), Standing::Replaced | Standing::Probation) => Arm::Static,
            (Phase::First(_), _) => self.first,
            (Phase::Second(..), _) => self.first.other(),
        }
    }

    /// Takes in a turn that is over: its reward in millionths and its requests, or nothing when it
    /// says nothing about who decided.
    pub(super) fn settle(&mut self, earned: Option<(i32, u16)>) {
        match &mut self.phase {
            Phase::Rest(left) => *left = left.saturating_sub(1),
            Phase::First(block) => {
                if block.add(earned, &self.rule) {
                    self.phase = Phase::Second(*block, Block::default());
                }
            }
            Phase::Second(before, block) => {
                if block.add(earned, &self.rule) {
                    let (governor, fixed) = match self.first {
                        Arm::Governor => (*before, *block),
                        Arm::Static => (*block, *before),
                    };
                    self.first = self.first.other();
                    self.judge(&governor, &fixed);
                }
            }
        }
    }

    fn judge(&mut self, governor: &Block, fixed: &Block) {
        let (Some(governor), Some(fixed)) = (governor.mean(), fixed.mean()) else {
            // Nothing could be scored: another time, perhaps.
            self.rest_longer();
            return;
        };
        let behind = fixed - governor - i64::from(self.rule.margin);
        let scaled = signed_quotient(behind * X_ONE, i64::from(self.rule.scale));
        let x = scaled.clamp(-X_ONE, X_ONE);
        match self.standing {
            Standing::Trusted => self.suspect(x),
            Standing::Replaced | Standing::Probation => self.try_again(x),
        }
    }

    fn suspect(&mut self, x: i64) {
        for (stake, bet) in self.stakes.iter_mut().zip(BETS) {
            // The factor lies between 1/8 and 15/8, so it is positive.
            let factor = u64::try_from(8 * X_ONE + bet * x).unwrap_or(0);
            // No overflow: a stake that has not raised the alarm lies below 2^38, the factor below 2^14.
            *stake = ((*stake * factor) >> 13).max(STAKE_ONE);
        }
        let suspicion = self.suspicion();
        if suspicion >= u64::from(self.rule.false_alarm_pairs) * STAKE_ONE {
            self.replacements = self.replacements.saturating_add(1);
            self.replace();
        } else if suspicion >= ALERT {
            self.gap = 0;
            self.phase = Phase::Rest(0);
        } else {
            self.rest_longer();
        }
    }

    fn try_again(&mut self, x: i64) {
        let (pairs, ahead) = (self.trial.0.saturating_add(1), self.trial.1 - x);
        self.trial = (pairs, ahead);
        let over = pairs >= self.rule.probation_pairs;
        if ahead <= -2 * X_ONE || (over && ahead < 0) {
            self.replace();
        } else if over {
            self.standing = Standing::Trusted;
            self.stakes = [STAKE_ONE; BETS.len()];
            self.gap = 0;
            self.rest_longer();
        } else {
            self.phase = Phase::Rest(0);
        }
    }

    fn replace(&mut self) {
        self.standing = Standing::Replaced;
        self.phase = Phase::Rest(self.pause);
        self.pause = self.pause.saturating_mul(2).min(self.rule.longest_pause_turns);
    }

    fn rest_longer(&mut self) {
        let shortest = u32::from(self.rule.block_turns);
        self.gap = self.gap.saturating_mul(2).max(shortest).min(self.rule.longest_gap_turns);
        if self.gap == self.rule.longest_gap_turns && self.standing == Standing::Trusted {
            self.pause = self.rule.first_pause_turns;
        }
        self.phase = Phase::Rest(self.gap);
    }
}

impl Arm {
    const fn other(self) -> Self {
        match self {
            Self::Governor => Self::Static,
            Self::Static => Self::Governor,
        }
    }
}

impl Block {
    /// Adds a turn; true when the block is complete. A block that cannot be scored ends as well.
    fn add(&mut self, earned: Option<(i32, u16)>, rule: &FallbackRule) -> bool {
        self.turns = self.turns.saturating_add(1);
        let warm_up = u16::from(rule.warm_up_turns);
        if let Some((reward, requests)) = earned
            && self.turns > warm_up
        {
            self.counted = self.counted.saturating_add(1);
            self.requests += i64::from(requests);
            self.reward += i64::from(reward) * i64::from(requests);
        }
        self.counted >= rule.block_turns || self.turns >= 2 * (warm_up + u16::from(rule.block_turns))
    }

    /// Mean reward of a request, millionths.
    fn mean(&self) -> Option<i64> {
        if self.requests == 0 { None } else { Some(signed_quotient(self.reward, self.requests)) }
    }
}
