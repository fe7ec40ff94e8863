//! What a decision costs, in instructions: counted by the emulator, so never cycles or time.

use crate::{Failure, IMAGE, SEED, closed_loop};
use controller_core::policy::{Policy, PolicyImage};
use controller_core::rng::Pcg32;
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{MilliCelsius, MilliRequestsPerSecond, MilliWatts};
use core::fmt;
use core::hint::black_box;
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use firmware_sim::digest::draw_observation;

/// `-icount shift=0` gives every instruction one virtual nanosecond, and the board's timer ticks
/// at 25 MHz.
const INSTRUCTIONS_PER_TICK: u32 = 40;
const TIMER_TOP: u32 = 0x00FF_FFFF;
const SAMPLES: usize = 4_000;

/// Prints median and worst over random inputs.
pub fn report(out: &mut impl fmt::Write) -> Result<(), Failure> {
    let counter = Counter::start().ok_or(Failure::Output)?;
    let policy = Policy::new(PolicyImage::new_checked(IMAGE)?)?;
    let mut rng = Pcg32::new(SEED);

    let inputs = policy.image().header().observation.len();
    let decide = sample(|| {
        let observation = draw_observation(&mut rng, inputs);
        counter.count(|| policy.decide(black_box(&observation)))
    });
    writeln!(out, "policy.decide: {decide}")?;

    let mut controller = closed_loop::controller(policy)?;
    let mut now = Instant::ZERO;
    let step = sample(|| {
        now = now + Duration::from_secs(5);
        let telemetry = draw_telemetry(&mut rng, now);
        let instructions = counter.count(|| controller.step(now, black_box(&telemetry)));
        controller.settle(Measurement { requests: 1, ..Measurement::default() });
        instructions
    });
    writeln!(out, "controller.step: {step}")?;
    Ok(())
}

/// Any board, from cold and idle to past every limit.
fn draw_telemetry(rng: &mut Pcg32, now: Instant) -> Telemetry {
    let temperature = MilliCelsius::from_degrees(30 + rng.below(70) as i16);
    Telemetry {
        temperature: Reading::at(temperature, now),
        power: Reading::at(MilliWatts(rng.below(70_000)), now),
        fan_pwm: Reading::at(rng.below(256) as u8, now),
        queue: rng.below(64) as u16,
        offered_load: MilliRequestsPerSecond(rng.below(10_000)),
        ..Telemetry::UNKNOWN
    }
}

/// Median and worst of [`SAMPLES`] counts.
struct Spread {
    median: u32,
    worst: u32,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, worst } = self;
        write!(f, "{median} instructions in the median, {worst} in the worst of {SAMPLES} (±{INSTRUCTIONS_PER_TICK})")
    }
}

fn sample(count: impl FnMut() -> u32) -> Spread {
    let mut counts = [0u32; SAMPLES];
    counts.fill_with(count);
    counts.sort_unstable();
    Spread { median: counts[SAMPLES / 2], worst: counts[SAMPLES - 1] }
}

/// The running system timer.
struct Counter;

impl Counter {
    /// `None` when the timer is already taken.
    fn start() -> Option<Self> {
        let mut timer = Peripherals::take()?.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TIMER_TOP);
        timer.clear_current();
        timer.enable_counter();
        Some(Self)
    }

    /// Instructions that `work` takes.
    fn count<T>(&self, work: impl FnOnce() -> T) -> u32 {
        let before = SYST::get_current();
        black_box(work());
        let after = SYST::get_current();
        // It counts down, in 24 bits.
        (before.wrapping_sub(after) & TIMER_TOP) * INSTRUCTIONS_PER_TICK
    }
}
