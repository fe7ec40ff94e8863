//! The golden file: states and what was chosen in them.

use crate::verify::table::{Row, Table, TableError};
use controller_core::observation::MAX_FEATURES;

/// One of the most probable actions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its place in the action table.
    pub action: usize,
    /// Its log-probability; absent where the file does not say.
    pub log_probability: Option<f64>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Its name: the column `row`, or its number from 0.
    pub row: String,
    /// The state.
    pub state: Vec<f64>,
    /// The most probable action, and those after it that the file names.
    pub ranking: Vec<Ranked>,
    /// Logit of the most probable action.
    pub max_logit: Option<f64>,
    /// Entropy, nats.
    pub entropy: Option<f64>,
    /// Log-probability of the chosen action as logged on the board, in f32.
    pub logged: Option<f64>,
}

/// The columns of the ranking: action and log-probability.
const RANKING: [(&str, &str); 3] =
    [("argmax_action", "log_prob_f64"), ("second_action", "second_log_prob"), ("third_action", "third_log_prob")];

/// Reads the rows of a table that has `s0` and `argmax_action`.
pub(super) fn read(table: &Table) -> Result<Vec<Golden>, TableError> {
    let states = (0..MAX_FEATURES).map(|number| format!("s{number}"));
    let states: Vec<String> = states.take_while(|name| table.has(name)).collect();
    table.rows().enumerate().map(|(number, row)| golden(number, &row, &states)).collect()
}

fn golden(number: usize, row: &Row<'_>, states: &[String]) -> Result<Golden, TableError> {
    let finite = |column: &str| match row.number(column)? {
        Some(value) if !value.is_finite() => Err(row.wrong(column, "a finite number")),
        value => Ok(value),
    };
    let state = states.iter().map(|name| finite(name)?.ok_or_else(|| row.wrong(name, "a finite number")));
    let state: Vec<f64> = state.collect::<Result<_, TableError>>()?;
    let mut ranking = Vec::new();
    for (action, log_probability) in RANKING {
        let index = row.whole(action)?.map(usize::try_from).transpose().map_err(|_| row.wrong(action, "an action"))?;
        match index {
            Some(action) => ranking.push(Ranked { action, log_probability: finite(log_probability)? }),
            None if ranking.is_empty() => return Err(row.wrong(action, "an action")),
            None => break,
        }
    }
    Ok(Golden {
        row: row.text("row").map_or_else(|| number.to_string(), str::to_owned),
        state,
        ranking,
        max_logit: finite("max_logit")?,
        entropy: finite("entropy_f64")?,
        logged: finite("logged_log_prob")?,
    })
}
