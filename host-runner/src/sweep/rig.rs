//! Who runs a batch.

use super::grid::Key;
use controller_core::action::Setting;
use firmware_sim::plant::noise::Generator;
use firmware_sim::plant::{Conditions, Plant, Profile};
use std::convert::Infallible;

/// What one batch took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// Prefill, s.
    pub prefill_s: f64,
    /// Decode, s.
    pub decode_s: f64,
    /// From the start of the batch to the next one could start, s.
    pub whole_s: f64,
    /// Rails while prefilling, J.
    pub prefill_j: f64,
    /// Rails while decoding, J.
    pub decode_j: f64,
    /// Fan over the whole batch, J; a real board does not say.
    pub fan_j: Option<f64>,
    /// Junction, mean of the sensor over the decode, C.
    pub temperature_c: f64,
    /// The clock stayed where it was set, as read back.
    pub as_set: bool,
}

impl Batch {
    /// Prefill and decode, s.
    #[must_use]
    pub fn latency_s(&self) -> f64 {
        self.prefill_s + self.decode_s
    }

    /// Rails, J.
    #[must_use]
    pub fn energy_j(&self) -> f64 {
        self.prefill_j + self.decode_j
    }

    /// Energy of the rails by latency, W.
    #[must_use]
    pub fn power_w(&self) -> f64 {
        self.energy_j() / self.latency_s()
    }
}

/// A board that runs batches for a sweep.
pub trait Rig {
    /// Why it could not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// A row begins. A simulated board forgets all rows before, so that a row depends on its own key alone and a sweep that
    /// went on after a crash gives the same file; a real one cannot and has to settle.
    fn begin(&mut self, key: &Key) -> Result<(), Self::Error>;

    /// Runs one full batch of prompts of `prompt_tokens` and answers of `steps` tokens each.
    fn batch(&mut self, setting: &Setting, prompt_tokens: u32, steps: u32) -> Result<Batch, Self::Error>;

    /// Its clocks, kHz, ascending.
    fn clocks_khz(&self) -> &[u32];

    /// It has switched itself off.
    fn is_off(&self) -> bool;
}

/// Air, start and accidents of the simulated board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    /// Air at the heat sink, C.
    pub ambient_c: f64,
    /// Seed of all noise.
    pub seed: u64,
    /// Probability that another process disturbs a batch.
    pub interference: f64,
    /// Time between two batches, s.
    pub gap_s: f64,
}

/// The simulated board.
#[derive(Clone, Debug)]
pub struct SimulatedRig {
    profile: Profile,
    world: World,
    plant: Plant,
    accidents: Generator,
}

impl SimulatedRig {
    /// A board as its profile says.
    #[must_use]
    pub fn new(profile: &Profile, world: World) -> Self {
        let plant = Plant::new(profile, Conditions::default());
        Self { profile: profile.clone(), world, plant, accidents: Generator::new(world.seed) }
    }
}

/// Noise of the mean of a decode's readings, as a share of that of one: about ten of them.
const MEAN_NOISE: f64 = 0.3;
/// Where every row starts above the air, K: a board that has been working for a while.
const WARM_K: f64 = 25.0;

impl Rig for SimulatedRig {
    type Error = Infallible;

    fn begin(&mut self, key: &Key) -> Result<(), Infallible> {
        let seed = mixed(self.world.seed, key);
        let conditions = Conditions {
            ambient_c: self.world.ambient_c,
            start_c: self.world.ambient_c + WARM_K,
            seed,
            // The row's duty is what the fan does: the vendor's daemon is stopped for a sweep.
            vendor_fan: false,
            ..Conditions::default()
        };
        self.plant = Plant::new(&self.profile, conditions);
        self.plant.set_fan_pwm_floor(key.fan_pwm);
        self.accidents = Generator::new(seed ^ 0x5EED_AC1D);
        Ok(())
    }

    fn batch(&mut self, setting: &Setting, prompt_tokens: u32, steps: u32) -> Result<Batch, Infallible> {
        let table = &self.profile.gpu_clock_khz;
        let index = |khz: u32| table.iter().rposition(|&clock| clock <= khz).unwrap_or(0);
        let (prefill_clock, decode_clock) = (index(setting.prefill.0), index(setting.decode.0));
        let (batch, depth) = (u32::from(setting.batch), u32::from(setting.depth));
        self.plant.set_gpu_clock(prefill_clock);
        let before = self.plant.idle(self.world.gap_s);
        let prefill = self.plant.prefill(batch, prompt_tokens * batch, depth);
        // The clock is given its time before the phase that it is for is measured.
        self.plant.set_gpu_clock(decode_clock);
        let switched = self.plant.idle(self.profile.actuation_delay_s);
        let decode = self.plant.decode(batch, steps, depth);
        let disturbed = self.accidents.uniform() < self.world.interference;
        let (slower, hungrier) = (self.accidents.uniform(), self.accidents.uniform());
        let (stretch, more) = if disturbed { (1.15 + 0.5 * slower, 1.05 + 0.15 * hungrier) } else { (1.0, 1.0) };
        Ok(Batch {
            prefill_s: prefill.duration_s * stretch,
            decode_s: decode.duration_s * stretch,
            whole_s: before.duration_s + switched.duration_s + (prefill.duration_s + decode.duration_s) * stretch,
            prefill_j: prefill.energy_j * stretch * more,
            decode_j: decode.energy_j * stretch * more,
            fan_j: Some(before.fan_energy_j + prefill.fan_energy_j + switched.fan_energy_j + decode.fan_energy_j),
            // The noise of one reading is that of the sensor; a mean over the decode has less, the lag of a second stays.
            temperature_c: decode.mean_temperature_c + (self.plant.sense() - self.plant.temperature_c()) * MEAN_NOISE,
            as_set: self.plant.effective_clock() == decode_clock,
        })
    }

    fn clocks_khz(&self) -> &[u32] {
        &self.profile.gpu_clock_khz
    }

    fn is_off(&self) -> bool {
        self.plant.is_off()
    }
}

/// One seed per key, well apart (`SplitMix64`'s finalizer over the parts).
fn mixed(seed: u64, key: &Key) -> u64 {
    let parts =
        [key.prefill as u64, key.decode as u64, u64::from(key.batch), u64::from(key.depth), u64::from(key.fan_pwm)];
    parts.iter().fold(seed, |state, part| {
        let mut z = (state ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}
