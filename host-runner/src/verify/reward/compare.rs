//! One case against the oracle and against fixed point.

use super::cases::{Case, Expected, Rule, Values};
use controller_core::reward::reference::{SWITCH, Score, early_exit, step, unified};
use controller_core::reward::{Fixed, Reward, RewardError, Variant};

/// Largest difference between the oracle and the published code, relative to the number itself or,
/// where terms cancel, to a thousandth of the largest term.
pub const REAL_LIMIT: f64 = 1e-12;

/// Largest difference between fixed point and the published code, absolute.
pub const FIXED_LIMIT: f64 = 2e-3;

/// Headroom in fixed point is only known to this: nearer to the switch either side is right.
const SWITCH_RESOLUTION: f64 = 1e-9;

/// What became of a case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// Largest relative error of the oracle.
    pub(super) real_error: f64,
    /// Largest absolute error of fixed point over efficiency, penalties and total.
    pub(super) fixed_error: f64,
    /// Why the case fails.
    pub(super) failure: Option<String>,
}

/// What sort of case it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers, compared in both arithmetics.
    Compared,
    /// Numbers beyond the range of fixed point, which must stand at its end.
    Saturating,
    /// At the switch of `step`, where fixed point took the other side.
    AtSwitch,
    /// The published code raises and so do we.
    Error,
    /// A NaN, refused by us.
    NotFinite,
}

impl Verdict {
    fn plain(kind: Kind) -> Self {
        Self { kind, real_error: 0.0, fixed_error: 0.0, failure: None }
    }

    fn failed(kind: Kind, why: String) -> Self {
        Self { failure: Some(why), ..Self::plain(kind) }
    }
}

pub(super) fn judge(case: &Case) -> Verdict {
    let real = case.rule.and_then(|rule| match rule {
        Rule::Unified(rule) => unified(&rule, &case.outcome),
        Rule::Step(rule) => step(&rule, &case.outcome),
        Rule::EarlyExit(rule) => early_exit(&rule, &case.outcome),
    });
    match (&case.expected, real) {
        (Expected::Error(_), Err(RewardError::NotFinite(what))) => {
            Verdict::failed(Kind::Error, format!("refused for {what}, which is not what the published code raises for"))
        }
        (Expected::Error(_), Err(_)) => match fixed(case) {
            Err(_) => Verdict::plain(Kind::Error),
            Ok(_) => Verdict::failed(Kind::Error, "fixed point gives a number where the published code raises".into()),
        },
        (Expected::Error(raised), Ok(score)) => Verdict::failed(
            Kind::Error,
            format!("the published code raises {raised}, the oracle says {}", score.total()),
        ),
        (Expected::Values(_), Err(RewardError::NotFinite(_))) if has_nan(case) => Verdict::plain(Kind::NotFinite),
        (Expected::Values(_), Err(error)) => Verdict::failed(Kind::Compared, format!("the oracle says: {error}")),
        (Expected::Values(values), Ok(score)) => numbers(case, values, &score),
    }
}

/// A NaN goes in, or comes out of the published code.
fn has_nan(case: &Case) -> bool {
    let outcome = case.outcome;
    let inputs = [outcome.throughput, outcome.edp_efficiency, outcome.latency, outcome.power, outcome.temperature];
    let missing = [outcome.energy, outcome.entropy];
    inputs.into_iter().chain(missing.into_iter().flatten()).any(f64::is_nan)
        || matches!(case.expected, Expected::Values(values) if values.reward.is_nan())
}

/// The controller's own result. NaN has been refused before; infinities saturate.
fn fixed(case: &Case) -> Result<Reward, RewardError> {
    let convert = |x: f64| if x.is_nan() { Fixed::ZERO } else { Fixed::saturating_from_num(x) };
    let outcome = case.outcome.map(&convert);
    match case.rule? {
        Rule::Unified(rule) => rule.map(&convert).settle(&outcome),
        Rule::Step(rule) => rule.map(&convert).settle(&outcome),
        Rule::EarlyExit(rule) => rule.map(&convert).settle(&outcome),
    }
}

fn numbers(case: &Case, expected: &Values, score: &Score) -> Verdict {
    let mut verdict = Verdict::plain(Kind::Compared);
    let mut failures = Vec::new();
    let largest =
        score.efficiency.abs().max(score.response).max(score.temperature).max(score.power).max(score.quality.abs());
    let mut check = |name: &str, found: Option<f64>, expected: Option<f64>| {
        let (Some(expected), Some(found)) = (expected, found) else { return };
        let apart = (found - expected).abs();
        let error = if apart == 0.0 { 0.0 } else { apart / expected.abs().max(largest * 1e-3) };
        verdict.real_error = verdict.real_error.max(error);
        // A NaN in the file holds nowhere.
        let holds = error <= REAL_LIMIT;
        if !holds {
            failures.push(format!("{name} is {found}, published {expected}"));
        }
    };
    check("the reward", Some(score.total()), Some(expected.reward));
    check("the performance metric", Some(score.efficiency), expected.efficiency);
    check("the penalty", Some(score.penalty()), expected.penalty);
    check("the normalized throughput", Some(score.throughput), expected.throughput);
    check("the normalized energy-delay product", Some(score.edp_efficiency), expected.edp_efficiency);
    check("the share of energy saved", score.energy_saved, expected.energy_saved);
    check("the entropy penalty", Some(score.quality), expected.entropy_penalty);
    check("the penalty for changes", Some(0.0), expected.change_penalty);
    if expected.short_of_headroom.is_some_and(|met| met != (score.headroom <= SWITCH)) {
        failures.push(format!("a headroom of {} is on the other side of the switch", score.headroom));
    }
    match fixed(case) {
        Err(error) => failures.push(format!("fixed point says: {error}")),
        Ok(reward) => in_fixed_point(case.variant, &reward, score, &mut verdict, &mut failures),
    }
    verdict.failure = (!failures.is_empty()).then(|| failures.join("; "));
    verdict
}

fn in_fixed_point(variant: Variant, reward: &Reward, score: &Score, verdict: &mut Verdict, failures: &mut Vec<String>) {
    let unit = |micro: i32| f64::from(micro) / 1e6;
    let parts = reward.components;
    let penalty = [parts.response, parts.temperature, parts.power, parts.quality].map(unit).iter().sum::<f64>();
    let distance = |efficiency: f64| {
        let total = efficiency - score.penalty();
        let pairs = [
            (unit(parts.efficiency), efficiency),
            (unit(parts.response), -score.response),
            (unit(parts.temperature), -score.temperature),
            (unit(parts.power), -score.power),
            (unit(parts.quality), -score.quality),
            (penalty, -score.penalty()),
            (unit(reward.total), total),
        ];
        pairs.into_iter().fold(0.0f64, |worst, (found, expected)| worst.max((found - expected).abs()))
    };
    let (low, high) = (unit(i32::MIN), unit(i32::MAX));
    let beyond = |value: f64| !(low..=high).contains(&value);
    if [score.response, score.temperature, score.power, score.quality, score.total()].into_iter().any(beyond) {
        verdict.kind = Kind::Saturating;
        let end = |found: f64, expected: f64| (found - expected.clamp(low, high)).abs() <= FIXED_LIMIT;
        // Parts saturate one by one, so a total of opposite parts beyond the range has no meaning.
        if !end(unit(parts.quality), -score.quality) || !end(unit(parts.temperature), -score.temperature) {
            failures.push("fixed point does not stand at the end of its range".into());
        }
        return;
    }
    verdict.fixed_error = distance(score.efficiency);
    let at_switch = variant == Variant::Step && (score.headroom - SWITCH).abs() <= SWITCH_RESOLUTION;
    if verdict.fixed_error > FIXED_LIMIT && at_switch {
        let other = distance(if score.headroom <= SWITCH { score.work() } else { score.energy_saved.unwrap_or(0.0) });
        verdict.kind = Kind::AtSwitch;
        verdict.fixed_error = other;
    }
    if verdict.fixed_error > FIXED_LIMIT {
        failures.push(format!("fixed point is off by {:.6}", verdict.fixed_error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::table::Table;

    /// One early-exit case that scores 0 for work and saves half of the energy.
    fn case(changes: &[(&str, &str)]) -> Case {
        let mut cells = vec![
            ("case_id", "1"),
            ("variant", "early_exit"),
            ("in_throughput_raw", "0"),
            ("in_edp_efficiency_raw", "0"),
            ("in_end_to_end_latency", "1"),
            ("in_avg_power", "1"),
            ("in_avg_temp", "100"),
            ("in_slo_target", "15"),
            ("in_max_temp", "100"),
            ("in_max_power", "60"),
            ("in_energy_total", "200"),
            ("in_energy_min", "100"),
            ("in_energy_max", "300"),
            ("in_entropy", ""),
            ("in_num_layers_used", ""),
            ("in_lambda_entropy", ""),
            ("out_reward", ""),
            ("error", ""),
        ];
        for (name, value) in changes {
            cells.iter_mut().find(|(column, _)| column == name).expect("a column of the table").1 = value;
        }
        let line = |pick: fn(&(&'static str, &str)) -> String, cells: &[(&'static str, &str)]| {
            cells.iter().map(pick).collect::<Vec<_>>().join(",")
        };
        let names = line(|cell| cell.0.to_owned(), &cells.iter().map(|c| (c.0, "")).collect::<Vec<_>>());
        let values = cells.iter().map(|cell| cell.1).collect::<Vec<_>>().join(",");
        let table = Table::parse(&format!("{names}\n{values}\n"), &[]).unwrap();
        let case = Case::read(&table.rows().next().unwrap());
        case.unwrap()
    }

    /// (1 - a)/2 with a = 1/(1 + e^3.3).
    const HALF_SAVED: &str = "0.48221440536368193";

    #[test]
    fn right_and_wrong_numbers_are_told_apart() {
        let good = judge(&case(&[("out_reward", HALF_SAVED)]));
        assert_eq!((good.kind, &good.failure), (Kind::Compared, &None), "{good:?}");
        assert!(good.fixed_error < 1e-5);
        let bad = judge(&case(&[("out_reward", "0.48221440536468193")]));
        assert!(bad.failure.is_some_and(|why| why.contains("published 0.482214405364")));
        assert!(judge(&case(&[("out_reward", "nan")])).failure.is_some());
    }

    #[test]
    fn errors_must_be_errors_on_both_sides() {
        let raised = ("error", "ZeroDivisionError");
        assert_eq!(judge(&case(&[("in_energy_min", "300"), raised])), Verdict::plain(Kind::Error));
        assert_eq!(judge(&case(&[("in_energy_max", ""), raised])), Verdict::plain(Kind::Error));
        assert_eq!(judge(&case(&[("in_entropy", "1"), raised])), Verdict::plain(Kind::Error));
        assert!(judge(&case(&[raised])).failure.is_some());
        assert!(judge(&case(&[("in_energy_total", ""), ("out_reward", "1")])).failure.is_some());
    }

    #[test]
    fn nan_is_refused_and_saturation_stands_at_the_end() {
        assert_eq!(judge(&case(&[("in_avg_temp", "nan"), ("out_reward", "nan")])).kind, Kind::NotFinite);
        let huge = [("in_entropy", "9"), ("in_num_layers_used", "16"), ("in_lambda_entropy", "1e6")];
        let mut cells = huge.to_vec();
        // λ · 2.5 e^-2 (e² - 1) below the half that is saved.
        let reward = format!("{:.17e}", 0.482_214_405_363_681_93 - 1e6 * (2.5 * (-2f64).exp()) * (2f64.exp() - 1.0));
        cells.push(("out_reward", &reward));
        let verdict = judge(&case(&cells));
        assert_eq!((verdict.kind, verdict.failure), (Kind::Saturating, None));
    }
}
