//! The simulated board of the test, batch by batch, with a trace of its sensors.

use super::Plan;
use super::rig::{Batch, Condition, HOLD_S, LOAD, Phase, QUEUE, Rig, Sample, Sensors, Whole};
use controller_core::action::{Action, Setting};
use controller_core::telemetry::{Absence, Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{KiloHertz, MicroJoules, MilliCelsius, MilliWatts};
use firmware_sim::plant::{Conditions, Interval, Plant, Profile};
use std::convert::Infallible;

/// The board.
#[derive(Debug)]
pub struct SimulatedRig {
    gpu_clock_khz: Vec<u32>,
    plan: Plan,
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

impl SimulatedRig {
    /// A board that has waited for its warm-up with the fan at full duty.
    #[must_use]
    pub fn new(profile: &Profile, conditions: Conditions, plan: Plan) -> Self {
        let plant = Plant::new(profile, conditions);
        let nothing = Interval::empty(plant.temperature_c());
        let mut rig = Self {
            gpu_clock_khz: profile.gpu_clock_khz.to_vec(),
            plan,
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
        rig.wait(plan.warm_up_s);
        rig.idle = Interval::empty(rig.plant.temperature_c());
        rig
    }

    /// The trace and the sums.
    #[must_use]
    pub fn finish(self) -> (Vec<Sample>, Whole) {
        let Interval { duration_s, energy_j, fan_energy_j, max_temperature_c, above_limit_s, throttled_s, .. } =
            self.whole;
        let energy_j = energy_j + fan_energy_j;
        (self.samples, Whole { duration_s, energy_j, max_temperature_c, above_limit_s, throttled_s })
    }

    fn wait(&mut self, seconds: f64) {
        let mut left_s = seconds;
        while left_s > 0.0 {
            let interval = self.plant.idle(left_s.min(self.plan.sample_s));
            self.idle = self.idle.then(interval);
            self.account(interval);
            left_s -= self.plan.sample_s;
        }
    }

    /// Takes time into the sums, and a sample when it is due.
    fn account(&mut self, interval: Interval) {
        self.whole = self.whole.then(interval);
        self.since_sample = self.since_sample.then(interval);
        let time_s = self.plant.elapsed_s();
        if time_s >= self.next_sample_s && self.since_sample.duration_s > 0.0 {
            let sensed_c = self.plant.sense();
            self.samples.push(Sample {
                time_s,
                temperature_c: Some(sensed_c),
                clock_mhz: Some(f64::from(self.plant.effective_clock_khz()) / 1000.0),
                power_w: Some(self.since_sample.mean_power_w()),
                fan_pwm: Some(self.plant.fan_pwm()),
                fan_working: self.plant.conditions().fan_working,
                throttled: self.since_sample.throttled_s > 0.0,
                sensors: junction(sensed_c),
            });
            self.since_sample = Interval::empty(self.plant.temperature_c());
            self.next_sample_s = time_s + self.plan.sample_s;
        }
    }

    fn set_clock(&mut self, clock: KiloHertz) {
        let table = &self.gpu_clock_khz;
        self.plant.set_gpu_clock(table.iter().rposition(|khz| *khz <= clock.0).unwrap_or(0));
    }
}

/// The one sensor that there is.
fn junction(sensed_c: f64) -> Sensors {
    Sensors { tj_c: Some(sensed_c), ..Sensors::default() }
}

impl Rig for SimulatedRig {
    type Error = Infallible;

    fn now(&self) -> Instant {
        Instant::from_micros(micros(self.plant.elapsed_s()))
    }

    fn telemetry(&mut self) -> Telemetry {
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

    fn set_fan(&mut self, pwm: u8) {
        self.plant.set_fan_pwm_floor(pwm);
    }

    fn stop_fan(&mut self) -> Result<(), Infallible> {
        self.plant.set_fan_working(false);
        Ok(())
    }

    fn condition(&self) -> Condition {
        if self.plant.is_off() { Condition::Off } else { Condition::Works }
    }

    fn hold(&mut self) -> Result<f64, Infallible> {
        self.wait(HOLD_S);
        self.last = Measurement { idle: Duration::from_micros(micros(HOLD_S)), ..Measurement::default() };
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
    ) -> Result<Option<Batch>, Infallible> {
        self.wait(self.plan.gap_s);
        let idle = std::mem::replace(&mut self.idle, Interval::empty(self.plant.temperature_c()));
        let plan = self.plan;
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
            return Ok(None);
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
            power_w: Some(interval.mean_power_w()),
            sensors: junction(temperature_c),
        };
        let after_decode_c = self.plant.sense();
        Ok(Some(Batch {
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
            clock_mhz: Some(clock / decode.duration_s.max(1e-9)),
            throttled_s: whole.throttled_s,
            fan_working: self.plant.conditions().fan_working,
            energy_j: Some(energy_j),
        }))
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
