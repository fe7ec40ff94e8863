//! The best static setting of a scenario, in hindsight: what somebody would have set who knew it before.
//!
//! Every pair of decode clock and batch with every fan duty is tried on the first seed of the evaluation; from the best, one
//! knob after the other takes every value, judged on the first three seeds, until nothing gains. So the setting is
//! chosen on seeds that it is then evaluated on.

use super::bench::{Bench, Setup};
use controller_core::action::{Action, Knob};
use controller_core::control::ControllerError;
use controller_core::governor::Fixed;

/// Seeds that the last choice rests on.
const SEEDS: u64 = 3;

/// Searches the table.
pub fn search(setup: &Setup, first_seed: u64) -> Result<Action, ControllerError> {
    let actions = setup.actions();
    let reward = |action: Action, seeds: u64| -> Result<f64, ControllerError> {
        let mut sum = 0.0;
        for seed in first_seed..first_seed + seeds {
            sum += Bench::new(setup, Fixed(action), seed)?.run(setup.terms()).reward(setup.terms());
        }
        Ok(sum / seeds as f64)
    };
    let depth = actions.depth.iter().position(|depth| *depth >= setup.min_depth()).unwrap_or(0);
    let depth = u8::try_from(depth).unwrap_or(u8::MAX);
    let mut best = (Action::default(), f64::NEG_INFINITY);
    for decode in 0..=actions.last(Knob::Decode) {
        for batch in 0..=actions.last(Knob::Batch) {
            for fan in 0..=actions.last(Knob::Fan) {
                let candidate = Action { prefill: actions.last(Knob::Prefill) / 2, decode, batch, depth, fan };
                let reward = reward(candidate, 1)?;
                if reward > best.1 {
                    best = (candidate, reward);
                }
            }
        }
    }
    best.1 = reward(best.0, SEEDS)?;
    loop {
        let before = best;
        for knob in Knob::ALL {
            for value in (0..=actions.last(knob)).filter(|value| *value != before.0.get(knob)) {
                let mut candidate = best.0;
                candidate.set(knob, value);
                let reward = reward(candidate, SEEDS)?;
                if reward > best.1 {
                    best = (candidate, reward);
                }
            }
        }
        if best.0 == before.0 {
            return Ok(best.0);
        }
    }
}
