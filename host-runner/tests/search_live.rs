//! Commissioning of simulated boards that no profile describes.

use controller_core::reward::service::Service;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;
use firmware_sim::plant::noise::Generator;
use host_runner::env::commission::{TooHot, Trials, arms};
use host_runner::env::profile::BoardProfile;
use host_runner::env::quality::Quality;
use host_runner::env::replay::Replay;
use host_runner::search::boards::{full_batch, vary};
use host_runner::search::commissioning::{Found, Plan, search};
use std::path::Path;

const DEPTH: u16 = 12;
const PLAN: Plan = Plan { evaluations: 12, batches: 2, pairs: 8, requests_per_s: 4.0, seed: 1 };

fn profile() -> (BoardProfile, Service) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let profile = BoardProfile::read(&workspace.join("models/boards/agx-orin-hf.toml")).unwrap();
    let quality = Quality::read(&workspace.join("models/tiny-llama/depths.json")).unwrap();
    let reward = Service { quality: quality.table(&profile.actions.depth, 16), ..profile.service.clone() };
    (profile, reward)
}

/// Commissions board number `number`; what was found, and how far it is from the best.
fn commission(number: u64, conditions: Conditions) -> Result<(Found, f64), TooHot> {
    let (profile, reward) = profile();
    let plant = vary(&profile.plant, 5.0, &mut Generator::new(number));
    let (settings, choices) = arms(&profile.actions, DEPTH);
    let board = SimulatedBoard::new(&plant, conditions);
    let mut trials = Trials::new(board, profile.actions.clone(), profile.limits, reward).unwrap();
    let found = search(&mut trials, &settings, &choices, &PLAN, |_| ());
    assert!(trials.peak_c() < 95.0, "{}", trials.peak_c());
    let found = found?;
    let truth: Vec<_> = settings.iter().map(|arm| (*arm, full_batch(&plant, *arm, u32::from(DEPTH)))).collect();
    let replay = Replay::of_outcomes(&truth, PLAN.requests_per_s, 0.0).unwrap();
    let above = replay.true_cost(found.arm) / replay.true_cost(replay.best()) - 1.0;
    let saved = 1.0 - replay.true_cost(found.arm) / replay.true_cost(settings.len() - 1);
    // The truth is that of one temperature; the board warms a little from one batch to the next.
    assert!((found.cost_saved.mean - saved).abs() < found.cost_saved.half_width + 0.02, "{number}: {saved} {found:?}");
    Ok((found, above))
}

#[test]
fn a_dozen_evaluations_are_enough_for_most_boards_and_the_budget_holds() {
    let mut above: Vec<f64> = (0..20)
        .map(|number| {
            let (found, above) = commission(number, Conditions { seed: number, ..Conditions::default() }).unwrap();
            assert!(found.spent_j <= found.announced.budget_j, "{number}: {found:?}");
            assert_eq!(found.evaluations, 12, "{number}");
            above
        })
        .collect();
    above.sort_by(f64::total_cmp);
    assert!(above[9] <= 0.01 && above[18] <= 0.03, "{above:?}");
}

#[test]
fn a_hot_board_without_a_fan_stays_below_its_limit() {
    let heat = Conditions { ambient_c: 40.0, start_c: 85.0, fan_working: false, ..Conditions::default() };
    // It waits until the board has cooled, or says that it is too hot; the limit is checked either way.
    let _ = commission(2, heat);
}
