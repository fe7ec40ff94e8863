//! Time passes: the plant's inner loop.

use super::{Interval, Load, Plant, TICK_S, fan, latency, power};

/// A phase at the clock and temperature of one step.
struct Pace {
    /// How long the whole phase would take like this, s.
    whole_s: f64,
    power_w: f64,
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
        while left > 0.0 {
            if self.off && working {
                interval.completed = false;
                break;
            }
            let pace = self.pace(load);
            let until_change_s = self.until_change_s();
            let until_end_s = left * pace.whole_s;
            if until_end_s <= until_change_s {
                left = 0.0;
            } else {
                left -= until_change_s / pace.whole_s;
            }
            let dt_s = until_end_s.min(until_change_s);
            interval = interval.then(self.step(pace.power_w, dt_s, working));
        }
        interval
    }

    fn pace(&self, load: Load) -> Pace {
        let (profile, clock_khz, die_c) = (&self.profile, self.effective_clock_khz(), self.nodes.die_c);
        match load {
            Load::Idle { seconds } => {
                Pace { whole_s: seconds, power_w: if self.off { 0.0 } else { profile.power.idle_w } }
            }
            Load::Prefill { sequences, prompt_tokens, depth } => Pace {
                whole_s: latency::prefill_seconds(profile, clock_khz, sequences, prompt_tokens, depth)
                    * self.batch.prefill_time,
                power_w: power::prefill_watts(profile, clock_khz, die_c),
            },
            Load::Decode { sequences, steps, depth } => {
                let step_s =
                    latency::decode_step_seconds(profile, clock_khz, sequences, depth, self.conditions.floor_scale);
                Pace {
                    whole_s: f64::from(steps) * step_s * self.batch.decode_time,
                    power_w: power::decode_watts(profile, clock_khz, sequences, depth, step_s, die_c)
                        * self.batch.decode_power,
                }
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
        let sink_w_per_k = fan::sink_w_per_k(&self.profile.fan, pwm);
        self.nodes = self.nodes.after(&self.profile.thermal, power_w, sink_w_per_k, self.conditions.ambient_c, dt_s);
        let die_c = self.nodes.die_c;
        self.follow_with_sensor(dt_s);
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

    fn follow_with_sensor(&mut self, dt_s: f64) {
        let lag_s = self.profile.sensor.lag_s;
        let left = if lag_s > 0.0 { libm::exp(-dt_s / lag_s) } else { 0.0 };
        self.sensed_c = self.nodes.die_c + (self.sensed_c - self.nodes.die_c) * left;
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
