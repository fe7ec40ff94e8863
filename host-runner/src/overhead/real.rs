//! The real board of the comparison: everything takes the time that it takes.

use super::Step;
use super::ledger::{Ledger, Part};
use super::rig::{GAP_S, Rig, published_reward, reward_of};
use crate::board::jetson::Jetson;
use crate::env::answers::Answers;
use crate::env::board::Board as _;
use crate::sweep::real::{RealRigError, wait_until_cool};
use controller_core::action::{Action, Setting};
use controller_core::reward::step::Step as StepReward;
use controller_core::supervisor::Limits;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::{Duration, Instant as BoardTime};
use controller_core::units::MilliRequestsPerSecond;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The board, with its ledger.
pub struct RealRig<'a, A> {
    board: Jetson<'a>,
    answers: &'a mut A,
    limits: Limits,
    stop: &'a AtomicBool,
    ledger: Ledger,
    before: Ledger,
    rule: StepReward<f64>,
    started: Instant,
    last: Measurement,
    /// Waited for samples behind the last batch, s: a part of the gap before the next.
    waited_s: f64,
    /// What was measured beside the batches: J and s.
    beside: (f64, f64),
}

impl<'a, A: Answers> RealRig<'a, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    /// A board that a batch waits for while it is within the hold's margin of its limit.
    /// `before` is the ledger of what this goes on with.
    pub fn new(board: Jetson<'a>, answers: &'a mut A, limits: Limits, before: Ledger, stop: &'a AtomicBool) -> Self {
        Self {
            board,
            answers,
            limits,
            stop,
            ledger: Ledger::new(0.0),
            before,
            rule: published_reward(),
            started: Instant::now(),
            last: Measurement::default(),
            waited_s: 0.0,
            beside: (0.0, 0.0),
        }
    }

    /// What went otherwise than wished.
    #[must_use]
    pub fn incidents(&self) -> String {
        self.board.incidents().to_string()
    }

    /// What is not inference costs the power that was measured beside the batches.
    fn charge(&mut self) {
        let (joules, seconds) = self.beside;
        self.ledger.charge(if seconds > 0.0 { joules / seconds } else { 0.0 });
    }

    fn batch(&mut self, action: Action, setting: &Setting, published: bool) -> Result<Step, RealRigError<A::Error>> {
        let waits = Instant::now();
        wait_until_cool(&mut self.board, &self.limits, self.stop)?;
        self.board.idle((GAP_S - std::mem::take(&mut self.waited_s)).max(0.0))?;
        self.ledger.board(Part::Gap, waits.elapsed().as_secs_f64(), 0.0);
        let requests: Vec<usize> = (0..usize::from(setting.batch)).collect();
        let (board, ledger) = (&mut self.board, &mut self.ledger);
        ledger.measure(Part::Actuation, || board.begin_prefill(setting))?;
        let (mut switched, mut prompt_tokens) = (Ok(()), 0);
        let mut prefilled = |tokens| {
            prompt_tokens = tokens;
            switched = ledger.measure(Part::Actuation, || board.begin_decode(setting, setting.batch, tokens));
        };
        let answered = self.answers.answer(&requests, setting.depth, &mut prefilled).map_err(RealRigError::Answers)?;
        switched?;
        self.board.end_decode(setting, &answered.active)?;
        // Samples that cover the batch come a moment later: the board waits for the next batch meanwhile.
        let waits = Instant::now();
        let phases = self.board.phases().ok_or(RealRigError::Blind)?;
        let bill = self.board.measure();
        self.waited_s = waits.elapsed().as_secs_f64();
        self.ledger.board(Part::Gap, self.waited_s, 0.0);
        let seconds = |span: Duration| span.micros() as f64 / 1e6;
        let (prefill_s, decode_s) = (seconds(phases.prefill), seconds(phases.decode));
        // A phase between two samples has the mean of the other.
        let (prefill_mw, decode_mw) = (phases.prefill_energy.mean_mw(), phases.decode_energy.mean_mw());
        let prefill_mw = prefill_mw.or(decode_mw).ok_or(RealRigError::Blind)?;
        let active_j = (prefill_mw * prefill_s + decode_mw.unwrap_or(prefill_mw) * decode_s) / 1000.0;
        let latency_s = prefill_s + decode_s;
        self.ledger.board(Part::Inference, latency_s, active_j);
        if self.board.energy_is_known() {
            let whole_s = seconds(bill.idle) + seconds(bill.prefill) + seconds(bill.decode);
            self.beside.0 += (bill.energy.0 as f64 / 1e6 - active_j).max(0.0);
            self.beside.1 += whole_s - latency_s;
        }
        self.charge();
        self.last = Measurement {
            requests: setting.batch,
            generated_tokens: answered.generated_tokens,
            response: Duration::from_micros(bill.prefill.micros() + bill.decode.micros()),
            ..bill
        };
        let temperature_c = self.board.die_c().ok_or(RealRigError::NoTemperature { seconds: 0 })?;
        let tokens = f64::from(prompt_tokens + answered.generated_tokens);
        let reward = reward_of(&self.rule, tokens, latency_s, active_j, temperature_c);
        Ok(Step {
            clocks: [action.prefill, action.decode],
            batch: setting.batch,
            depth: setting.depth,
            energy_j: active_j,
            latency_s,
            generated_tokens: answered.generated_tokens,
            temperature_c,
            reward: reward.filter(|_| published),
            best_reward: None,
        })
    }
}

impl<A: Answers> Rig for RealRig<'_, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    type Error = RealRigError<A::Error>;

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn now(&self) -> BoardTime {
        self.board.now()
    }

    fn telemetry(&mut self) -> Telemetry {
        let board = &mut self.board;
        self.ledger.measure(Part::Telemetry, || board.telemetry(64, MilliRequestsPerSecond(10_000)))
    }

    fn run(&mut self, action: Action, setting: &Setting, published: bool) -> Result<Option<Step>, Self::Error> {
        let done = self.batch(action, setting, published);
        // What a signal has cut off is no batch, and its error is none.
        if self.stop.load(Ordering::Relaxed) { Ok(None) } else { done.map(Some) }
    }

    fn last(&self) -> Measurement {
        self.last
    }

    fn close(mut self) -> Ledger {
        let stood_s = self.ledger.seconds(Part::Inference) + self.ledger.seconds(Part::Gap);
        self.ledger.close(self.started.elapsed().as_secs_f64(), stood_s);
        self.charge();
        self.ledger.and(&self.before)
    }
}
