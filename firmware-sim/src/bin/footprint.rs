//! What firmware of the controller links: parse the shipped policy, run its examples, decide a
//! turn, settle it, and run the application that speaks with a host. `./x firmware` measures this
//! image and searches it for what must not be there: a way to panic, floating point, an allocator.
//! It prints nothing, because formatting would bring the first of them in; the exit code says
//! whether the policy was accepted.
#![cfg_attr(target_os = "none", no_std, no_main)]

use controller_core::action::Setting;
use controller_core::control::{Controller, RewardRule};
use controller_core::governor::Learned;
use controller_core::policy::{Policy, PolicyImage};
use controller_core::reward::Fixed;
use controller_core::reward::early_exit::EarlyExit;
use controller_core::reward::published::{Limit, Published, Range};
use controller_core::reward::service::Service;
use controller_core::reward::step::Step;
use controller_core::reward::unified::Unified;
use controller_core::supervisor::{FallbackRule, Limits};
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{KiloHertz, MilliCelsius};
use core::convert::Infallible;
use core::hint::black_box;
use embedded_hal::digital::{ErrorType, OutputPin};
use firmware_sim::app::App;
use firmware_sim::app::ports::{NoWatchdog, Ports};
use firmware_sim::app::storage::{Memory, install};
use firmware_sim::line::{End, Pipe};
use firmware_sim::synthetic::comparison;

const IMAGE: &[u8] = include_bytes!("../../../models/policies/service.elp");

/// The greeting of `docs/wire-format.md`.
const GREETING: &[u8] = &[0x00, 0x03, 0x01, 0x07, 0x01, 0x01, 0x01, 0x05, 0x16, 0xae, 0xbe, 0xc8, 0x00];

/// One turn under each reward. Everything passes through `black_box`: the compiler may assume
/// nothing about the inputs, so every path that any board could take stays in the image.
fn turns() -> Option<()> {
    turn(RewardRule::Service(service()))?;
    let published = published();
    let (entropy_full, entropy_weight) = (Fixed::ONE, Fixed::ONE);
    turn(RewardRule::Unified(Unified { published, entropy_full, entropy_weight }))?;
    turn(RewardRule::Step(Step { published, energy: published.throughput }))?;
    turn(RewardRule::EarlyExit(EarlyExit { published, energy: published.throughput, entropy_full, entropy_weight }))?;
    greeted()
}

/// The whole application greets a host.
fn greeted() -> Option<()> {
    let mut storage = Memory::<8192>::new();
    install(&mut storage, 0, black_box(IMAGE)).ok()?;
    let mut app = App::boot(storage, black_box(Instant::ZERO));
    let (mut incoming, mut outgoing) = (Pipe::default(), Pipe::default());
    incoming.put(black_box(GREETING));
    let line = End { incoming: &mut incoming, outgoing: &mut outgoing };
    let mut ports = Ports { line, fan_full: NoPin, power_cap: NoPin, watchdog: NoWatchdog };
    app.pass(black_box(Instant::from_micros(1_000)), &mut ports);
    if app.is_protecting() { None } else { black_box(outgoing.take()).map(|_| ()) }
}

/// A pin that leads nowhere.
struct NoPin;

impl ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        black_box(Ok(()))
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        black_box(Ok(()))
    }
}

fn turn(reward: RewardRule) -> Option<()> {
    let policy = Policy::new(PolicyImage::new_checked(black_box(IMAGE)).ok()?).ok()?;
    let actions = policy.image().header().actions.clone();
    let governor = Learned::new(policy, &actions).ok()?;
    let mut controller = Controller::new(governor, actions, black_box(Limits::agx_orin()), black_box(reward)).ok()?;
    controller = controller.with_fallback(black_box(fallback())).ok()?;
    let now = Instant::from_micros(1);
    let telemetry = Telemetry { temperature: Reading::at(MilliCelsius(45_000), now), ..Telemetry::UNKNOWN };
    black_box(controller.step(black_box(now), &black_box(telemetry)));
    black_box(controller.settle(black_box(Measurement::default()))?);
    Some(())
}

fn fallback() -> FallbackRule {
    comparison(Setting { prefill: KiloHertz(714_000), decode: KiloHertz(612_000), batch: 32, depth: 12, fan_pwm: 0 })
}

fn service() -> Service {
    Service {
        reference_uj_per_token: 200_000,
        response_limit: Duration::from_millis(1_800),
        soft_temperature: MilliCelsius::from_degrees(75),
        hard_temperature: MilliCelsius::from_degrees(92),
        quality: heapless::Vec::new(),
        quality_floor: 980,
        response_weight: 500,
        temperature_weight: 500,
        quality_weight: 5_000,
    }
}

fn published() -> Published {
    let range = Range { low: Fixed::ZERO, high: Fixed::ONE };
    let limit = Limit { limit: Fixed::ZERO, full: Fixed::ONE, weight: Fixed::ONE };
    Published {
        throughput: range,
        edp_efficiency: range,
        temperature: range,
        headroom_weight: Fixed::ONE,
        latency_limit: limit,
        temperature_limit: limit,
        power_limit: limit,
        steepness: Fixed::ONE,
    }
}

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    if turns().is_some() { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

#[cfg(target_os = "none")]
mod target {
    use core::fmt::Write;
    use core::panic::PanicInfo;
    use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
    use cortex_m_semihosting::hio::hstderr;

    #[cortex_m_rt::entry]
    fn main() -> ! {
        let status = if crate::turns().is_some() { EXIT_SUCCESS } else { EXIT_FAILURE };
        loop {
            exit(status);
        }
    }

    /// Linked only if something can panic, which the search then finds.
    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        if let Ok(mut stderr) = hstderr() {
            let _ = writeln!(stderr, "footprint: {info}");
        }
        loop {
            exit(EXIT_FAILURE);
        }
    }
}
