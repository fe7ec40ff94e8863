//! The board of the test, batch by batch, with a trace of its sensors.

use super::Setup;
use controller_core::action::{Action, Setting};
use controller_core::telemetry::{Absence, Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{KiloHertz, MicroJoules, MilliCelsius, MilliRequestsPerSecond, MilliWatts};
use firmware_sim::plant::{Interval, Plant};

/// Who waits while a batch runs: more than any batch takes, and a load that nobody can serve.
const QUEUE: u16 = 64;
const LOAD: MilliRequestsPerSecond = MilliRequestsPerSecond(10_000);
/// How long a hold lets the board cool, s.
const HOLD_S: f64 = 5.0;

/// One batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// From 0.
    pub number: u32,
    /// Start and end on the board's clock, s.
    pub start_s: f64,
    /// End, s.
    pub end_s: f64,
    /// What was applied, by index.
    pub action: Action,
    /// The same as values.
    pub setting: Setting,
    /// Why, if it is not what was asked for; empty for a bare setting.
    pub reason: String,
    /// Idle time before it, holds included, s.
    pub idle_s: f64,
    /// Prompt tokens of all sequences.
    pub prompt_tokens: u32,
    /// Generated tokens of all sequences.
    pub generated_tokens: u32,
    /// What the prefill was.
    pub prefill: Phase,
    /// What the decode was.
    pub decode: Phase,
    /// Mean GPU clock while decoding, MHz.
    pub clock_mhz: f64,
    /// Time in which heat held the clock down, s.
    pub throttled_s: f64,
    /// The fan runs when told to.
    pub fan_working: bool,
    /// Rails and fan, the idle time before included, J.
    pub energy_j: f64,
}

/// One phase of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// s.
    pub seconds: f64,
    /// Mean of all rails, W.
    pub power_w: f64,
    /// Sensed junction temperature at its end, °C.
    pub temperature_c: f64,
}

impl Batch {
    /// Prefill and decode, s.
    #[must_use]
    pub fn latency_s(&self) -> f64 {
        self.prefill.seconds + self.decode.seconds
    }
}

/// One sample of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// On the board's clock, s.
    pub time_s: f64,
    /// Sensed junction temperature, °C.
    pub temperature_c: f64,
    /// GPU clock that runs, MHz.
    pub clock_mhz: f64,
    /// Mean of all rails since the sample before, W.
    pub power_w: f64,
    /// Fan duty that acts.
    pub fan_pwm: u8,
    /// The fan runs when told to.
    pub fan_working: bool,
}

/// The board.
#[derive(Debug)]
pub struct Rig<'a> {
    setup: &'a Setup,
    plant: Plant,
    whole: Interval,
    since_sample: Interval,
    samples: Vec<Sample>,
    next_sample_s: f64,
    idle: Interval,
    /// The turn that was run last.
    last: Measurement,
    last_power: Option<MilliWatts>,
}

impl<'a> Rig<'a> {
    /// A board that has waited for its warm-up with the fan at full duty.
    #[must_use]
    pub fn new(setup: &'a Setup) -> Self {
        let plant = Plant::new(&setup.profile, setup.conditions);
        let nothing = Interval::empty(plant.temperature_c());
        let mut rig = Self {
            setup,
            plant,
            whole: nothing,
            since_sample: nothing,
            samples: Vec::new(),
            next_sample_s: 0.0,
            idle: nothing,
            last: Measurement::default(),
            last_power: None,
        };
        rig.plant.set_fan_pwm_floor(u8::MAX);
        rig.wait(setup.plan.warm_up_s);
        rig.idle = Interval::empty(rig.plant.temperature_c());
        rig
    }

    /// The board's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_micros(micros(self.plant.elapsed_s()))
    }

    /// Samples every sensor for a controller.
    pub fn telemetry(&mut self) -> Telemetry {
        let now = self.now();
        Telemetry {
            temperature: Reading::at(milli_celsius(self.plant.sense()), now),
            power: self.last_power.map_or(Reading::Absent(Absence::NotYetRead), |power| Reading::at(power, now)),
            gpu_clock: Reading::at(KiloHertz(self.plant.effective_clock_khz()), now),
            fan_pwm: Reading::at(self.plant.fan_pwm(), now),
            queue: QUEUE,
            offered_load: LOAD,
        }
    }

    /// Lowest duty of the fan.
    pub fn set_fan(&mut self, pwm: u8) {
        self.plant.set_fan_pwm_floor(pwm);
    }

    /// The fan stops for good.
    pub fn stop_fan(&mut self) {
        self.plant.set_fan_working(false);
    }

    /// The board has shut itself down.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.plant.is_off()
    }

    /// Lets the board cool; the time that took, s.
    pub fn hold(&mut self) -> f64 {
        self.wait(HOLD_S);
        HOLD_S
    }

    /// What a hold that is about to come will have been.
    #[must_use]
    pub fn measurement_of_hold() -> Measurement {
        Measurement { idle: Duration::from_micros(micros(HOLD_S)), ..Measurement::default() }
    }

    /// What the last batch cost, for a controller.
    #[must_use]
    pub fn measurement(&self) -> Measurement {
        self.last
    }

    /// Runs a batch after the gap; `None` when the board shut itself down meanwhile.
    pub fn run(&mut self, number: u32, action: Action, setting: &Setting, reason: String) -> Option<Batch> {
        self.wait(self.setup.plan.gap_s);
        let idle = std::mem::replace(&mut self.idle, Interval::empty(self.plant.temperature_c()));
        let plan = &self.setup.plan;
        let (sequences, depth) = (u32::from(setting.batch), u32::from(setting.depth));
        let prompt_tokens = plan.prompt_tokens * sequences;
        self.plant.set_fan_pwm_floor(setting.fan_pwm);
        self.set_clock(setting.prefill);
        let start_s = self.plant.elapsed_s();
        let prefill = self.plant.prefill(sequences, prompt_tokens, depth);
        self.account(prefill);
        let after_prefill_c = self.plant.sense();
        self.set_clock(setting.decode);
        let (mut decode, mut clock) = (Interval::empty(self.plant.temperature_c()), 0.0);
        for _ in 0..plan.answer_tokens {
            let step = self.plant.decode(sequences, 1, depth);
            clock += step.duration_s * f64::from(self.plant.effective_clock_khz()) / 1000.0;
            decode = decode.then(step);
            self.account(step);
        }
        let whole = idle.then(prefill).then(decode);
        if !whole.completed {
            return None;
        }
        let generated_tokens = plan.answer_tokens * sequences;
        let energy_j = whole.energy_j + whole.fan_energy_j;
        self.last_power = Some(milli_watts(whole.mean_power_w()));
        self.last = Measurement {
            requests: setting.batch,
            prompt_tokens,
            generated_tokens,
            prefill: Duration::from_micros(micros(prefill.duration_s)),
            decode: Duration::from_micros(micros(decode.duration_s)),
            idle: Duration::from_micros(micros(idle.duration_s)),
            response: Duration::from_micros(micros(prefill.duration_s + decode.duration_s)),
            energy: MicroJoules(micros(energy_j)),
            active_energy: MicroJoules(micros(energy_j - idle.energy_j - idle.fan_energy_j)),
            peak_temperature: Some(milli_celsius(whole.max_temperature_c)),
            ..Measurement::default()
        };
        let phase = |interval: &Interval, temperature_c| Phase {
            seconds: interval.duration_s,
            power_w: interval.mean_power_w(),
            temperature_c,
        };
        let after_decode_c = self.plant.sense();
        Some(Batch {
            number,
            start_s,
            end_s: self.plant.elapsed_s(),
            action,
            setting: *setting,
            reason,
            idle_s: idle.duration_s,
            prompt_tokens,
            generated_tokens,
            prefill: phase(&prefill, after_prefill_c),
            decode: phase(&decode, after_decode_c),
            clock_mhz: clock / decode.duration_s.max(1e-9),
            throttled_s: whole.throttled_s,
            fan_working: self.plant.conditions().fan_working,
            energy_j,
        })
    }

    /// The trace and the sums.
    #[must_use]
    pub fn finish(self) -> (Vec<Sample>, Interval) {
        (self.samples, self.whole)
    }

    fn wait(&mut self, seconds: f64) {
        let mut left_s = seconds;
        while left_s > 0.0 {
            let interval = self.plant.idle(left_s.min(self.setup.plan.sample_s));
            self.idle = self.idle.then(interval);
            self.account(interval);
            left_s -= self.setup.plan.sample_s;
        }
    }

    /// Takes time into the sums, and a sample when it is due.
    fn account(&mut self, interval: Interval) {
        self.whole = self.whole.then(interval);
        self.since_sample = self.since_sample.then(interval);
        let time_s = self.plant.elapsed_s();
        if time_s >= self.next_sample_s && self.since_sample.duration_s > 0.0 {
            self.samples.push(Sample {
                time_s,
                temperature_c: self.plant.sense(),
                clock_mhz: f64::from(self.plant.effective_clock_khz()) / 1000.0,
                power_w: self.since_sample.mean_power_w(),
                fan_pwm: self.plant.fan_pwm(),
                fan_working: self.plant.conditions().fan_working,
            });
            self.since_sample = Interval::empty(self.plant.temperature_c());
            self.next_sample_s = time_s + self.setup.plan.sample_s;
        }
    }

    fn set_clock(&mut self, clock: KiloHertz) {
        let table = &self.setup.profile.gpu_clock_khz;
        self.plant.set_gpu_clock(table.iter().rposition(|khz| *khz <= clock.0).unwrap_or(0));
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn micros(value: f64) -> u64 {
    (value * 1e6).round() as u64
}

#[expect(clippy::cast_possible_truncation, reason = "saturating")]
fn milli_celsius(celsius: f64) -> MilliCelsius {
    MilliCelsius((celsius * 1000.0).round() as i32)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn milli_watts(watts: f64) -> MilliWatts {
    MilliWatts((watts * 1000.0).round() as u32)
}
