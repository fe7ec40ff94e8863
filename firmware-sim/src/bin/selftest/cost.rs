//! What the controller costs on this machine: instructions as the emulator counts them, which are
//! neither cycles nor time, and stack.

use crate::counter::{Counter, INSTRUCTIONS_PER_TICK};
use crate::{Failure, IMAGE, SEED, closed_loop, stack};
use controller_core::policy::{Policy, PolicyImage};
use controller_core::rng::Pcg32;
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{MicroJoules, MilliCelsius, MilliRequestsPerSecond, MilliWatts};
use core::fmt;
use core::hint::black_box;
use firmware_sim::digest::draw_observation;

const SAMPLES: usize = 4_000;

/// Prints the cost of a decision of the policy alone, and of each half of a turn, over random
/// inputs.
pub fn report(out: &mut impl fmt::Write) -> Result<(), Failure> {
    let counter = Counter::start().ok_or(Failure::Timer)?;
    let policy = Policy::new(PolicyImage::new_checked(IMAGE)?)?;
    let inputs = policy.image().header().observation.len();
    let mut rng = Pcg32::new(SEED);
    let mut decide = [0; SAMPLES];
    decide.fill_with(|| {
        let observation = draw_observation(&mut rng, inputs);
        counter.count(|| policy.decide(black_box(&observation)))
    });
    writeln!(out, "policy.decide: {}", Spread::of(decide))?;

    let mut controller = closed_loop::controller(policy)?;
    let (mut step, mut settle) = ([0; SAMPLES], [0; SAMPLES]);
    for ((step, settle), turn) in step.iter_mut().zip(&mut settle).zip(1..) {
        let (now, telemetry, measurement) = draw_turn(&mut rng, turn);
        *step = counter.count(|| controller.step(now, black_box(&telemetry)));
        *settle = counter.count(|| controller.settle(black_box(measurement)));
    }
    writeln!(out, "controller.step: {}", Spread::of(step))?;
    writeln!(out, "controller.settle: {}", Spread::of(settle))?;

    let mut outcome = Ok(());
    let bytes = stack::used_by(|| outcome = boot_and_turns());
    outcome?;
    writeln!(out, "stack from boot through {SAMPLES} turns: {bytes} bytes, the controller itself among them")?;
    Ok(())
}

/// All that firmware of the controller does, from the bytes of the policy on.
fn boot_and_turns() -> Result<(), Failure> {
    let policy = Policy::new(PolicyImage::new_checked(IMAGE)?)?;
    let mut controller = closed_loop::controller(policy)?;
    let mut rng = Pcg32::new(SEED);
    for turn in (1..).take(SAMPLES) {
        let (now, telemetry, measurement) = draw_turn(&mut rng, turn);
        black_box(controller.step(now, &telemetry));
        black_box(controller.settle(measurement));
    }
    Ok(())
}

/// Any board, from cold and idle to past every limit, and any batch.
fn draw_turn(rng: &mut Pcg32, turn: u32) -> (Instant, Telemetry, Measurement) {
    let mut draw = |below: u16| u16::try_from(rng.below(u32::from(below))).unwrap_or(0);
    let now = Instant::ZERO + Duration::from_secs(turn * 5);
    let temperature = MilliCelsius(30_000 + i32::from(draw(u16::MAX)));
    let telemetry = Telemetry {
        temperature: Reading::at(temperature, now),
        power: Reading::at(MilliWatts(u32::from(draw(u16::MAX))), now),
        fan_pwm: Reading::at(draw(256).to_le_bytes()[0], now),
        queue: draw(64),
        offered_load: MilliRequestsPerSecond(u32::from(draw(10_000))),
        ..Telemetry::UNKNOWN
    };
    let measurement = Measurement {
        requests: 1 + draw(32),
        generated_tokens: u32::from(draw(4_000)),
        energy: MicroJoules(u64::from(draw(u16::MAX)) * 4_000),
        response: Duration::from_millis(u32::from(draw(10_000))),
        peak_temperature: Some(temperature),
        ..Measurement::default()
    };
    (now, telemetry, measurement)
}

/// Median and worst of [`SAMPLES`] counts.
struct Spread {
    median: u32,
    worst: u32,
}

impl Spread {
    fn of(mut counts: [u32; SAMPLES]) -> Self {
        counts.sort_unstable();
        Self { median: counts[SAMPLES / 2], worst: counts[SAMPLES - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, worst } = self;
        write!(f, "{median} instructions in the median, {worst} in the worst of {SAMPLES} (±{INSTRUCTIONS_PER_TICK})")
    }
}
