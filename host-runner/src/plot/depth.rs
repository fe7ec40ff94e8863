//! What fewer layers do to the answers, and to the speed.

use crate::dataset::table::{DEPTH, PERPLEXITY, Table};
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Shape};
use std::collections::BTreeMap;

/// A panel over depth: title, unit, names of its column.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Names of the speed.
const SPEED: &[&str] = &["tok_per_s", "tokens_per_s"];

const ENTROPY: Row =
    ("Entropy of the next token (lower: more confident)", "nats", &["mean_entropy_nats", "entropy", "avg_entropy"]);
/// The first one that a file has: a share of our own files, per cent of the published ones.
const RIGHT: [Row; 2] = [
    ("Right answers (higher is better)", "share", &["accuracy"]),
    ("Right answers (higher is better)", "%", &["arc_easy_pct"]),
];

/// The figure of one or several tables; several models of one table are told by a column `model`. A sweep over depths among
/// them gives the speed.
#[must_use]
pub fn sheet(tables: &[&Table]) -> Sheet {
    let panel = |title: &str, y: Axis, names: &[&str]| {
        let mut panel = Panel::new(title, Axis::new("exit layer"), y);
        for (model, rows, table) in models(tables) {
            let points = of_rows(table, &rows, DEPTH, names);
            if !points.is_empty() {
                panel = panel.with(&model, Shape::Marked(points));
            }
        }
        panel
    };
    let mut speed = Panel::new("Speed (higher is better)", Axis::new("exit layer"), Axis::new("tokens/s"))
        .or("no speeds in this file; add a sweep over depths with --also");
    let mut trade_off = Panel::new("Perplexity against speed", Axis::new("tokens/s"), Axis::log("perplexity"))
        .or("no speeds in this file; add a sweep over depths with --also");
    let swept = tables.iter().map(|table| swept(table)).find(|points| !points.is_empty()).unwrap_or_default();
    if !swept.is_empty() {
        speed = speed.with("sweep", Shape::Marked(swept.clone()));
    }
    for (model, rows, table) in models(tables) {
        let own = of_rows(table, &rows, DEPTH, SPEED);
        if !own.is_empty() {
            speed = speed.with(&model, Shape::Marked(own.clone()));
        }
        let speeds = if own.is_empty() { &swept } else { &own };
        let at = |depth: f64| speeds.iter().find(|(other, _)| (other - depth).abs() < 0.5).map(|(_, speed)| *speed);
        let points = of_rows(table, &rows, DEPTH, PERPLEXITY);
        let points: Vec<(f64, f64)> =
            points.into_iter().filter_map(|(depth, perplexity)| Some((at(depth)?, perplexity))).collect();
        if !points.is_empty() {
            trade_off = trade_off.with(&model, Shape::Marked(points));
        }
    }
    let mut panels = vec![panel("Perplexity (lower is better)", Axis::log("perplexity"), PERPLEXITY)];
    let has = |(.., names): &&Row| tables.iter().any(|table| table.any(names).is_some());
    let right = RIGHT.iter().find(has).unwrap_or(&RIGHT[0]);
    panels.extend([&ENTROPY, right].map(|(title, unit, names)| panel(title, Axis::new(unit), names)));
    panels.extend([speed, trade_off]);
    Sheet {
        title: "Depth: quality and speed".to_owned(),
        columns: 3,
        panel_size: (400, 250),
        panels,
        ..Sheet::default()
    }
}

/// Tokens per second by depth of a sweep, in the mean over its settings.
fn swept(table: &Table) -> Vec<(f64, f64)> {
    let (Some(depths), Some(tokens), Some(seconds)) =
        (table.any(DEPTH), table.column("num_decode_tokens"), table.column("decode_time"))
    else {
        return vec![];
    };
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for ((depth, tokens), seconds) in depths.iter().zip(tokens).zip(seconds) {
        if depth.is_finite() && tokens / seconds > 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "some layers")]
            let sum = sums.entry(depth.round() as i64).or_default();
            *sum = (sum.0 + tokens / seconds, sum.1 + 1.0);
        }
    }
    sums.into_iter().map(|(depth, (sum, count))| (depth as f64, sum / count)).collect()
}

/// Every model with its rows.
fn models<'a>(tables: &[&'a Table]) -> Vec<(String, Vec<usize>, &'a Table)> {
    let mut models: Vec<(String, Vec<usize>, &Table)> = Vec::new();
    for table in tables {
        for row in 0..table.rows() {
            let name = table.text("model").map_or_else(|| table.stem().to_owned(), |names| names[row].clone());
            match models.iter_mut().find(|(other, _, of)| *other == name && std::ptr::eq(*of, *table)) {
                Some((_, rows, _)) => rows.push(row),
                None => models.push((name, vec![row], table)),
            }
        }
    }
    models
}

fn of_rows(table: &Table, rows: &[usize], x: &[&str], y: &[&str]) -> Vec<(f64, f64)> {
    let (Some(xs), Some(ys)) = (table.any(x), table.any(y)) else { return vec![] };
    let points = rows.iter().map(|row| (xs[*row], ys[*row]));
    points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}
