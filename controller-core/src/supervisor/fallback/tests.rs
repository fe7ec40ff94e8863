//! The promises of the comparison.
#![expect(clippy::disallowed_types, clippy::float_arithmetic, reason = "shares, means and the oracle of the stakes")]

use super::*;
use crate::action::tests::small_space;
use crate::action::{Knob, Setting};
use crate::rng::Pcg32;
use proptest::prelude::*;
use std::vec::Vec;

fn rule() -> FallbackRule {
    FallbackRule {
        setting: small_space().setting(small_space().safest()).unwrap(),
        block_turns: 6,
        warm_up_turns: 2,
        margin: 10_000,
        scale: 100_000,
        false_alarm_pairs: 1000,
        longest_gap_turns: 500,
        probation_pairs: 8,
        first_pause_turns: 200,
        longest_pause_turns: 1600,
    }
}

fn fallback(rule: FallbackRule) -> Fallback {
    Fallback::new(rule, &small_space()).unwrap()
}

/// Runs turns; `reward` says what each is worth. Returns who decided and the standing.
fn run(fallback: &mut Fallback, turns: u32, mut reward: impl FnMut(Arm, u32) -> i32) -> Vec<(Arm, Standing)> {
    let turn = |number| {
        let arm = fallback.arm(true);
        let standing = fallback.standing();
        fallback.settle(Some((reward(arm, number), 4)));
        (arm, standing)
    };
    (0..turns).map(turn).collect()
}

fn share_of_static(turns: &[(Arm, Standing)]) -> f64 {
    turns.iter().filter(|(arm, _)| *arm == Arm::Static).count() as f64 / turns.len() as f64
}

fn worse(arm: Arm, by: i32) -> i32 {
    if arm == Arm::Governor { 300_000 - by } else { 300_000 }
}

#[test]
fn a_governor_that_always_loses_is_replaced_after_thirteen_pairs() {
    let mut fallback = fallback(rule());
    let turns = run(&mut fallback, 1000, |arm, _| worse(arm, 150_000));
    let replaced = turns.iter().position(|(_, standing)| *standing == Standing::Replaced);
    // Two blocks of eight turns each, and one gap: a single pair is no suspicion yet.
    assert_eq!(replaced, Some(13 * 2 * 8 + 6));
    assert_eq!(fallback.replacements(), 1);
}

#[test]
fn a_governor_as_good_as_static_stays_and_is_hardly_probed() {
    for better_by in [0, 5_000, 200_000] {
        let mut fallback = fallback(rule());
        let turns = run(&mut fallback, 20_000, |arm, _| worse(arm, -better_by));
        assert!(turns.iter().all(|(_, standing)| *standing == Standing::Trusted));
        assert!(share_of_static(&turns) < 0.03, "{}", share_of_static(&turns));
    }
}

#[test]
fn failures_double_the_pause_and_a_cure_is_noticed() {
    let mut fallback = fallback(rule());
    let turns = run(&mut fallback, 6000, |arm, _| worse(arm, 500_000));
    let late = &turns[4000..];
    assert!(share_of_static(late) > 0.98, "{}", share_of_static(late));
    let trials: Vec<usize> = (1..turns.len())
        .filter(|&turn| turns[turn - 1].1 != turns[turn].1 && turns[turn].1 == Standing::Probation)
        .collect();
    let waits: Vec<usize> = trials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A failed trial takes two pairs.
    assert_eq!(waits, [400 + 32, 800 + 32, 1600 + 32, 1600 + 32]);

    let cured = run(&mut fallback, 4000, |arm, _| worse(arm, -50_000));
    assert_eq!(cured.last().unwrap().1, Standing::Trusted);
    assert_eq!(fallback.replacements(), 1);
}

#[test]
fn drift_is_not_taken_for_a_difference() {
    // Everything gets worse all the time, whoever decides, by a full scale in 20 turns.
    let mut fallback = fallback(FallbackRule { margin: 0, ..rule() });
    let turns = run(&mut fallback, 20_000, |_, turn| -i32::try_from(turn).unwrap() * 5_000);
    assert!(turns.iter().all(|(_, standing)| *standing == Standing::Trusted));
}

#[test]
fn turns_that_cannot_be_scored_do_not_leave_the_board_to_the_static_setting() {
    let mut fallback = fallback(rule());
    let mut governed = 0;
    for _ in 0..10_000 {
        governed += u32::from(fallback.arm(true) == Arm::Governor);
        fallback.settle(None);
    }
    assert!(governed > 9_500, "{governed}");
    assert_eq!(fallback.standing(), Standing::Trusted);
}

#[test]
fn nothing_is_compared_while_the_board_is_in_danger() {
    let mut fallback = fallback(rule());
    for _ in 0..1000 {
        assert_eq!(fallback.arm(false), Arm::Governor);
        fallback.settle(Some((-1_000_000, 1)));
    }
}

#[test]
fn it_is_small() {
    assert!(size_of::<Fallback>() <= 200, "{} bytes", size_of::<Fallback>());
}

#[test]
fn rules_without_sense_are_refused() {
    let good = rule();
    let space = small_space();
    let setting = Setting { depth: 10, ..good.setting };
    let error = Fallback::new(FallbackRule { setting, ..good }, &space).unwrap_err();
    assert_eq!(error, FallbackError::NotOnBoard(Knob::Depth));
    for (bad, word) in [
        (FallbackRule { block_turns: 0, ..good }, "block_turns"),
        (FallbackRule { scale: 0, ..good }, "scale"),
        (FallbackRule { false_alarm_pairs: 9, ..good }, "false_alarm_pairs"),
        (FallbackRule { probation_pairs: 0, ..good }, "probation_pairs"),
        (FallbackRule { first_pause_turns: 0, ..good }, "first_pause_turns"),
        (FallbackRule { longest_pause_turns: 199, ..good }, "longest_pause_turns"),
    ] {
        let said = std::string::ToString::to_string(&Fallback::new(bad, &space).unwrap_err());
        assert!(said.starts_with(word), "{said}");
    }
}

/// Mean number of pairs until a governor is replaced whose rewards come from `draw`.
fn mean_pairs_to_replacement(n: u32, mut draw: impl FnMut(Arm) -> i32) -> f64 {
    const RUNS: u32 = 300;
    let rule = FallbackRule { false_alarm_pairs: n, longest_gap_turns: 0, block_turns: 1, warm_up_turns: 0, ..rule() };
    let mut pairs = 0u32;
    for _ in 0..RUNS {
        let mut fallback = fallback(rule);
        while fallback.standing() == Standing::Trusted {
            for _ in 0..2 {
                let arm = fallback.arm(true);
                fallback.settle(Some((draw(arm), 1)));
            }
            pairs += 1;
        }
    }
    f64::from(pairs) / f64::from(RUNS)
}

/// The promise: on average no false alarm before N pairs, for a governor that is worse by just
/// the margin, whatever the distribution.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn false_alarms_are_as_rare_as_promised() {
    let mut rng = Pcg32::new(7);
    let mut coin = |low: i32, high: i32| if rng.below(2) == 0 { low } else { high };
    let margin = |arm| if arm == Arm::Governor { -10_000 } else { 0 };
    for spread in [20_000, 50_000, 100_000] {
        let pairs = mean_pairs_to_replacement(100, |arm| margin(arm) + coin(-spread, spread) / 2);
        assert!(pairs >= 100.0, "{pairs} pairs at a spread of {spread}");
    }
    // And it is no dead alarm.
    let pairs = mean_pairs_to_replacement(100, |arm| 4 * margin(arm) + coin(-20_000, 20_000));
    assert!(pairs < 60.0, "{pairs}");
}

proptest! {
    /// The stakes against the same bets in floating point.
    #[test]
    fn suspicion_is_the_mean_of_the_bets(differences in proptest::collection::vec(-300_000i32..110_000, 1..40)) {
        let mut fallback = fallback(FallbackRule { longest_gap_turns: 0, false_alarm_pairs: 1_000_000, ..rule() });
        let mut stakes = [1.0f64; 2];
        for difference in differences {
            run(&mut fallback, 16, |arm, _| worse(arm, difference));
            let x = (f64::from(difference - 10_000) / 100_000.0).clamp(-1.0, 1.0);
            for (stake, bet) in stakes.iter_mut().zip([0.25, 0.875]) {
                *stake = (*stake * (1.0 + bet * x)).max(1.0);
            }
            let (exact, fixed) = (f64::midpoint(stakes[0], stakes[1]), fallback.suspicion_milli() as f64 / 1000.0);
            prop_assert!((fixed / exact - 1.0).abs() < 0.03, "{fixed} for {exact}");
            if exact > 900_000.0 {
                break;
            }
        }
    }

    /// No reward, however absurd, stops the comparison or the machine.
    #[test]
    fn any_reward_will_do(rewards in proptest::collection::vec((any::<i32>(), any::<u16>(), any::<bool>(), any::<bool>()), 1..400)) {
        let mut fallback = fallback(FallbackRule { block_turns: 1, warm_up_turns: 0, scale: 1, margin: u32::MAX, ..rule() });
        for (reward, requests, calm, known) in rewards {
            fallback.arm(calm);
            fallback.settle(known.then_some((reward, requests)));
        }
    }
}
