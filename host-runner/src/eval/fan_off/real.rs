//! The test on a real board: llama.cpp answers, clocks and fan are set, power and temperatures are measured.
//!
//! The fan's guard stays: from the board's soft limit on (5 K below its own throttling) the fan comes back by itself, and the
//! test of a setting that nobody held back ends there. So a bare setting is not seen to throttle as in the published test,
//! where the fan was really gone.

use super::Plan;
use super::rig::{Batch, Condition, HOLD_S, LOAD, Phase, QUEUE, Rig, Sample, Sensors, Whole};
use super::trace::Trace;
use crate::board::jetson::Jetson;
use crate::env::answers::Answers;
use crate::env::board::Board as _;
use crate::measure::energy::Energy;
use crate::report::csv_log::CsvLogError;
use crate::sweep::real::RealRigError;
use controller_core::action::{Action, Setting};
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::MicroJoules;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nearer than this to where the first player began is equal, K; and longest wait for it, s.
const EQUAL_K: f64 = 2.0;
const LONGEST_SETTLING_S: f64 = 900.0;

/// The board and who answers on it.
pub struct RealRig<'a, A> {
    plan: Plan,
    board: Jetson<'a>,
    answers: &'a mut A,
    trace: Trace,
    stop: &'a AtomicBool,
    fan_pwm: u8,
    fan_off: bool,
    last: Measurement,
    energy_j: f64,
    start_c: Option<f64>,
}

impl<'a, A: Answers> RealRig<'a, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    /// A board that has waited for its warm-up with the fan at full duty and its lowest clock, and, where a player was before, until
    /// it is as cool as that one found it (`begin_c`).
    ///
    /// # Errors
    /// Clock or fan cannot be set.
    pub fn new(
        plan: Plan,
        board: Jetson<'a>,
        answers: &'a mut A,
        trace: Trace,
        begin_c: Option<f64>,
        stop: &'a AtomicBool,
    ) -> Result<Self, RealRigError<A::Error>> {
        let nothing = Measurement::default();
        let mut rig = Self {
            plan,
            board,
            answers,
            trace,
            stop,
            fan_pwm: u8::MAX,
            fan_off: false,
            last: nothing,
            energy_j: 0.0,
            start_c: None,
        };
        rig.board.set_fan(u8::MAX)?;
        let start_s = rig.board.now_s();
        while !stop.load(Ordering::Relaxed) {
            let waited_s = rig.board.now_s() - start_s;
            let equal = begin_c.is_none_or(|begin| rig.board.die_c().is_some_and(|now| now <= begin + EQUAL_K));
            if waited_s >= plan.warm_up_s && (equal || waited_s >= LONGEST_SETTLING_S) {
                break;
            }
            rig.board.idle((plan.warm_up_s - waited_s).clamp(0.05, 1.0))?;
        }
        rig.start_c = rig.board.die_c();
        rig.bill();
        Ok(rig)
    }

    /// How warm it was when the batches began, °C.
    #[must_use]
    pub const fn start_c(&self) -> Option<f64> {
        self.start_c
    }

    /// The trace to its end, and the board's own record of what went otherwise than wished.
    ///
    /// # Errors
    /// The trace could not be written.
    pub fn finish(self) -> Result<(Vec<Sample>, Whole, String), CsvLogError> {
        let samples = self.trace.finish()?;
        let whole = Whole {
            duration_s: self.board.now_s(),
            energy_j: self.energy_j,
            max_temperature_c: self.board.peak_c(),
            above_limit_s: self.board.above_limit_s(),
            throttled_s: throttled_s(&samples),
        };
        Ok((samples, whole, self.board.incidents().to_string()))
    }

    /// Closes a turn.
    fn bill(&mut self) -> (Measurement, Option<f64>) {
        let bill = self.board.measure();
        let energy_j = self.board.energy_is_known().then(|| joules(bill.energy));
        self.energy_j += energy_j.unwrap_or_default();
        (bill, energy_j)
    }

    fn phase(&self, energy: Energy, seconds: f64, (from_s, to_s): (f64, f64)) -> Phase {
        let power_w = energy.mean_mw().map(|mean| mean / 1000.0);
        // Rails by themselves are known from the trace alone.
        let sensors = self.trace.between((from_s, to_s + self.plan.sample_s), |samples| Sensors {
            rails_mw: [0, 1, 2, 3].map(|rail| mean(samples.iter().filter_map(|sample| sample.sensors.rails_mw[rail]))),
            ..samples.last().map_or(Sensors::default(), |last| last.sensors)
        });
        Phase { seconds, power_w, sensors }
    }
}

impl<A: Answers> Rig for RealRig<'_, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    type Error = RealRigError<A::Error>;

    fn now(&self) -> Instant {
        self.board.now()
    }

    fn telemetry(&mut self) -> Telemetry {
        self.board.telemetry(QUEUE, LOAD)
    }

    /// It is set with the clock of the next batch.
    fn set_fan(&mut self, pwm: u8) {
        self.fan_pwm = pwm;
    }

    fn stop_fan(&mut self) -> Result<(), Self::Error> {
        self.fan_off = true;
        self.trace.fan_is_off();
        Ok(self.board.fail_fan()?)
    }

    fn condition(&self) -> Condition {
        if self.trace.fan_is_back() { Condition::FanIsBack } else { Condition::Works }
    }

    fn hold(&mut self) -> Result<f64, Self::Error> {
        self.board.set_fan(self.fan_pwm)?;
        self.board.idle(HOLD_S)?;
        self.last = self.bill().0;
        Ok(HOLD_S)
    }

    fn measurement(&self) -> Measurement {
        self.last
    }

    fn run(
        &mut self,
        number: u32,
        action: Action,
        setting: &Setting,
        reason: String,
    ) -> Result<Option<Batch>, Self::Error> {
        let done = self.batch(number, action, setting, reason);
        // What a signal has cut off is no batch, and its error is none.
        if self.stop.load(Ordering::Relaxed) { Ok(None) } else { done.map(Some) }
    }
}

impl<A: Answers> RealRig<'_, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    fn batch(
        &mut self,
        number: u32,
        action: Action,
        setting: &Setting,
        reason: String,
    ) -> Result<Batch, RealRigError<A::Error>> {
        let fan_working = !self.fan_off;
        self.board.idle(self.plan.gap_s)?;
        let requests: Vec<usize> = (0..usize::from(setting.batch)).collect();
        self.board.begin_prefill(setting)?;
        let start_s = self.board.now_s();
        let (board, mut switched) = (&mut self.board, Ok(()));
        let mut prompt_tokens = 0;
        let mut prefilled = |tokens| {
            prompt_tokens = tokens;
            switched = board.begin_decode(setting, setting.batch, tokens);
        };
        let answered = self.answers.answer(&requests, setting.depth, &mut prefilled).map_err(RealRigError::Answers)?;
        switched?;
        self.board.end_decode(setting, &answered.active)?;
        let end_s = self.board.now_s();
        let phases = self.board.phases().ok_or(RealRigError::Blind)?;
        let (bill, energy_j) = self.bill();
        let seconds = |span: Duration| span.micros() as f64 / 1e6;
        let (prefill_s, decode_s) = (seconds(phases.prefill), seconds(phases.decode));
        self.last = Measurement {
            requests: setting.batch,
            generated_tokens: answered.generated_tokens,
            response: Duration::from_micros(bill.prefill.micros() + bill.decode.micros()),
            ..bill
        };
        let decode_from_s = end_s - decode_s;
        let (clock_mhz, throttled_s) = self.trace.between((start_s, end_s), |samples| {
            let decoding = samples.iter().filter(|sample| sample.time_s >= decode_from_s);
            (mean(decoding.filter_map(|sample| sample.clock_mhz)), throttled_s(samples))
        });
        Ok(Batch {
            number,
            start_s,
            end_s,
            action,
            setting: *setting,
            reason,
            idle_s: seconds(bill.idle),
            prompt_tokens,
            generated_tokens: answered.generated_tokens,
            prefill: self.phase(phases.prefill_energy, prefill_s, (start_s, start_s + prefill_s)),
            decode: self.phase(phases.decode_energy, decode_s, (decode_from_s, end_s)),
            // Between two samples the clock is the one that was set and read back.
            clock_mhz: clock_mhz.or_else(|| phases.as_set.then(|| f64::from(setting.decode.0) / 1000.0)),
            throttled_s,
            fan_working,
            energy_j,
        })
    }
}

/// Time between samples of which the later one says that the board throttles.
fn throttled_s(samples: &[Sample]) -> f64 {
    let pairs = samples.windows(2).filter(|pair| pair[1].throttled);
    // A sum of nothing would be minus zero.
    pairs.fold(0.0, |sum, pair| sum + pair[1].time_s - pair[0].time_s)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn joules(energy: MicroJoules) -> f64 {
    energy.0 as f64 / 1e6
}
