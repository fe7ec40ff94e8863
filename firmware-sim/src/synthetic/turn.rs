//! Turns of any board, from cold and idle to past every limit.

use controller_core::action::{Action, ActionSpace, Knob, Setting};
use controller_core::control::RewardRule;
use controller_core::reward::service::Service;
use controller_core::rng::Pcg32;
use controller_core::supervisor::FallbackRule;
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{MicroJoules, MilliCelsius, MilliRequestsPerSecond, MilliWatts};

/// What a controller is given in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Time of the decision.
    pub now: Instant,
    /// What is known then.
    pub telemetry: Telemetry,
    /// What the turn costs.
    pub measurement: Measurement,
}

impl Turn {
    /// Draws turn `number`; turns are five seconds apart.
    #[must_use]
    pub fn draw(rng: &mut Pcg32, number: u32) -> Self {
        let mut draw = |below: u16| u16::try_from(rng.below(u32::from(below))).unwrap_or(0);
        let now = Instant::ZERO + Duration::from_secs(number.saturating_mul(5));
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
        Self { now, telemetry, measurement }
    }
}

/// A service reward for a board with these knobs. It scores turns and has no say in decisions.
#[must_use]
pub fn reward(actions: &ActionSpace) -> RewardRule {
    RewardRule::Service(Service {
        reference_uj_per_token: 200_000,
        response_limit: Duration::from_millis(1_800),
        soft_temperature: MilliCelsius::from_degrees(75),
        hard_temperature: MilliCelsius::from_degrees(92),
        quality: actions.depth.iter().map(|&depth| (depth, 1000)).collect(),
        quality_floor: 980,
        response_weight: 500,
        temperature_weight: 500,
        quality_weight: 5_000,
    })
}

/// The comparison of the shipped board profile, with this static setting.
#[must_use]
pub const fn comparison(setting: Setting) -> FallbackRule {
    FallbackRule {
        setting,
        block_turns: 6,
        warm_up_turns: 2,
        margin: 10_000,
        scale: 100_000,
        false_alarm_pairs: 1000,
        longest_gap_turns: 500,
        probation_pairs: 8,
        first_pause_turns: 500,
        longest_pause_turns: 20_000,
    }
}

/// A static setting to fall back to, in the middle of every knob; `None` for an empty space.
#[must_use]
pub fn fallback(actions: &ActionSpace) -> Option<FallbackRule> {
    let mut middle = Action::default();
    for knob in Knob::ALL {
        middle.set(knob, actions.last(knob) / 2);
    }
    actions.setting(middle).map(comparison)
}
