//! The policy in charge of a simulated board whose fan fails half way.

use crate::Failure;
use controller_core::action::Setting;
use controller_core::control::Controller;
use controller_core::governor::Learned;
use controller_core::policy::Policy;
use controller_core::rng::Pcg32;
use controller_core::supervisor::{FallbackRule, Limits, State};
use controller_core::telemetry::Measurement;
use controller_core::time::Duration;
use controller_core::units::{KiloHertz, MilliCelsius, MilliRequestsPerSecond};
use core::fmt;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::digest::Digest;
use firmware_sim::plant::{Conditions, Profile};
use firmware_sim::synthetic;
use heapless::Vec;

const TURNS: u16 = 200;
const FAN_FAILS_AT: u16 = TURNS / 2;
const QUEUE: u16 = 32;
const LOAD: MilliRequestsPerSecond = MilliRequestsPerSecond(4_000);
const LONGEST_ANSWER: usize = 96;

/// What happened, short enough for one line.
pub struct Trace {
    digest: Digest,
    throttled: u16,
    held: u16,
    hottest: MilliCelsius,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, throttled, held, hottest } = self;
        let digest = digest.value();
        write!(f, "{digest:016x} over {TURNS} turns, {throttled} throttled, {held} held, at most {hottest}")
    }
}

/// As in the shipped board profile.
const FALLBACK: FallbackRule = synthetic::comparison(Setting {
    prefill: KiloHertz(714_000),
    decode: KiloHertz(612_000),
    batch: 32,
    depth: 12,
    fan_pwm: 0,
});

/// The controller that a self-test runs: the shipped policy with the limits of its board.
pub fn controller(policy: Policy<'_>) -> Result<Controller<Learned<'_>>, Failure> {
    let actions = policy.image().header().actions.clone();
    let governor = Learned::new(policy, &actions)?;
    let reward = synthetic::reward(&actions);
    Ok(Controller::new(governor, actions, Limits::agx_orin(), reward)?.with_fallback(FALLBACK)?)
}

/// Runs the loop. Every decision and every reward goes into the digest.
pub fn run(policy: Policy<'_>, seed: u64) -> Result<Trace, Failure> {
    let mut controller = controller(policy)?;
    // So hot a room that the second half needs the supervisor.
    let conditions = Conditions { ambient_c: 60.0, start_c: 80.0, seed, ..Conditions::default() };
    let mut board = SimulatedBoard::new(&Profile::agx_orin_hf(), conditions);
    let mut rng = Pcg32::new(seed);
    let mut trace = Trace { digest: Digest::new(), throttled: 0, held: 0, hottest: MilliCelsius(0) };
    for turn in 0..TURNS {
        board.set_fan_working(turn < FAN_FAILS_AT);
        let telemetry = board.telemetry(QUEUE, LOAD);
        let decision = controller.step(board.now(), &telemetry);
        trace.digest.action(decision.applied);
        trace.digest.bytes(&[u8::from(decision.hold), decision.reason as u8]);
        trace.held += u16::from(decision.hold);
        trace.throttled += u16::from(controller.supervisor().state() == State::Throttled);
        trace.hottest = trace.hottest.max(telemetry.temperature.value().unwrap_or_default());

        let setting =
            controller.actions().setting(decision.applied).unwrap_or_else(|| unreachable!("applied is valid"));
        let measurement = if decision.hold {
            board.set_fan(setting.fan_pwm);
            board.idle(1.0);
            board.measure()
        } else {
            answer(&mut board, &setting, &mut rng)
        };
        let record = controller.settle(measurement);
        let reward = record.and_then(|record| record.reward).map_or(0, |reward| reward.total);
        trace.digest.bytes(&reward.to_le_bytes());
    }
    Ok(trace)
}

/// One full batch of drawn prompts and answers.
fn answer(board: &mut SimulatedBoard, setting: &Setting, rng: &mut Pcg32) -> Measurement {
    let prompt_tokens = (0..setting.batch).map(|_| 8 + rng.below(25)).sum();
    let mut active: Vec<u16, LONGEST_ANSWER> = Vec::new();
    active.resize(LONGEST_ANSWER, 0).unwrap_or_default();
    for _ in 0..setting.batch {
        let length = 16 + rng.below(81) as usize;
        active.iter_mut().take(length).for_each(|sequences| *sequences += 1);
    }
    board.prefill(setting, setting.batch, prompt_tokens);
    board.decode(setting, &active);
    let bill = board.measure();
    Measurement {
        requests: setting.batch,
        generated_tokens: active.iter().copied().map(u32::from).sum(),
        response: Duration::from_micros(bill.prefill.micros() + bill.decode.micros()),
        ..bill
    }
}
