//! What the controller costs on this machine: instructions as the emulator counts them, which are
//! neither cycles nor time, and stack.

use crate::counter::{Counter, INSTRUCTIONS_PER_TICK};
use crate::{Failure, IMAGE, SEED, closed_loop, loop_turn, stack};
use controller_core::control::Controller;
use controller_core::governor::Learned;
use controller_core::policy::{Policy, PolicyImage};
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use core::fmt;
use core::hint::black_box;
use firmware_sim::digest::draw_observation;
use firmware_sim::synthetic::{Room, Shape, Turn, fallback, reward};

pub const SAMPLES: usize = 10_000;

/// Prints the cost of the shipped policy and of the synthetic ones, then the stack they take.
pub fn report(out: &mut impl fmt::Write) -> Result<(), Failure> {
    let counter = Counter::start().ok_or(Failure::Timer)?;
    // The room to make the large policy in does not fit a stack that is to be measured.
    let room = cortex_m::singleton!(: Room = Room::new()).ok_or(Failure::Timer)?;
    costs(&counter, "shipped", IMAGE, out)?;
    for shape in Shape::ALL {
        let image = room.image(shape, SEED).map_err(Failure::Synthetic)?;
        costs(&counter, shape.name(), image, out)?;
    }
    loop_turn::report(&counter, out)?;
    let mut outcome = Ok(());
    let bytes = stack::used_by(|| outcome = boot_and_turns());
    outcome?;
    writeln!(out, "stack from boot through {SAMPLES} turns: {bytes} bytes, the controller itself among them")?;
    writeln!(out, "of which the controller: {} bytes", size_of::<Controller<Learned<'_>>>())?;
    Ok(())
}

/// The cost of a decision of the policy alone, and of each half of a turn, over random inputs.
#[expect(clippy::large_stack_arrays, reason = "the emulated board has megabytes, and no allocator")]
fn costs(counter: &Counter, name: &str, image: &[u8], out: &mut impl fmt::Write) -> Result<(), Failure> {
    let policy = Policy::new(PolicyImage::new_checked(image)?)?;
    let inputs = policy.image().header().observation.len();
    let mut rng = Pcg32::new(SEED);
    let mut counts = [0; SAMPLES];
    counts.fill_with(|| {
        let observation = draw_observation(&mut rng, inputs);
        counter.count(|| policy.decide(black_box(&observation)))
    });
    writeln!(out, "{name}: policy.decide {}", Spread::of(&mut counts))?;
    let mut controller = controller_of(policy.clone())?;
    for (count, number) in counts.iter_mut().zip(1..) {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut rng, number);
        *count = counter.count(|| controller.step(now, black_box(&telemetry)));
        black_box(controller.settle(measurement));
    }
    writeln!(out, "{name}: controller.step {}", Spread::of(&mut counts))?;
    let mut controller = controller_of(policy)?;
    for (count, number) in counts.iter_mut().zip(1..) {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut rng, number);
        black_box(controller.step(now, &telemetry));
        *count = counter.count(|| controller.settle(black_box(measurement)));
    }
    writeln!(out, "{name}: controller.settle {}", Spread::of(&mut counts))?;
    Ok(())
}

/// A controller with everything that it can have.
fn controller_of(policy: Policy<'_>) -> Result<Controller<Learned<'_>>, Failure> {
    let actions = policy.image().header().actions.clone();
    let governor = Learned::new(policy, &actions)?;
    let (reward, fallback) = (reward(&actions), fallback(&actions));
    let controller = Controller::new(governor, actions, Limits::agx_orin(), reward)?;
    Ok(match fallback {
        Some(fallback) => controller.with_fallback(fallback)?,
        None => controller,
    })
}

/// All that firmware of the controller does, from the bytes of the policy on.
fn boot_and_turns() -> Result<(), Failure> {
    let policy = Policy::new(PolicyImage::new_checked(IMAGE)?)?;
    let mut controller = closed_loop::controller(policy)?;
    let mut rng = Pcg32::new(SEED);
    for number in (1..).take(SAMPLES) {
        let Turn { now, telemetry, measurement } = Turn::draw(&mut rng, number);
        black_box(controller.step(now, &telemetry));
        black_box(controller.settle(measurement));
    }
    Ok(())
}

/// Median and worst of [`SAMPLES`] counts.
pub struct Spread {
    median: u32,
    worst: u32,
}

impl Spread {
    pub fn of(counts: &mut [u32; SAMPLES]) -> Self {
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
