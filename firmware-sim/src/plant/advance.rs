//! Time passes: the plant's inner loop.

use super::thermal::{Flow, Modes, Nodes};
use super::{Interval, Load, Plant, Profile, TICK_S, fan, latency, power};

/// A phase at one clock.
#[derive(Clone, Copy)]
struct Pace {
    clock_khz: u32,
    /// How long the whole phase would take like this, s.
    whole_s: f64,
    /// One step of a decode without the spread of its batch, s.
    step_s: f64,
}

/// How heat leaves at a duty of the fan, whatever the load. Most steps are whole ticks at the duty of the one before, and the
/// exponentials are most of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cooling {
    pwm: u8,
    sink_w_per_k: f64,
    modes: Modes,
    tick: Passage,
}

/// What passes in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Passage {
    flow: Flow,
    /// Share of the sensor's lag that is left at the end.
    lag_left: f64,
}

impl Cooling {
    pub(super) fn new(profile: &Profile, pwm: u8) -> Self {
        let sink_w_per_k = fan::sink_w_per_k(&profile.fan, pwm);
        let modes = Modes::new(&profile.thermal, sink_w_per_k);
        Self { pwm, sink_w_per_k, modes, tick: Passage::new(modes, profile.sensor.lag_s, TICK_S) }
    }

    fn passage(&self, lag_s: f64, dt_s: f64) -> Passage {
        if dt_s < TICK_S { Passage::new(self.modes, lag_s, dt_s) } else { self.tick }
    }
}

impl Passage {
    fn new(modes: Modes, lag_s: f64, dt_s: f64) -> Self {
        Self { flow: modes.flow(dt_s), lag_left: if lag_s > 0.0 { libm::exp(-dt_s / lag_s) } else { 0.0 } }
    }
}

/// Most sequences whose decode steps are remembered.
const REMEMBERED: usize = 64;

/// What a decode step takes at one clock and depth, by sequences. A batch is answered in pieces, one more each time that a
/// sequence leaves, and the next batch has the same pieces; the roots of the roofline are much of a piece's cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DecodeSteps {
    clock_khz: u32,
    depth: u32,
    /// Seconds; 0 where it was not asked for yet.
    step_s: [f64; REMEMBERED],
}

impl DecodeSteps {
    pub(super) const fn new() -> Self {
        Self { clock_khz: 0, depth: 0, step_s: [0.0; REMEMBERED] }
    }

    /// Seconds of a step, without the spread of its batch.
    fn seconds(&mut self, profile: &Profile, clock_khz: u32, sequences: u32, depth: u32, floor_scale: f64) -> f64 {
        let seconds = || latency::decode_step_seconds(profile, clock_khz, sequences, depth, floor_scale);
        if (self.clock_khz, self.depth) != (clock_khz, depth) {
            *self = Self { clock_khz, depth, ..Self::new() };
        }
        match self.step_s.get_mut(sequences as usize) {
            Some(step_s) if *step_s > 0.0 => *step_s,
            Some(step_s) => {
                *step_s = seconds();
                *step_s
            }
            None => seconds(),
        }
    }
}

impl Plant {
    /// Runs a load to its end, or until the board switches itself off.
    ///
    /// In steps that end at the next tick or clock change: within one, clock and power are constant. A phase keeps the
    /// share of its work that is left, because throttling may change its pace half way.
    pub(super) fn advance(&mut self, load: Load) -> Interval {
        let mut interval = Interval::empty(self.nodes.die_c);
        let working = !matches!(load, Load::Idle { .. });
        let mut left = 1.0;
        let mut pace = self.pace(load);
        while left > 0.0 {
            if self.off && working {
                interval.completed = false;
                break;
            }
            if pace.clock_khz != self.effective_clock_khz() {
                pace = self.pace(load);
            }
            let power_w = self.power_w(load, pace);
            let until_change_s = self.until_change_s();
            let until_end_s = left * pace.whole_s;
            if until_end_s <= until_change_s {
                left = 0.0;
            } else {
                left -= until_change_s / pace.whole_s;
            }
            let dt_s = until_end_s.min(until_change_s);
            interval = interval.then(self.step(power_w, dt_s, working));
        }
        interval
    }

    fn pace(&mut self, load: Load) -> Pace {
        let clock_khz = self.effective_clock_khz();
        let profile = &self.profile;
        let (whole_s, step_s) = match load {
            Load::Idle { seconds } => (seconds, 0.0),
            Load::Prefill { sequences, prompt_tokens, depth } => {
                let prefill_s = latency::prefill_seconds(profile, clock_khz, sequences, prompt_tokens, depth);
                (prefill_s * self.batch.prefill_time, 0.0)
            }
            Load::Decode { sequences, steps, depth } => {
                let floor_scale = self.conditions.floor_scale;
                let step_s = self.decode_steps.seconds(profile, clock_khz, sequences, depth, floor_scale);
                (f64::from(steps) * step_s * self.batch.decode_time, step_s)
            }
        };
        Pace { clock_khz, whole_s, step_s }
    }

    /// Power at the temperature of now.
    fn power_w(&self, load: Load, Pace { clock_khz, step_s, .. }: Pace) -> f64 {
        let (profile, die_c) = (&self.profile, self.nodes.die_c);
        match load {
            Load::Idle { .. } if self.off => 0.0,
            Load::Idle { .. } => profile.power.idle_w,
            Load::Prefill { .. } => power::prefill_watts(profile, clock_khz, die_c),
            Load::Decode { sequences, depth, .. } => {
                power::decode_watts(profile, clock_khz, sequences, depth, step_s, die_c) * self.batch.decode_power
            }
        }
    }

    /// Time until the next tick or until the requested clock runs, whichever is sooner; above 0.
    fn until_change_s(&self) -> f64 {
        let until_tick_s = TICK_S - self.into_tick_s;
        if self.clock.delay_s > 0.0 { until_tick_s.min(self.clock.delay_s) } else { until_tick_s }
    }

    fn step(&mut self, power_w: f64, dt_s: f64, working: bool) -> Interval {
        let (before_c, pwm) = (self.nodes.die_c, self.fan_pwm());
        let throttled = working && self.is_throttled();
        if self.cooling.pwm != pwm {
            self.cooling = Cooling::new(&self.profile, pwm);
        }
        let passage = self.cooling.passage(self.profile.sensor.lag_s, dt_s);
        let (thermal, sink_w_per_k) = (&self.profile.thermal, self.cooling.sink_w_per_k);
        let rest = Nodes::at_rest(thermal, power_w, sink_w_per_k, self.conditions.ambient_c);
        self.nodes = self.nodes.through(&passage.flow, rest);
        let die_c = self.nodes.die_c;
        self.sensed_c = die_c + (self.sensed_c - die_c) * passage.lag_left;
        self.off |= die_c >= self.profile.throttle.shutdown_c;
        self.pass_time(dt_s);

        let mean_temperature_c = f64::midpoint(before_c, die_c);
        Interval {
            duration_s: dt_s,
            energy_j: power_w * dt_s,
            fan_energy_j: fan::electrical_watts(&self.profile.fan, pwm) * dt_s,
            mean_temperature_c,
            max_temperature_c: before_c.max(die_c),
            end_temperature_c: die_c,
            throttled_s: if throttled { dt_s } else { 0.0 },
            above_limit_s: if mean_temperature_c > self.conditions.limit_c { dt_s } else { 0.0 },
            completed: true,
        }
    }

    /// Moves the clock of the plant, then does what is due: new GPU clock, vendor's fan daemon, throttling.
    fn pass_time(&mut self, dt_s: f64) {
        if self.clock.delay_s > 0.0 {
            self.clock.delay_s -= dt_s;
            if self.clock.delay_s <= 0.0 {
                self.clock.running = self.clock.requested;
            }
        }
        self.into_tick_s += dt_s;
        if self.into_tick_s >= TICK_S {
            self.into_tick_s = 0.0;
            self.ticks += 1;
            if self.is_due(self.profile.fan.vendor_period_s) {
                self.vendor_pwm = fan::vendor_pwm(&self.profile.fan, self.nodes.die_c);
            }
            if self.is_due(self.profile.throttle.period_s) {
                self.cap.look(&self.profile.throttle, self.nodes.die_c);
            }
        }
    }

    fn is_due(&self, period_s: f64) -> bool {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and positive by check()")]
        let period_ticks = (period_s / TICK_S) as u64;
        self.ticks.is_multiple_of(period_ticks.max(1))
    }
}
