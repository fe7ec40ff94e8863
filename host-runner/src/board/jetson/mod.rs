//! A real Jetson as the controller meets it: settings are written and read back, telemetry comes from the
//! sampler, the bill of a turn is the integral of the sampled power over its phases.
//!
//! Nothing here waits for a driver: sensors are read by the sampler's threads, clock and fan are set by the
//! actuator's, both with deadlines. Readings keep the time at which they were taken, so the supervisor sees
//! when they grow old, and goes to the safest setting.

mod relief;
mod watch;

pub use relief::Relief;
pub use watch::Watch;

use super::actuator::clock::Pinned;
use super::actuator::incidents::Incidents;
use super::actuator::{Actuator, ActuatorError, Outcome, Wish};
use super::pins::line::Line;
use super::pins::strobe::{FanRelay, Strobe};
use super::telemetry::{Clock, Latest, Sampler};
use crate::board::notify::Notify;
use crate::env::board::Board;
use crate::measure::energy::Energy;
use controller_core::action::Setting;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{MicroJoules, MilliRequestsPerSecond};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as Span;
use tracing::warn;

/// Longest wait for clock and fan. Far above what a healthy board takes (13 to 57 ms from the write to the
/// clock, measured by others on a Thor), and half of the shortest sensible control period.
const PATIENCE: Span = Span::from_millis(250);

/// Share of a turn that samples of power must cover.
const COVERAGE: f64 = 0.9;

/// Longest wait for the sample that completes a turn; it counts as idling.
const LAST_SAMPLE: Span = Span::from_millis(1_500);

/// A sleep looks up so often whether it shall end.
const NAP: Span = Span::from_millis(50);

/// Why a board does not go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JetsonError {
    /// Clock or fan cannot be set.
    #[error(transparent)]
    Actuator(#[from] ActuatorError),
    /// Power cannot be read.
    #[error(
        "no sample of power in the whole last turn, so its energy is unknown; `energyllm board info` shows the rails"
    )]
    Blind,
}

/// The parts of a board, made by whoever discovered it.
pub struct Parts {
    /// What samples it.
    pub sampler: Arc<Sampler>,
    /// What sets clock and fan.
    pub actuator: Actuator,
    /// What watches its temperature, second by second.
    pub watch: Arc<Watch>,
    /// What the board's supply allows of the clocks that may be set.
    pub relief: Relief,
    /// The lowest clock, hertz, for holds.
    pub lowest_hz: u64,
    /// A line for an oscilloscope.
    pub strobe: Option<Strobe<Line>>,
    /// A fan without PWM.
    pub relay: Option<FanRelay<Line>>,
}

/// The board.
pub struct Jetson<'a> {
    parts: Parts,
    latest: Latest,
    clock: Clock,
    stop: &'a AtomicBool,
    notify: Notify,
    turn: Turn,
    fan_off: bool,
    poorly_covered: u64,
    blind: bool,
    /// Mean power of the last turn that was measured, mW.
    known_mw: Option<f64>,
    energy_is_known: bool,
}

/// The phases of the turn so far.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    since: Instant,
    prefill: Option<Instant>,
    decode: Option<Instant>,
    end: Option<Instant>,
    /// Both clocks are set.
    switched: Option<Instant>,
    prompt_tokens: u32,
    /// Something was not set as it was asked for.
    unset: bool,
}

/// A batch as a sweep wants it: each phase by itself, after its clock was set.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// Time of the prefill.
    pub prefill: Duration,
    /// Time of the decode, without that of the change to its clock.
    pub decode: Duration,
    /// Energy of the prefill.
    pub prefill_energy: Energy,
    /// Energy of the decode.
    pub decode_energy: Energy,
    /// Clocks and fan were set and read back as asked for.
    pub as_set: bool,
}

impl<'a> Jetson<'a> {
    /// Puts the parts together. `stop` ends every wait.
    #[must_use]
    pub fn new(parts: Parts, stop: &'a AtomicBool) -> Self {
        let (latest, clock) = (parts.sampler.latest(), parts.sampler.clock());
        let turn = Turn { since: clock.now(), ..Turn::default() };
        let notify = Notify::of_systemd();
        Self {
            parts,
            latest,
            clock,
            stop,
            notify,
            turn,
            fan_off: false,
            poorly_covered: 0,
            blind: false,
            known_mw: None,
            energy_is_known: true,
        }
    }

    /// What samples it, for whoever looks on.
    #[must_use]
    pub fn sampler(&self) -> Arc<Sampler> {
        Arc::clone(&self.parts.sampler)
    }

    /// What went otherwise than wished so far.
    #[must_use]
    pub fn incidents(&self) -> Incidents {
        Incidents { strained: self.parts.relief.steps(), ..self.parts.actuator.incidents() }
    }

    /// Turns of which less than 90 % is covered by samples of power; their energy is that of the covered part,
    /// scaled up.
    #[must_use]
    pub const fn poorly_covered(&self) -> u64 {
        self.poorly_covered
    }

    /// The batch that has ended, phase by phase; waits for the samples of power that cover it. `None` unless a batch has
    /// ended since the last bill ([`Board::measure`]).
    #[must_use]
    pub fn phases(&self) -> Option<Phases> {
        let Turn { prefill: Some(prefill), decode: Some(decode), switched: Some(switched), end: Some(end), .. } =
            self.turn
        else {
            return None;
        };
        let _ = self.energy_when_covered(prefill, end);
        Some(Phases {
            prefill: decode.since(prefill),
            decode: end.since(switched),
            prefill_energy: self.parts.sampler.energy(prefill, decode),
            decode_energy: self.parts.sampler.energy(switched, end),
            as_set: !self.turn.unset,
        })
    }

    /// Sets clock and fan. A board that is late goes on as it is: that is counted, and telemetry shows what is
    /// in force.
    fn set(&mut self, clock_hz: u64, fan_floor: u8) -> Result<(), JetsonError> {
        if self.blind {
            return Err(JetsonError::Blind);
        }
        self.notify.alive();
        let limited_hz = self.parts.relief.limit(clock_hz, self.clock.now());
        self.turn.unset |= limited_hz < clock_hz;
        let wish = Wish { clock_hz: Some(limited_hz), fan_floor, fan_off: self.fan_off };
        let outcome = self.parts.actuator.set(wish, PATIENCE);
        if let Some(relay) = &mut self.parts.relay {
            let known = self.parts.watch.temperature(&self.parts.sampler).is_some();
            // A pin that cannot be set is not worth a run.
            let _ = relay.follow(fan_floor, known);
        }
        self.turn.unset |=
            !matches!(&outcome, Ok(Outcome::Clock(Pinned::Already | Pinned::Written) | Outcome::NoClock));
        match outcome {
            // What the signal handler has given back, nobody sets any more.
            Err(_) | Ok(Outcome::Failed(_)) if self.stop.load(Ordering::Relaxed) => Ok(()),
            outcome => Ok(outcome.map(|_| ())?),
        }
    }

    fn sleep(&self, time: Span) {
        let until = std::time::Instant::now() + time;
        while !self.stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(NAP));
            self.notify.alive();
        }
    }

    /// Waits until the samples cover enough of a window, or nothing more can be hoped for.
    fn energy_when_covered(&self, from: Instant, to: Instant) -> Energy {
        let give_up = self.clock.now() + Duration::from_micros(micros(LAST_SAMPLE));
        loop {
            let energy = self.parts.sampler.energy(from, to);
            let now = self.clock.now();
            let known = self.parts.sampler.measured_until().is_some_and(|until| until >= to);
            let enough = known || energy.covered_us > 0 && energy.covered_share() >= COVERAGE;
            if enough || now >= give_up || self.stop.load(Ordering::Relaxed) {
                return energy;
            }
            let number = self.parts.sampler.latest().number;
            let left = Span::from_micros(give_up.since(now).micros());
            let _ = self.parts.sampler.wait_beyond(number, left.min(NAP * 10));
        }
    }
}

const fn hz(setting: controller_core::units::KiloHertz) -> u64 {
    setting.0 as u64 * 1000
}

/// Energy of some time at a steady power in mW.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn at_power(power_mw: f64, micros: u64) -> MicroJoules {
    MicroJoules((power_mw.max(0.0) * micros as f64 / 1000.0).round() as u64)
}

fn micros(span: Span) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Board for Jetson<'_> {
    type Error = JetsonError;

    fn now_s(&self) -> f64 {
        self.now().micros() as f64 / 1e6
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn telemetry(&mut self, queue: u16, offered_load: MilliRequestsPerSecond) -> Telemetry {
        self.parts.sampler.refresh(&mut self.latest);
        let telemetry = self.latest.telemetry();
        let now = self.now();
        let _ = self.parts.watch.see(telemetry.temperature, now);
        let told_before = self.parts.relief.steps() > 0;
        if self.parts.relief.see(&self.latest.sample, self.latest.meter.channels(), now) && !told_before {
            warn!(
                "the board counts over-currents (OC1, OC2) or throttles: the GPU runs slower until that is over; see its \
                 power supply, and `energyllm board watch`"
            );
        }
        Telemetry { queue, offered_load, ..telemetry }
    }

    fn idle(&mut self, seconds: f64) -> Result<(), JetsonError> {
        self.sleep(Span::try_from_secs_f64(seconds).unwrap_or_default());
        Ok(())
    }

    /// A hold also takes the clock down: an idle GPU that is pinned high heats the board.
    fn set_fan(&mut self, pwm: u8) -> Result<(), JetsonError> {
        self.set(self.parts.lowest_hz, pwm)
    }

    fn begin_prefill(&mut self, setting: &Setting) -> Result<(), JetsonError> {
        self.set(hz(setting.prefill), setting.fan_pwm)?;
        self.turn.prefill = Some(self.now());
        let _ = self.parts.strobe.as_mut().map(Strobe::begin);
        Ok(())
    }

    fn begin_decode(&mut self, setting: &Setting, _: u16, prompt_tokens: u32) -> Result<(), JetsonError> {
        self.turn.decode = Some(self.now());
        self.turn.prompt_tokens += prompt_tokens;
        if setting.decode != setting.prefill {
            self.set(hz(setting.decode), setting.fan_pwm)?;
        }
        self.turn.switched = Some(self.now());
        let _ = self.parts.strobe.as_mut().map(Strobe::notch);
        Ok(())
    }

    fn end_decode(&mut self, _: &Setting, _: &[u16]) -> Result<(), JetsonError> {
        self.turn.end = Some(self.now());
        let _ = self.parts.strobe.as_mut().map(Strobe::end);
        self.notify.alive();
        Ok(())
    }

    fn measure(&mut self) -> Measurement {
        let turn = self.turn;
        let end = turn.end.unwrap_or_else(|| self.now());
        let prefill = turn.prefill.unwrap_or(end);
        let decode = turn.decode.unwrap_or(end);
        let whole = self.energy_when_covered(turn.since, end);
        let active = self.parts.sampler.energy(prefill, end);
        self.blind = whole.covered_us == 0 && whole.window_us > micros(LAST_SAMPLE);
        self.poorly_covered += u64::from(whole.covered_share() < COVERAGE);
        let measured = whole.of_window(0.0);
        self.energy_is_known = measured.is_ok();
        self.known_mw = whole.mean_mw().or(self.known_mw);
        // A turn that nobody has measured is not free: it counts at the power of the one before, and is marked.
        let energy = measured.unwrap_or_else(|_| at_power(self.known_mw.unwrap_or_default(), whole.window_us));
        // A batch between two samples has the mean power of the turn.
        let share = |of: u64, among: u64| energy.0.saturating_mul(of).checked_div(among).unwrap_or(0);
        let of_turn = || MicroJoules(share(active.window_us, whole.window_us));
        let active_energy = active.of_window(COVERAGE).unwrap_or_else(|_| of_turn()).min(energy);
        self.turn = Turn { since: end, ..Turn::default() };
        Measurement {
            prompt_tokens: turn.prompt_tokens,
            prefill: decode.since(prefill),
            decode: end.since(decode),
            idle: prefill.since(turn.since),
            energy,
            active_energy,
            peak_temperature: self.parts.watch.take_peak(),
            ..Measurement::default()
        }
    }

    fn energy_is_known(&self) -> bool {
        self.energy_is_known
    }

    fn die_c(&self) -> Option<f64> {
        let telemetry = self.parts.sampler.latest().telemetry();
        telemetry.temperature.value().map(|temperature| f64::from(temperature.0) / 1000.0)
    }

    fn is_off(&self) -> bool {
        false
    }

    fn above_limit_s(&self) -> f64 {
        self.parts.watch.above_limit_s()
    }

    fn peak_c(&self) -> f64 {
        self.parts.watch.peak_c()
    }

    fn fail_fan(&mut self) -> Result<(), JetsonError> {
        self.fan_off = true;
        Ok(())
    }
}
