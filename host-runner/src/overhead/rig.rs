//! The board, batch by batch, and what a batch earns under the published reward.

use super::Step;
use super::ledger::{Ledger, Part};
use crate::eval::prototype::table::Table;
use controller_core::action::{Action, Setting};
use controller_core::reward::published::{Limit, Outcome, Published, Range};
use controller_core::reward::reference;
use controller_core::reward::step::Step as StepReward;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant as BoardTime;
use controller_core::units::MilliRequestsPerSecond;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::{Conditions, Profile};
use std::collections::HashMap;
use std::time::Instant;

/// New tokens and prompt tokens of a sequence, and the pause between two batches, as in the published runs.
const ANSWER_TOKENS: u16 = 100;
const PROMPT_TOKENS: u32 = 17;
const GAP_S: f64 = 0.325;

/// The published reward of the training log, with the ranges of its data set.
#[must_use]
pub fn published_reward() -> StepReward<f64> {
    StepReward {
        published: Published {
            throughput: Range { low: 7.707_851_057_374_813, high: 920.960_054_059_606_3 },
            edp_efficiency: Range { low: 1.175_312_708_607_989_4e-4, high: 2.150_846_451_480_048_3e-3 },
            temperature: Range { low: 40.0, high: 100.0 },
            headroom_weight: 1.0,
            latency_limit: Limit { limit: 15.0, full: 22.5, weight: 1.0 },
            temperature_limit: Limit { limit: 100.0, full: 120.0, weight: 1.5 },
            power_limit: Limit { limit: 60.0, full: 78.0, weight: 1.0 },
            steepness: 5.0,
        },
        energy: Range { low: 108.524_687_75, high: 432.197_717_24 },
    }
}

/// The board with its ledger.
pub struct Rig {
    board: SimulatedBoard,
    /// Time and energy so far.
    pub ledger: Ledger,
    rule: StepReward<f64>,
    optimum: Optimum,
    started: Instant,
    simulating_s: f64,
    /// What the last batch cost.
    pub last: Measurement,
}

/// The best reward of any published action by temperature, to a quarter of a degree.
#[derive(Clone, Debug)]
pub struct Optimum {
    table: Table,
    known: HashMap<i64, f64>,
}

impl Optimum {
    /// Of a board under a reward, noise off.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        Self { table: Table::new(profile, 1.0, published_reward()), known: HashMap::new() }
    }

    fn at(&mut self, die_c: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "some hundred quarters")]
        let key = (die_c * 4.0).round() as i64;
        let table = &self.table;
        let best = || table.rewards(key as f64 / 4.0).into_iter().fold(f64::NEG_INFINITY, f64::max);
        *self.known.entry(key).or_insert_with(best)
    }
}

impl Rig {
    /// A board in a room, with the fan under its vendor's curve.
    #[must_use]
    pub fn new(profile: &Profile, conditions: Conditions, optimum: Optimum) -> Self {
        let board = SimulatedBoard::new(profile, conditions);
        let mut resting = board.clone();
        resting.idle(1.0);
        let idle_w = resting.measure().energy.0 as f64 / 1e6;
        Self {
            board,
            ledger: Ledger::new(idle_w),
            rule: published_reward(),
            optimum,
            started: Instant::now(),
            simulating_s: 0.0,
            last: Measurement::default(),
        }
    }

    /// The board's clock.
    #[must_use]
    pub fn now(&self) -> BoardTime {
        self.board.now()
    }

    /// True temperature of the die, °C.
    #[must_use]
    pub fn die_c(&self) -> f64 {
        self.board.plant().temperature_c()
    }

    /// Samples the sensors; belongs to telemetry.
    pub fn telemetry(&mut self) -> Telemetry {
        let board = &mut self.board;
        self.ledger.measure(Part::Telemetry, || board.telemetry(64, MilliRequestsPerSecond(10_000)))
    }

    /// Waits for the gap, then runs one batch. `published`: the setting is one that the published reward knows.
    pub fn run(&mut self, action: Action, setting: &Setting, published: bool) -> Step {
        let started = Instant::now();
        self.board.idle(GAP_S);
        self.board.prefill(setting, setting.batch, PROMPT_TOKENS * u32::from(setting.batch));
        self.board.decode(setting, &vec![setting.batch; usize::from(ANSWER_TOKENS)]);
        let generated_tokens = u32::from(setting.batch) * u32::from(ANSWER_TOKENS);
        let measurement = Measurement { requests: setting.batch, generated_tokens, ..self.board.measure() };
        self.last = measurement;
        let active_j = measurement.active_energy.0 as f64 / 1e6;
        let whole_j = measurement.energy.0 as f64 / 1e6;
        let latency_s = (measurement.prefill.micros() + measurement.decode.micros()) as f64 / 1e6;
        let temperature_c = self.die_c();
        let tokens = f64::from(generated_tokens + measurement.prompt_tokens);
        let outcome = Outcome {
            throughput: tokens / latency_s,
            edp_efficiency: 1.0 / (active_j * latency_s),
            energy: Some(active_j),
            latency: latency_s,
            power: active_j / latency_s,
            temperature: temperature_c,
            entropy: None,
            depth: None,
        };
        let reward = reference::step(&self.rule, &outcome).ok().map(|reward| reward.total());
        let best_reward = self.optimum.at(temperature_c);
        // All of this stands for the batch: it is the simulator and its bookkeeping.
        self.simulating_s += started.elapsed().as_secs_f64();
        self.ledger.board(Part::Inference, latency_s, active_j);
        self.ledger.board(Part::Gap, measurement.idle.micros() as f64 / 1e6, whole_j - active_j);
        Step {
            clocks: [action.prefill, action.decode],
            batch: setting.batch,
            depth: setting.depth,
            energy_j: active_j,
            latency_s,
            generated_tokens,
            temperature_c,
            reward: reward.filter(|_| published),
            best_reward,
        }
    }

    /// Closes the ledger: the rest of the wall time is `other`.
    #[must_use]
    pub fn close(mut self) -> (Ledger, Optimum) {
        self.ledger.close(self.started.elapsed().as_secs_f64(), self.simulating_s);
        (self.ledger, self.optimum)
    }
}
