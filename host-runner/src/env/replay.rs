//! Replay of a logged grid as a bandit: every setting of the log is an arm, and pulling one returns
//! its logged cost with noise.
//!
//! The cost is that of Camel (arXiv 2508.09173): half the energy per request and half the response,
//! both relative to a reference arm. A request waits for its batch to fill, `(batch - 1) / 2` gaps
//! between arrivals in the mean, and then for the batch. The reference is the highest clock at the
//! largest batch, so its cost is 1.

use crate::verify::plant::{Format, Log};
use firmware_sim::plant::noise::Generator;
use std::collections::BTreeMap;

/// A setting to try: one clock for prefill and decode, and a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// The clock, GHz.
    pub clock_ghz: f64,
    /// Requests answered together.
    pub batch: f64,
}

/// What a batch took at one setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Energy of the batch, J.
    pub energy_j: f64,
    /// Time of the batch, s.
    pub latency_s: f64,
}

/// Turns outcomes into costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Offered load, requests per second.
    pub requests_per_s: f64,
    /// The arm whose cost is 1.
    pub reference: Arm,
    /// What a batch takes there.
    pub at_reference: Outcome,
}

/// Share of energy in the cost; the rest is response.
const ENERGY_SHARE: f64 = 0.5;

impl Objective {
    /// Waiting for the batch to fill, mean over its requests, and for its answer, s.
    #[must_use]
    pub fn response_s(&self, arm: Arm, latency_s: f64) -> f64 {
        (arm.batch - 1.0) / (2.0 * self.requests_per_s) + latency_s
    }

    /// Cost of an outcome, in units of the reference arm's.
    #[must_use]
    pub fn cost(&self, arm: Arm, outcome: Outcome) -> f64 {
        let energy = outcome.energy_j / arm.batch / (self.at_reference.energy_j / self.reference.batch);
        let response =
            self.response_s(arm, outcome.latency_s) / self.response_s(self.reference, self.at_reference.latency_s);
        ENERGY_SHARE * energy + (1.0 - ENERGY_SHARE) * response
    }
}

/// Which settings of a log are arms. Prefill and decode run at the same clock in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 49 arms as in Camel: the seven lowest clocks (306..918 MHz on AGX Orin), batches 4, 8, ..., 28.
    Camel,
    /// Every batch of the log at every clock.
    All,
}

impl Selection {
    fn takes(self, clock: usize, batch: u32) -> bool {
        match self {
            Self::Camel => clock < 7 && (4..=28).contains(&batch) && batch.is_multiple_of(4),
            Self::All => true,
        }
    }
}

/// Why a log cannot be replayed as a bandit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplayError {
    /// Another kind of log.
    #[error("this is a {0} log; a replay needs a grid, with one row per setting")]
    NotAGrid(String),
    /// Arms are missing.
    #[error(
        "the grid holds {found} of the 49 settings (seven lowest clocks, batches 4 to 28 in fours); try --arms all"
    )]
    Incomplete {
        /// How many there are.
        found: usize,
    },
    /// Too few arms to choose from.
    #[error("the grid holds {found} settings with equal prefill and decode clocks, at least 2 are needed")]
    TooFew {
        /// How many there are.
        found: usize,
    },
}

/// A grid as a bandit.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    arms: Vec<Arm>,
    costs: Vec<f64>,
    objective: Objective,
    noise_sd: f64,
}

impl Replay {
    /// Makes arms of a grid log, ordered by clock, then by batch; repeated settings are averaged.
    /// `clocks_khz` is the board's table; `noise_sd` is the standard deviation of a pull in units of
    /// the reference arm's cost.
    pub fn new(
        log: &Log,
        clocks_khz: &[u32],
        selection: Selection,
        requests_per_s: f64,
        noise_sd: f64,
    ) -> Result<Self, ReplayError> {
        if log.format != Format::Grid {
            return Err(ReplayError::NotAGrid(log.format.to_string()));
        }
        let mut cells: BTreeMap<(usize, u32), (f64, f64, f64)> = BTreeMap::new();
        for row in &log.rows {
            let Some(energy_j) = row.energy_j else { continue };
            if row.prefill_clock == row.decode_clock && selection.takes(row.decode_clock, row.batch) {
                let cell = cells.entry((row.decode_clock, row.batch)).or_default();
                *cell = (cell.0 + energy_j, cell.1 + row.latency_s, cell.2 + 1.0);
            }
        }
        let found = cells.len();
        if selection == Selection::Camel && found != 49 {
            return Err(ReplayError::Incomplete { found });
        }
        let arm = |(clock, batch): (usize, u32)| Arm {
            clock_ghz: f64::from(clocks_khz.get(clock).copied().unwrap_or(0)) / 1e6,
            batch: f64::from(batch),
        };
        let measured: Vec<(Arm, Outcome)> = cells
            .into_iter()
            .map(|(key, (energy, latency, rows))| {
                (arm(key), Outcome { energy_j: energy / rows, latency_s: latency / rows })
            })
            .collect();
        Self::of_outcomes(&measured, requests_per_s, noise_sd).ok_or(ReplayError::TooFew { found })
    }

    /// A bandit of outcomes that are known otherwise; `None` for fewer than two.
    #[must_use]
    pub fn of_outcomes(measured: &[(Arm, Outcome)], requests_per_s: f64, noise_sd: f64) -> Option<Self> {
        let highest = |a: &&(Arm, Outcome), b: &&(Arm, Outcome)| {
            a.0.clock_ghz.total_cmp(&b.0.clock_ghz).then(a.0.batch.total_cmp(&b.0.batch))
        };
        let &(reference, at_reference) = measured.iter().max_by(highest).filter(|_| measured.len() > 1)?;
        let objective = Objective { requests_per_s, reference, at_reference };
        let costs = measured.iter().map(|(arm, outcome)| objective.cost(*arm, *outcome)).collect();
        Some(Self { arms: measured.iter().map(|(arm, _)| *arm).collect(), costs, objective, noise_sd })
    }

    /// The arms.
    #[must_use]
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// What the cost is made of.
    #[must_use]
    pub const fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Standard deviation of a pull.
    #[must_use]
    pub const fn noise_sd(&self) -> f64 {
        self.noise_sd
    }

    /// True cost of an arm; no algorithm may look at it.
    ///
    /// # Panics
    /// Beyond the last arm.
    #[must_use]
    pub fn true_cost(&self, arm: usize) -> f64 {
        self.costs[arm]
    }

    /// Index of the best arm; no algorithm may look at it.
    #[must_use]
    pub fn best(&self) -> usize {
        lowest(&self.costs)
    }

    /// One noisy cost of an arm.
    pub fn pull(&self, arm: usize, random: &mut Generator) -> f64 {
        self.true_cost(arm) + self.noise_sd * random.normal()
    }
}

/// Index of the lowest value, the first of equals; 0 when there is none.
#[must_use]
pub fn lowest(values: &[f64]) -> usize {
    let better = |best: usize, (index, value): (usize, &f64)| if *value < values[best] { index } else { best };
    values.iter().enumerate().fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(clock_ghz: f64, batch: f64) -> Arm {
        Arm { clock_ghz, batch }
    }

    #[test]
    fn a_cost_worked_by_hand() {
        let measured = [
            (arm(1.0, 8.0), Outcome { energy_j: 80.0, latency_s: 2.0 }),
            (arm(0.5, 4.0), Outcome { energy_j: 60.0, latency_s: 3.0 }),
        ];
        let replay = Replay::of_outcomes(&measured, 1.0, 0.0).unwrap();
        assert_eq!(replay.objective().reference, arm(1.0, 8.0));
        // 15 J a request against 10; 1.5 s of filling and 3 s of batch against 3.5 s and 2 s.
        let expected = 0.5 * 1.5 + 0.5 * (4.5 / 5.5);
        assert!((replay.true_cost(1) - expected).abs() < 1e-12);
        assert!((replay.true_cost(0) - 1.0).abs() < 1e-12);
        assert_eq!(replay.best(), 0);
        assert_eq!(Replay::of_outcomes(&measured[..1], 1.0, 0.0), None);
    }

    #[test]
    fn pulls_have_the_noise_they_say() {
        let measured = [(arm(1.0, 8.0), Outcome { energy_j: 80.0, latency_s: 2.0 }); 2];
        let replay = Replay::of_outcomes(&measured, 1.0, 0.05).unwrap();
        let mut random = Generator::new(3);
        let pulls: Vec<f64> = (0..4000).map(|_| replay.pull(1, &mut random) - 1.0).collect();
        let mean = pulls.iter().sum::<f64>() / 4000.0;
        let sd = (pulls.iter().map(|pull| pull * pull).sum::<f64>() / 4000.0).sqrt();
        assert!(mean.abs() < 0.003 && (sd - 0.05).abs() < 0.003, "{mean} {sd}");
    }
}
