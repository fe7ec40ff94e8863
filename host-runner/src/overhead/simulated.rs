//! The simulated board of the comparison.

use super::Step;
use super::ledger::{Ledger, Part};
use super::rig::{ANSWER_TOKENS, GAP_S, PROMPT_TOKENS, Rig, published_reward, reward_of};
use crate::eval::prototype::table::Table;
use controller_core::action::{Action, Setting};
use controller_core::reward::step::Step as StepReward;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant as BoardTime;
use controller_core::units::MilliRequestsPerSecond;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::{Conditions, Profile};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Instant;

/// The board with its ledger.
pub struct SimulatedRig {
    board: SimulatedBoard,
    ledger: Ledger,
    rule: StepReward<f64>,
    optimum: Optimum,
    started: Instant,
    simulating_s: f64,
    last: Measurement,
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

impl SimulatedRig {
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
}

impl Rig for SimulatedRig {
    type Error = Infallible;

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn last(&self) -> Measurement {
        self.last
    }

    fn now(&self) -> BoardTime {
        self.board.now()
    }

    fn telemetry(&mut self) -> Telemetry {
        let board = &mut self.board;
        self.ledger.measure(Part::Telemetry, || board.telemetry(64, MilliRequestsPerSecond(10_000)))
    }

    fn run(&mut self, action: Action, setting: &Setting, published: bool) -> Result<Option<Step>, Infallible> {
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
        let temperature_c = self.board.plant().temperature_c();
        let tokens = f64::from(generated_tokens + measurement.prompt_tokens);
        let reward = reward_of(&self.rule, tokens, latency_s, active_j, temperature_c);
        let best_reward = self.optimum.at(temperature_c);
        // All of this stands for the batch: it is the simulator and its bookkeeping.
        self.simulating_s += started.elapsed().as_secs_f64();
        self.ledger.board(Part::Inference, latency_s, active_j);
        self.ledger.board(Part::Gap, measurement.idle.micros() as f64 / 1e6, whole_j - active_j);
        Ok(Some(Step {
            clocks: [action.prefill, action.decode],
            batch: setting.batch,
            depth: setting.depth,
            energy_j: active_j,
            latency_s,
            generated_tokens,
            temperature_c,
            reward: reward.filter(|_| published),
            best_reward: Some(best_reward),
        }))
    }

    fn close(mut self) -> Ledger {
        self.ledger.close(self.started.elapsed().as_secs_f64(), self.simulating_s);
        self.ledger
    }
}
