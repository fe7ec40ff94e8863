//! What the predictions are, how far they are off, and whether they put the power modes in the right order.

use super::board::Roofline;
use super::points::{Answer, Measured, Phase, Point, PointsError};
use crate::measure::percentile::median;
use crate::report::table::{Table, number};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Highest median error, percent.
pub const MEDIAN_LIMIT_PCT: f64 = 10.0;
/// Two modes closer than this in the measurement have no order.
const TIE: f64 = 0.005;

/// Errors of one quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Rows compared.
    pub rows: usize,
    /// Median absolute error, percent of the measurement.
    pub median_pct: f64,
    /// Largest absolute error, percent.
    pub worst_pct: f64,
    /// Median error, percent; positive: the prediction is higher.
    pub bias_pct: f64,
}

/// Order of the modes of one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// The workload.
    pub workload: String,
    /// Quantity.
    pub quantity: &'static str,
    /// Modes from the best to the worst, measured.
    pub measured: Vec<String>,
    /// The same, predicted.
    pub predicted: Vec<String>,
    /// Every pair with a measured difference stands the same way round.
    pub right: bool,
}

/// Everything `energyllm verify plant --points` prints.
#[derive(Clone, Debug)]
pub struct PointsReport<'a> {
    /// By row of the file.
    pub answers: Vec<Answer<'a>>,
    /// Errors by quantity, of those that the file has measured.
    pub errors: BTreeMap<&'static str, Errors>,
    /// Orders of the modes, where a workload was measured in at least two.
    pub rankings: Vec<Ranking>,
}

/// A quantity by name, and how it is got.
type Quantity = (&'static str, fn(&Measured) -> Option<f64>);

const QUANTITIES: [Quantity; 4] = [
    ("tokens_per_s", |m| m.tokens_per_s),
    ("power_w", |m| m.power_w),
    ("tokens_per_j", |m| m.tokens_per_j),
    ("prefill_tokens_per_s", |m| m.prefill_tokens_per_s),
];
/// The quantities that modes are ranked by: more is better.
const RANKED: [usize; 2] = [0, 2];

/// Predicts every point and compares where there is something to compare with.
///
/// # Errors
/// A board or mode that nobody knows.
pub fn answer<'a>(points: &'a [Point], boards: &[Roofline]) -> Result<PointsReport<'a>, PointsError> {
    let answers: Vec<Answer<'a>> = points.iter().map(|point| point.answer(boards)).collect::<Result<_, _>>()?;
    let errors = QUANTITIES.iter().filter_map(|(name, of)| Some((*name, errors(&answers, *of)?))).collect();
    let rankings = RANKED.iter().flat_map(|&place| rankings(&answers, QUANTITIES[place])).collect();
    Ok(PointsReport { answers, errors, rankings })
}

fn errors(answers: &[Answer], of: fn(&Measured) -> Option<f64>) -> Option<Errors> {
    let error = |answer: &Answer| Some(of(&answer.predicted())? / of(&answer.point.measured)? - 1.0);
    let signed: Vec<f64> = answers.iter().filter_map(error).collect();
    let sizes: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
    Some(Errors {
        rows: sizes.len(),
        worst_pct: 100.0 * sizes.iter().copied().fold(0.0, f64::max),
        median_pct: 100.0 * median(sizes)?,
        bias_pct: 100.0 * median(signed)?,
    })
}

fn rankings(answers: &[Answer], (quantity, of): Quantity) -> Vec<Ranking> {
    let mut groups: BTreeMap<String, Vec<(String, f64, f64)>> = BTreeMap::new();
    for answer in answers {
        if let (Some(predicted), Some(measured)) = (of(&answer.predicted()), of(&answer.point.measured)) {
            let group = groups.entry(answer.point.workload()).or_default();
            group.push((answer.point.power_mode.clone(), measured, predicted));
        }
    }
    let rank = |(workload, group): (String, Vec<(String, f64, f64)>)| {
        let order = |value: fn(&(String, f64, f64)) -> f64| {
            let mut sorted = group.clone();
            sorted.sort_by(|a, b| value(b).total_cmp(&value(a)));
            sorted.into_iter().map(|(mode, ..)| mode).collect::<Vec<_>>()
        };
        let pairs = group.iter().flat_map(|a| group.iter().map(move |b| (a, b)));
        let right = pairs.filter(|(a, b)| a.1 > b.1 * (1.0 + TIE)).all(|(a, b)| a.2 > b.2);
        Ranking { workload, quantity, measured: order(|row| row.1), predicted: order(|row| row.2), right }
    };
    groups.into_iter().filter(|(_, group)| group.len() > 1).map(rank).collect()
}

impl PointsReport<'_> {
    /// Median errors within [`MEDIAN_LIMIT_PCT`] and every ranking right, as far as the file has measurements.
    #[must_use]
    pub fn pass(&self) -> bool {
        let judged = ["tokens_per_s", "tokens_per_j"];
        let close =
            judged.iter().filter_map(|name| self.errors.get(name)).all(|errors| errors.median_pct <= MEDIAN_LIMIT_PCT);
        close && self.rankings.iter().all(|ranking| ranking.right)
    }

    /// Figures for machines.
    #[must_use]
    pub fn figures(&self) -> Map<String, Value> {
        let mut figures = Map::new();
        figures.insert("points".to_owned(), json!(self.answers.len()));
        for (name, Errors { rows, median_pct, worst_pct, bias_pct }) in &self.errors {
            figures.insert(format!("{name}_compared"), json!(rows));
            figures.insert(format!("{name}_median_error_pct"), json!(median_pct));
            figures.insert(format!("{name}_worst_error_pct"), json!(worst_pct));
            figures.insert(format!("{name}_bias_pct"), json!(bias_pct));
        }
        figures.insert("rankings".to_owned(), json!(self.rankings.len()));
        let right = self.rankings.iter().filter(|ranking| ranking.right).count();
        figures.insert("rankings_right".to_owned(), json!(right));
        figures
    }

    /// One row per point: what was asked, what is predicted, and the errors where it was measured.
    #[must_use]
    pub fn rows(&self) -> Vec<Value> {
        self.answers.iter().map(row).collect()
    }
}

fn row(answer: &Answer) -> Value {
    let (point, predicted) = (answer.point, answer.predicted());
    let p = &answer.prediction;
    let mut row = Map::new();
    for (name, value) in [
        ("line", json!(point.line)),
        ("model", json!(point.model)),
        ("parameters", json!(point.parameters)),
        ("quantization_bits", json!(point.load.quantization.body_bits)),
        ("board", json!(point.board)),
        ("power_mode", json!(point.power_mode)),
        ("prompt_tokens", json!(point.prompt_tokens)),
        ("output_tokens", json!(point.output_tokens)),
        ("phase", json!(point.phase)),
        ("tokens_per_s", json!(predicted.tokens_per_s)),
        ("power_w", json!(predicted.power_w)),
        ("tokens_per_j", json!(predicted.tokens_per_j)),
        ("prefill_tokens_per_s", json!(predicted.prefill_tokens_per_s)),
        ("request_tokens_per_s", json!(p.tokens_per_s)),
        ("request_power_w", json!(p.power_w)),
        ("request_tokens_per_j", json!(p.tokens_per_j)),
        ("decode_tokens_per_s", json!(p.decode_tokens_per_s)),
        ("decode_power_w", json!(p.decode_power_w)),
        ("decode_tokens_per_j", json!(p.decode_tokens_per_j)),
        ("prefill_s", json!(p.prefill_s)),
        ("decode_s", json!(p.decode_s)),
    ] {
        row.insert(name.to_owned(), value);
    }
    for (name, of) in QUANTITIES {
        if let (Some(predicted), Some(measured)) = (of(&predicted), of(&point.measured)) {
            row.insert(format!("measured_{name}"), json!(measured));
            row.insert(format!("{name}_error_pct"), json!(100.0 * (predicted / measured - 1.0)));
        }
    }
    Value::Object(row)
}

impl fmt::Display for PointsReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            "model",
            "bits",
            "board",
            "mode",
            "prompt",
            "output",
            "phase",
            "tokens/s",
            "W",
            "tokens/J",
            "tokens/s err %",
            "W err %",
            "tokens/J err %",
        ]);
        for answer in &self.answers {
            let (point, predicted) = (answer.point, answer.predicted());
            let error = |of: fn(&Measured) -> Option<f64>| {
                let percent = |(p, m): (f64, f64)| 100.0 * (p / m - 1.0);
                of(&predicted).zip(of(&point.measured)).map(percent).map_or("-".to_owned(), |e| format!("{e:+.1}"))
            };
            table.row([
                point.model.clone(),
                format!("{:.2}", point.load.quantization.body_bits),
                point.board.clone(),
                point.power_mode.clone(),
                format!("{}", point.prompt_tokens),
                format!("{}", point.output_tokens),
                match point.phase {
                    Phase::Request => "request".to_owned(),
                    Phase::Decode => "decode".to_owned(),
                },
                number(predicted.tokens_per_s, 2),
                number(predicted.power_w, 2),
                number(predicted.tokens_per_j, 3),
                error(|m| m.tokens_per_s),
                error(|m| m.power_w),
                error(|m| m.tokens_per_j),
            ]);
        }
        writeln!(f, "{table}")?;
        for (name, Errors { rows, median_pct, worst_pct, bias_pct }) in &self.errors {
            writeln!(
                f,
                "{name}: median error {median_pct:.1} %, worst {worst_pct:.1} %, bias {bias_pct:+.1} % over {rows} rows"
            )?;
        }
        for Ranking { workload, quantity, measured, predicted, right } in &self.rankings {
            let verdict = if *right { "right" } else { "WRONG" };
            let (measured, predicted) = (measured.join(" > "), predicted.join(" > "));
            writeln!(f, "{quantity} of {workload}: {verdict}, measured {measured}, predicted {predicted}")?;
        }
        if self.errors.is_empty() {
            return write!(f, "no measured columns: nothing to compare with");
        }
        write!(f, "{}", if self.pass() { "pass" } else { "FAIL" })
    }
}
