//! The figure of an experiment: mean cumulative regret over pulls.

use super::experiment::Searches;
use crate::report::figure::{Figure, Line, Panel};

/// Algorithms that know how arms go together, shown once more by themselves.
const STRUCTURED: usize = 5;
/// Algorithms shown; random choice would hide all others.
const SHOWN: usize = 8;

/// One line per algorithm.
#[must_use]
pub fn of_searches(searches: &[Searches], place: &str) -> Figure {
    let line = |search: &Searches| Line {
        name: search.algorithm.to_string(),
        points: (1..).map_while(|pull| Some((pull as f64, search.mean_regret(pull)?))).collect(),
    };
    let panel = |label: &str, count: usize| Panel {
        label: label.to_owned(),
        lines: searches.iter().take(count).map(line).collect(),
        limit: None,
        steps: false,
    };
    Figure {
        title: format!("energyllm search replay: {place}"),
        time_label: "pulls".to_owned(),
        panels: vec![panel("mean regret", SHOWN), panel("the best five", STRUCTURED)],
        mark: None,
    }
}
