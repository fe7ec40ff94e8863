//! One turn on a board: wait for a request, sample the sensors, answer a batch, and
//! measure what it cost.
//!
//! A batch starts as soon as the board is free and a request waits, with at most as many requests
//! as the batch action allows: nobody waits for a batch to fill.

use super::answers::{Answers, DecodeWork};
use super::board::Board;
use super::queue::{Queue, Waiting};
use controller_core::action::{Decision, Setting};
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::MilliNats;
use firmware_sim::board::SimulatedBoard;

/// How long a hold lets the board cool before it is looked at again, seconds.
pub const HOLD_S: f64 = 5.0;

/// Requests, a board and somebody who answers. A clone is a snapshot.
#[derive(Clone, Debug)]
pub struct Service<A, B = SimulatedBoard> {
    board: B,
    queue: Queue,
    answers: A,
}

/// What came of one turn.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// What it cost.
    pub measurement: Measurement,
    /// The requests answered, each with its response time in seconds, oldest first.
    pub answered: Vec<(Waiting, f64)>,
    /// Their texts, where there are any.
    pub texts: Vec<String>,
    /// What drafts or a gate did, where they were asked for.
    pub work: Option<DecodeWork>,
    /// Nobody has measured its power: the energy of the measurement is a stand-in.
    pub energy_unknown: bool,
}

/// Why a turn could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum TurnError<A, B> {
    /// The language model failed.
    #[error("the batch was not answered: {0}")]
    Answers(A),
    /// The board did not do as told.
    #[error("the board did not carry out the setting: {0}")]
    Board(B),
}

impl<A: Answers, B: Board> Service<A, B> {
    /// Puts the parts together.
    pub fn new(board: B, queue: Queue, answers: A) -> Self {
        Self { board, queue, answers }
    }

    /// Idles until somebody waits; `false` when nobody will come any more.
    pub fn wait_for_work(&mut self) -> Result<bool, B::Error> {
        self.queue.advance(self.now_s());
        if self.queue.is_empty() {
            let Some(arrival) = self.queue.next_arrival_s() else { return Ok(false) };
            self.board.idle((arrival - self.now_s()).max(0.0))?;
            // The clock may have stopped a rounding error before the arrival.
            self.queue.advance(self.now_s().max(arrival));
        }
        Ok(true)
    }

    /// Samples the board and the queue.
    pub fn telemetry(&mut self) -> Telemetry {
        let load = self.queue.offered_load(self.now_s());
        self.board.telemetry(u16::try_from(self.queue.len()).unwrap_or(u16::MAX), load)
    }

    /// Carries out a decision and measures the turn.
    pub fn execute(&mut self, decision: &Decision, setting: &Setting) -> Result<Turn, TurnError<A::Error, B::Error>> {
        if decision.hold {
            self.board.set_fan(setting.fan_pwm).map_err(TurnError::Board)?;
            self.board.idle(HOLD_S).map_err(TurnError::Board)?;
            let measurement = self.board.measure();
            return Ok(Turn { measurement, energy_unknown: !self.board.energy_is_known(), ..Turn::default() });
        }
        let batch = self.queue.take(usize::from(setting.batch));
        let numbers: Vec<usize> = batch.iter().map(|waiting| waiting.number).collect();
        let sequences = u16::try_from(batch.len()).unwrap_or(u16::MAX);
        let board = &mut self.board;
        board.begin_prefill(setting).map_err(TurnError::Board)?;
        let mut switched = Ok(());
        let mut prefilled = |tokens| switched = board.begin_decode(setting, sequences, tokens);
        let answered = self.answers.answer(&numbers, setting.depth, &mut prefilled).map_err(TurnError::Answers)?;
        switched.map_err(TurnError::Board)?;
        if answered.depths.is_empty() {
            self.board.end_decode(setting, &answered.active).map_err(TurnError::Board)?;
        } else {
            self.board.end_runs(setting, &answered.active, &answered.depths).map_err(TurnError::Board)?;
        }
        let end = self.now_s();
        let answered_requests: Vec<(Waiting, f64)> =
            batch.into_iter().map(|waiting| (waiting, end - waiting.arrived_s)).collect();
        let longest = answered_requests.iter().fold(0.0f64, |top, (_, response)| top.max(*response));
        let measurement = Measurement {
            requests: sequences,
            generated_tokens: answered.generated_tokens,
            response: Duration::from_micros(round_u64(longest * 1e6)),
            entropy: answered.entropy_nats.map(|nats| MilliNats(round_u32(nats * 1000.0))),
            ..self.board.measure()
        };
        let energy_unknown = !self.board.energy_is_known();
        Ok(Turn {
            measurement,
            answered: answered_requests,
            texts: answered.texts,
            work: answered.work,
            energy_unknown,
        })
    }

    /// The board's clock, seconds.
    #[must_use]
    pub fn now_s(&self) -> f64 {
        self.board.now_s()
    }

    /// The board's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.board.now()
    }

    /// The board.
    #[must_use]
    pub const fn board(&self) -> &B {
        &self.board
    }

    /// The board, for disturbances.
    pub const fn board_mut(&mut self) -> &mut B {
        &mut self.board
    }

    /// The board, when the work is done.
    #[must_use]
    pub fn into_board(self) -> B {
        self.board
    }

    /// The queue.
    #[must_use]
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn round_u64(value: f64) -> u64 {
    value.round() as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn round_u32(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::super::answers::DrawnLengths;
    use super::*;
    use controller_core::action::{Action, Reason};
    use controller_core::units::KiloHertz;
    use firmware_sim::plant::{Conditions, Profile};

    fn service(total: usize) -> Service<DrawnLengths> {
        let board = SimulatedBoard::new(&Profile::agx_orin_hf(), Conditions::default());
        Service::new(board, Queue::new(2.0, total, 5), DrawnLengths::new((8, 16), (10, 30), 6))
    }

    fn decision(hold: bool) -> Decision {
        Decision { requested: Action::default(), applied: Action::default(), hold, reason: Reason::AsRequested }
    }

    const SETTING: Setting =
        Setting { prefill: KiloHertz(918_000), decode: KiloHertz(918_000), batch: 4, depth: 16, fan_pwm: 0 };

    #[test]
    fn every_request_is_answered_once_and_all_time_is_billed() {
        let mut service = service(50);
        let (mut numbers, mut billed) = (vec![], 0u64);
        while let Ok(true) = service.wait_for_work() {
            let Ok(turn) = service.execute(&decision(false), &SETTING);
            let m = turn.measurement;
            billed += m.idle.micros() + m.prefill.micros() + m.decode.micros();
            assert!(m.requests >= 1 && m.requests <= 4);
            numbers.extend(turn.answered.iter().map(|(waiting, response)| {
                assert!(*response > 0.0);
                waiting.number
            }));
        }
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        assert!(billed.abs_diff(service.now().micros()) < 200, "{billed} of {:?}", service.now());
    }

    #[test]
    fn a_hold_answers_nobody_and_cools() {
        let mut service = service(50);
        assert_eq!(service.wait_for_work(), Ok(true));
        let waiting = service.queue().len();
        let Ok(turn) = service.execute(&decision(true), &SETTING);
        assert_eq!((turn.measurement.requests, service.queue().len()), (0, waiting));
        assert!(turn.measurement.idle.micros() >= 5_000_000);
    }
}
