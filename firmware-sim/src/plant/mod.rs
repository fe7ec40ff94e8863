//! The simulated board: what the controller controls.
//!
//! [`Plant`] answers the only questions a controller can ask of a board: how long did that take, what did it cost, how
//! hot is it now. Time passes only through [`Plant::prefill`], [`Plant::decode`] and [`Plant::idle`]. The physics are
//! pure functions beside it, shared with the verification against logs:
//!
//! - [`latency`]: roofline of launch floor and GPU work
//! - [`power`]: rails by clock, load and temperature
//! - [`thermal`]: die and heat sink; [`fan`]: what takes the heat away
//! - [`throttle`]: the clock cap that heat imposes
//! - [`noise`]: seeded spread; [`profile`]: all the numbers
//!
//! Everything is f64 through `libm`, without fused operations: the same seed and calls give the same bits on x86,
//! aarch64 and Cortex-M.
//!
//! ```
//! use firmware_sim::plant::{Conditions, Plant, Profile};
//!
//! let mut plant = Plant::new(&Profile::agx_orin_hf(), Conditions::default());
//! plant.set_gpu_clock(6);
//! let batch = plant.prefill(32, 32 * 18, 16).then(plant.decode(32, 100, 16));
//! assert!((4.2..4.8).contains(&batch.duration_s));
//! assert!((0.040..0.055).contains(&(batch.energy_j / 3200.0)), "J per generated token");
//! ```

mod advance;
pub mod fan;
mod interval;
pub mod latency;
pub mod noise;
pub mod power;
pub mod profile;
pub mod thermal;
pub mod throttle;

pub use interval::Interval;
pub use profile::{Profile, ProfileError};

use advance::{Cooling, DecodeSteps};
use noise::Generator;
use thermal::Nodes;
use throttle::ClockCap;

/// The plant's step, s: power is constant within one, and fan and throttling look only between two. A power of two, so
/// that times add up exactly.
pub const TICK_S: f64 = 0.25;

/// What surrounds the board and where it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Air at the heat sink, C.
    pub ambient_c: f64,
    /// Die and sink at the start, C.
    pub start_c: f64,
    /// Seed of all noise.
    pub seed: u64,
    /// False: run-to-run spread and sensor noise are off.
    pub noise: bool,
    /// False: the fan stands still whatever it is told.
    pub fan_working: bool,
    /// False: the vendor's fan daemon is stopped, and the floor alone sets the duty.
    pub vendor_fan: bool,
    /// Session scalar on the decode launch floor: 1 is the session of the fit, 0.96..=1.05 seen on one board.
    pub floor_scale: f64,
    /// Limit that [`Interval::above_limit_s`] counts against, C.
    pub limit_c: f64,
}

impl Default for Conditions {
    /// A cool board in a 25 C room, fan under the vendor's daemon, noise on.
    fn default() -> Self {
        Self {
            ambient_c: 25.0,
            start_c: 40.0,
            seed: 0,
            noise: true,
            fan_working: true,
            vendor_fan: true,
            floor_scale: 1.0,
            limit_c: 95.0,
        }
    }
}

/// A simulated board. A clone is a snapshot: both go on to the same future under the same calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Plant {
    profile: Profile,
    conditions: Conditions,
    nodes: Nodes,
    sensed_c: f64,
    generator: Generator,
    batch: BatchNoise,
    clock: Clock,
    cap: ClockCap,
    pwm_floor: u8,
    vendor_pwm: u8,
    off: bool,
    ticks: u64,
    into_tick_s: f64,
    cooling: Cooling,
    decode_steps: DecodeSteps,
}

/// Spread drawn once a batch, so that a decode in pieces varies like one in whole.
#[derive(Clone, Copy, Debug, PartialEq)]
struct BatchNoise {
    prefill_time: f64,
    decode_time: f64,
    decode_power: f64,
}

/// The requested clock, and the one that still runs until the request takes effect.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Clock {
    requested: usize,
    running: usize,
    delay_s: f64,
}

/// What the board is busy with.
#[derive(Clone, Copy)]
enum Load {
    Idle { seconds: f64 },
    Prefill { sequences: u32, prompt_tokens: u32, depth: u32 },
    Decode { sequences: u32, steps: u32, depth: u32 },
}

impl Plant {
    /// A board at the highest clock, fan floor 0. The profile is copied.
    ///
    /// It must have passed [`Profile::check`] (asserted in debug builds): without clocks no work would ever end.
    #[must_use]
    pub fn new(profile: &Profile, conditions: Conditions) -> Self {
        debug_assert_eq!(profile.check(), Ok(()), "a plant needs a checked profile");
        let top = profile.gpu_clock_khz.len().saturating_sub(1);
        let mut plant = Self {
            nodes: Nodes { die_c: conditions.start_c, sink_c: conditions.start_c },
            sensed_c: conditions.start_c,
            generator: Generator::new(conditions.seed),
            batch: BatchNoise { prefill_time: 1.0, decode_time: 1.0, decode_power: 1.0 },
            clock: Clock { requested: top, running: top, delay_s: 0.0 },
            cap: ClockCap::released(top),
            pwm_floor: 0,
            vendor_pwm: fan::vendor_pwm(&profile.fan, conditions.start_c),
            off: false,
            ticks: 0,
            into_tick_s: 0.0,
            cooling: Cooling::new(profile, 0),
            decode_steps: DecodeSteps::new(),
            profile: profile.clone(),
            conditions,
        };
        plant.draw_batch_noise();
        plant
    }

    /// Requests a clock by its index in [`Profile::gpu_clock_khz`]; beyond the table means the highest. It runs after
    /// [`Profile::actuation_delay_s`].
    pub fn set_gpu_clock(&mut self, index: usize) {
        let index = index.min(self.profile.gpu_clock_khz.len().saturating_sub(1));
        if index != self.clock.requested {
            self.clock.requested = index;
            self.clock.delay_s = self.profile.actuation_delay_s;
            if self.clock.delay_s <= 0.0 {
                self.clock.running = index;
            }
        }
    }

    /// Lowest duty that the fan may run at; the vendor's curve may ask for more.
    pub fn set_fan_pwm_floor(&mut self, pwm: u8) {
        self.pwm_floor = pwm;
    }

    /// Breaks the fan, or mends it.
    pub fn set_fan_working(&mut self, working: bool) {
        self.conditions.fan_working = working;
    }

    /// Changes the air at the heat sink, C.
    pub fn set_ambient(&mut self, ambient_c: f64) {
        self.conditions.ambient_c = ambient_c;
    }

    /// Prefills a batch of `sequences` prompts, `prompt_tokens` in all with padding, through `depth` layers. Begins a
    /// batch: its run-to-run spread is drawn here and holds for the decode that follows.
    pub fn prefill(&mut self, sequences: u32, prompt_tokens: u32, depth: u32) -> Interval {
        self.draw_batch_noise();
        self.advance(Load::Prefill { sequences, prompt_tokens, depth })
    }

    /// Decodes `steps` tokens for each of `sequences` through `depth` layers. Call again as sequences leave: pieces add
    /// up to the whole.
    pub fn decode(&mut self, sequences: u32, steps: u32, depth: u32) -> Interval {
        if steps == 0 || sequences == 0 {
            return Interval::empty(self.nodes.die_c);
        }
        self.advance(Load::Decode { sequences, steps, depth })
    }

    /// Waits. Not a number, or below zero, is no time.
    pub fn idle(&mut self, seconds: f64) -> Interval {
        if seconds > 0.0 && seconds.is_finite() {
            self.advance(Load::Idle { seconds })
        } else {
            Interval::empty(self.nodes.die_c)
        }
    }

    /// Reads the junction sensor, C: behind the die by its lag, noisy, in steps of its resolution.
    pub fn sense(&mut self) -> f64 {
        let sensor = &self.profile.sensor;
        let noise_k = if self.conditions.noise { sensor.noise_sd_k * self.generator.normal() } else { 0.0 };
        libm::round((self.sensed_c + noise_k) / sensor.resolution_k) * sensor.resolution_k
    }

    /// True die temperature, C.
    #[must_use]
    pub fn temperature_c(&self) -> f64 {
        self.nodes.die_c
    }

    /// True temperatures of both nodes.
    #[must_use]
    pub fn nodes(&self) -> Nodes {
        self.nodes
    }

    /// Fan duty that acts now: the larger of floor and vendor's curve, 0 for a broken fan or a board that is off.
    #[must_use]
    pub fn fan_pwm(&self) -> u8 {
        if self.off || !self.conditions.fan_working {
            0
        } else if self.conditions.vendor_fan {
            self.pwm_floor.max(self.vendor_pwm)
        } else {
            self.pwm_floor
        }
    }

    /// Fan speed, rpm; 0 when it stands.
    #[must_use]
    pub fn fan_rpm(&self) -> f64 {
        fan::rpm(&self.profile.fan, self.fan_pwm())
    }

    /// Index of the requested clock: what `max_freq` reads back.
    #[must_use]
    pub fn requested_clock(&self) -> usize {
        self.clock.requested
    }

    /// Index of the clock that runs, after delay and throttling: what `cur_freq` shows.
    #[must_use]
    pub fn effective_clock(&self) -> usize {
        self.cap.limit(self.clock.running)
    }

    /// The clock that runs, kHz; 0 for a profile without clocks.
    #[must_use]
    pub fn effective_clock_khz(&self) -> u32 {
        self.profile.gpu_clock_khz.get(self.effective_clock()).copied().unwrap_or(0)
    }

    /// Heat holds the clock below the requested one.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.effective_clock() < self.clock.running
    }

    /// The board has switched itself off at [`Throttling::shutdown_c`](profile::Throttling::shutdown_c). It stays off:
    /// work is refused, idling cools.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Simulated time since the start, s.
    #[must_use]
    pub fn elapsed_s(&self) -> f64 {
        self.ticks as f64 * TICK_S + self.into_tick_s
    }

    /// The numbers it runs on.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What surrounds it now.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    fn draw_batch_noise(&mut self) {
        if self.conditions.noise {
            let noise = &self.profile.noise;
            let stall = if self.generator.uniform() < noise.prefill_stall_probability {
                1.0 + noise.prefill_stall_share
            } else {
                1.0
            };
            self.batch = BatchNoise {
                prefill_time: stall * self.generator.factor(noise.prefill_time_sd),
                decode_time: self.generator.factor(noise.decode_time_sd),
                decode_power: self.generator.factor(noise.decode_power_sd),
            };
        }
    }
}
