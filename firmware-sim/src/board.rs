//! The simulated board as the controller meets it: settings go in, telemetry and a bill come out.

use crate::plant::{Conditions, Interval, Plant, Profile};
use controller_core::action::Setting;
use controller_core::telemetry::{Absence, Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{KiloHertz, MicroJoules, MilliCelsius, MilliRequestsPerSecond, MilliWatts};

/// A plant with the bookkeeping of one turn. A clone is a snapshot.
#[derive(Clone, Debug)]
pub struct SimulatedBoard {
    plant: Plant,
    bill: Bill,
    last_power: Option<MilliWatts>,
    above_limit_s: f64,
    peak_c: f64,
}

/// What has been spent since the last measurement.
#[derive(Clone, Copy, Debug)]
struct Bill {
    idle: Interval,
    prefill: Interval,
    decode: Interval,
    prompt_tokens: u32,
}

impl Bill {
    fn open(die_c: f64) -> Self {
        let nothing = Interval::empty(die_c);
        Self { idle: nothing, prefill: nothing, decode: nothing, prompt_tokens: 0 }
    }
}

impl SimulatedBoard {
    /// A board in the given surroundings.
    #[must_use]
    pub fn new(profile: &Profile, conditions: Conditions) -> Self {
        let plant = Plant::new(profile, conditions);
        let die_c = plant.temperature_c();
        Self { plant, bill: Bill::open(die_c), last_power: None, above_limit_s: 0.0, peak_c: die_c }
    }

    /// The board's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_micros(to_micros(self.plant.elapsed_s()))
    }

    /// Samples every sensor.
    pub fn telemetry(&mut self, queue: u16, offered_load: MilliRequestsPerSecond) -> Telemetry {
        let now = self.now();
        let temperature = MilliCelsius(round_i32(self.plant.sense() * 1000.0));
        Telemetry {
            temperature: Reading::at(temperature, now),
            power: self.last_power.map_or(Reading::Absent(Absence::NotYetRead), |power| Reading::at(power, now)),
            gpu_clock: Reading::at(KiloHertz(self.plant.effective_clock_khz()), now),
            fan_pwm: Reading::at(if self.plant.fan_rpm() > 0.0 { self.plant.fan_pwm() } else { 0 }, now),
            queue,
            offered_load,
        }
    }

    /// Lets the board wait.
    pub fn idle(&mut self, seconds: f64) {
        let interval = self.plant.idle(seconds);
        self.bill.idle = self.bill.idle.then(interval);
        self.watch(interval);
    }

    /// Runs the prefill of a batch at the setting's prefill clock and fan. `prompt_tokens` are those
    /// of all sequences together. (The engine behind the published logs padded prompts to the
    /// longest; ours does not, so it prefills fewer tokens for the same prompts.)
    pub fn prefill(&mut self, setting: &Setting, sequences: u16, prompt_tokens: u32) {
        self.plant.set_fan_pwm_floor(setting.fan_pwm);
        self.set_clock(setting.prefill);
        let interval = self.plant.prefill(u32::from(sequences), prompt_tokens, u32::from(setting.depth));
        self.bill.prefill = self.bill.prefill.then(interval);
        self.bill.prompt_tokens += prompt_tokens;
        self.watch(interval);
    }

    /// Runs the decode of a batch at the setting's decode clock: `active` holds the number of
    /// sequences in each step.
    pub fn decode(&mut self, setting: &Setting, active: &[u16]) {
        self.set_clock(setting.decode);
        for steps in active.chunk_by(|a, b| a == b) {
            let (sequences, count) = (steps.first().copied().unwrap_or(0), steps.len());
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let interval = self.plant.decode(u32::from(sequences), count, u32::from(setting.depth));
            self.bill.decode = self.bill.decode.then(interval);
            self.watch(interval);
        }
    }

    /// Sets the fan floor without running anything, as during a hold.
    pub fn set_fan(&mut self, pwm: u8) {
        self.plant.set_fan_pwm_floor(pwm);
    }

    /// Stops or repairs the fan: a disturbance, not an action.
    pub fn set_fan_working(&mut self, working: bool) {
        self.plant.set_fan_working(working);
    }

    /// Closes the turn: everything spent since the last call. Requests, tokens, response and
    /// entropy are the engine's to fill in.
    pub fn measure(&mut self) -> Measurement {
        let Bill { idle, prefill, decode, prompt_tokens } = self.bill;
        self.bill = Bill::open(self.plant.temperature_c());
        let active = prefill.then(decode);
        let whole = idle.then(active);
        if whole.duration_s > 0.0 {
            self.last_power = Some(MilliWatts(round_u32(whole.mean_power_w() * 1000.0)));
        }
        Measurement {
            prompt_tokens,
            prefill: Duration::from_micros(to_micros(prefill.duration_s)),
            decode: Duration::from_micros(to_micros(decode.duration_s)),
            idle: Duration::from_micros(to_micros(idle.duration_s)),
            energy: MicroJoules(to_micros(whole.energy_j + whole.fan_energy_j)),
            active_energy: MicroJoules(to_micros(active.energy_j + active.fan_energy_j)),
            peak_temperature: Some(MilliCelsius(round_i32(whole.max_temperature_c * 1000.0))),
            ..Measurement::default()
        }
    }

    /// The board has shut itself down; it does nothing any more.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.plant.is_off()
    }

    /// True (not sensed) seconds above the limit of the conditions, so far.
    #[must_use]
    pub const fn above_limit_s(&self) -> f64 {
        self.above_limit_s
    }

    /// Highest true temperature so far, °C.
    #[must_use]
    pub const fn peak_c(&self) -> f64 {
        self.peak_c
    }

    /// The physics behind the board.
    #[must_use]
    pub const fn plant(&self) -> &Plant {
        &self.plant
    }

    fn watch(&mut self, interval: Interval) {
        self.above_limit_s += interval.above_limit_s;
        self.peak_c = self.peak_c.max(interval.max_temperature_c);
    }

    /// Requests the highest clock of the table that is not above `clock`.
    fn set_clock(&mut self, clock: KiloHertz) {
        let table = &self.plant.profile().gpu_clock_khz;
        let index = table.iter().rposition(|&khz| khz <= clock.0).unwrap_or(0);
        self.plant.set_gpu_clock(index);
    }
}

/// Seconds to microseconds, or joules to microjoules: nearest, never negative.
fn to_micros(value: f64) -> u64 {
    // `as` saturates at both ends, which is what is wanted of an accumulated sum.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating by definition")]
    let rounded = libm::round(value * 1e6) as u64;
    rounded
}

fn round_i32(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "saturating by definition")]
    let rounded = libm::round(value) as i32;
    rounded
}

fn round_u32(value: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating by definition")]
    let rounded = libm::round(value) as u32;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting =
        Setting { prefill: KiloHertz(1_020_000), decode: KiloHertz(918_000), batch: 32, depth: 16, fan_pwm: 128 };

    fn board() -> SimulatedBoard {
        SimulatedBoard::new(&Profile::agx_orin_hf(), Conditions { noise: false, ..Conditions::default() })
    }

    #[test]
    fn a_turn_is_billed_once_and_completely() {
        let mut board = board();
        board.idle(2.0);
        board.prefill(&SETTING, 32, 560);
        board.decode(&SETTING, &[32; 100]);
        let bill = board.measure();
        let span = bill.idle.micros() + bill.prefill.micros() + bill.decode.micros();
        assert!(span.abs_diff(board.now().micros()) <= 3, "{span} µs billed of {:?}", board.now());
        assert!(bill.energy > bill.active_energy);
        let per_token = bill.active_energy.0 as f64 / 3200.0;
        assert!((44_000.0..50_000.0).contains(&per_token), "{per_token} µJ per token");
        let next = board.measure();
        assert_eq!((next.energy, next.decode), (MicroJoules(0), Duration::ZERO));
    }

    #[test]
    fn shrinking_batches_take_less_energy_than_full_ones() {
        let (mut full, mut shrinking) = (board(), board());
        full.decode(&SETTING, &[32; 60]);
        let active: heapless::Vec<u16, 60> = (0..60).map(|step| if step < 30 { 32 } else { 4 }).collect();
        shrinking.decode(&SETTING, &active);
        assert!(shrinking.measure().energy < full.measure().energy);
    }

    #[test]
    fn a_dead_fan_reads_as_stopped() {
        let mut board = board();
        board.set_fan(255);
        board.idle(5.0);
        let load = MilliRequestsPerSecond(0);
        assert!(board.telemetry(0, load).fan_pwm.value() > Some(0));
        board.set_fan_working(false);
        board.idle(1.0);
        assert_eq!(board.telemetry(0, load).fan_pwm.value(), Some(0));
    }
}
