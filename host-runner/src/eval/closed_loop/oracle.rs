//! The per-state oracle: before every turn it looks ahead from a snapshot of the board.
//!
//! For each candidate setting the snapshot goes on with that setting for [`HORIZON_S`], under the supervisor, with the
//! very noise, arrivals and disturbances that are to come; the candidate with the highest service reward over the
//! stretch is taken for one turn. Candidates are the present setting with one knob changed: to its neighbours before
//! every turn, to every value once in [`SWEEP_S`], repeatedly until nothing gains. It begins with the best static setting of
//! the scenario. Depth and fan duty stay as there: every deeper model takes longer and needs more energy, and what cooling
//! saves in leakage comes back over minutes, beyond the horizon.
//!
//! What it is not: a proof of optimality. The search is one of coordinates, a candidate is held over the horizon although
//! the oracle itself may change its mind every turn, and heat that comes after the horizon is not seen.

use super::bench::{Bench, Setup};
use crate::env::account::{Account, Terms};
use controller_core::action::{Action, Knob};
use controller_core::control::ControllerError;
use controller_core::governor::{Governor, Situation};
use std::cell::Cell;
use std::rc::Rc;

/// How far the oracle looks ahead, seconds.
pub const HORIZON_S: f64 = 60.0;
/// How often it considers every value of every knob, seconds.
pub const SWEEP_S: f64 = 60.0;
/// Rewards closer than this are equal.
const GAIN: f64 = 1e-6;

/// A governor that does what it is told from outside.
#[derive(Clone, Debug)]
struct Steered(Rc<Cell<Action>>);

impl Governor for Steered {
    fn decide(&mut self, _: &Situation<'_>) -> Action {
        self.0.get()
    }
}

/// Plays an episode with perfect foresight, from the best static setting on.
pub fn play(setup: &Setup, best_static: Action, seed: u64) -> Result<Account, ControllerError> {
    let wheel = Rc::new(Cell::new(best_static));
    let mut bench = Bench::new(setup, Steered(Rc::clone(&wheel)), seed)?;
    let (mut account, mut swept_s) = (Account::default(), f64::NEG_INFINITY);
    while !bench.is_over() {
        let sweep = bench.now_s() - swept_s >= SWEEP_S;
        if sweep {
            swept_s = bench.now_s();
        }
        let best = improve(setup, &bench, &wheel, sweep);
        wheel.set(best);
        bench.turn(setup.terms(), &mut account);
    }
    bench.close(setup.terms(), &mut account);
    Ok(account)
}

/// The best setting that changing one knob after the other leads to.
fn improve(setup: &Setup, bench: &Bench<Steered>, wheel: &Rc<Cell<Action>>, sweep: bool) -> Action {
    let mut best = wheel.get();
    let mut highest = look_ahead(setup.terms(), bench, wheel, best);
    loop {
        let before = best;
        for knob in [Knob::Decode, Knob::Batch, Knob::Prefill] {
            let (now, last) = (best.get(knob), setup.actions().last(knob));
            let (low, high) = if sweep { (0, last) } else { (now.saturating_sub(1), (now + 1).min(last)) };
            for value in (low..=high).filter(|value| *value != now) {
                let mut candidate = best;
                candidate.set(knob, value);
                let reward = look_ahead(setup.terms(), bench, wheel, candidate);
                if reward > highest + GAIN {
                    (best, highest) = (candidate, reward);
                }
            }
        }
        if best == before || !sweep {
            return best;
        }
    }
}

/// The reward of holding an action for the horizon, from a snapshot.
fn look_ahead(terms: &Terms, bench: &Bench<Steered>, wheel: &Rc<Cell<Action>>, action: Action) -> f64 {
    wheel.set(action);
    let mut trial = bench.clone();
    let until_s = trial.now_s() + HORIZON_S;
    let mut account = Account::default();
    while trial.now_s() < until_s && !trial.is_over() {
        trial.turn(terms, &mut account);
    }
    trial.close(terms, &mut account);
    account.reward(terms)
}
