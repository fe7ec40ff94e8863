//! How fast the simulator is: decisions of a frozen policy in closed loop, each with its batch on the plant.

use crate::env::account::Account;
use crate::eval::closed_loop::bench::{Bench, Setup};
use crate::eval::freezing::FreezingError;
use controller_core::governor::Learned;
use controller_core::policy::{Policy, PolicyImage};

/// Plays so many episodes of every setup on so many threads and returns the decisions made.
pub fn play(setups: &[Setup], image: &[u8], episodes: u64, seed: u64, threads: u64) -> Result<u64, FreezingError> {
    let part = |thread: u64| -> Result<u64, FreezingError> {
        let mut decisions = 0;
        for number in (0..episodes).filter(|number| number % threads == thread) {
            for setup in setups {
                let governor = Learned::new(Policy::new(PolicyImage::new_checked(image)?)?, setup.actions())?;
                let account: Account = Bench::new(setup, governor, seed + number)?.run(setup.terms());
                decisions += account.decisions;
            }
        }
        Ok(decisions)
    };
    std::thread::scope(|scope| {
        let work = |thread| scope.spawn(move || part(thread));
        let workers: Vec<_> = (0..threads).map(work).collect();
        workers.into_iter().map(|worker| worker.join().expect("an episode does not panic")).sum()
    })
}
