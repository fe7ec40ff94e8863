//! What fewer layers do to the answers, and to the speed.

use super::table::{DEPTH, PERPLEXITY, Table};
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Shape};

/// A panel over depth: title, unit, names of its column.
type Row = (&'static str, &'static str, &'static [&'static str]);

const PANELS: [Row; 3] = [
    ("Entropy of the next token (lower: more confident)", "nats", &["mean_entropy_nats", "entropy", "avg_entropy"]),
    ("Right answers (higher is better)", "share or %", &["accuracy", "arc_easy_pct"]),
    ("Speed (higher is better)", "tokens/s", &["tok_per_s", "tokens_per_s", "decode_throughput"]),
];

/// The figure of one or several tables; several models of one table are told by a column `model`.
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
    let mut trade_off = Panel::new("Perplexity against speed", Axis::new("tokens/s"), Axis::log("perplexity"))
        .or("no speeds in this file");
    for (model, rows, table) in models(tables) {
        let points = of_rows(table, &rows, PANELS[2].2, PERPLEXITY);
        if !points.is_empty() {
            trade_off = trade_off.with(&model, Shape::Marked(points));
        }
    }
    let mut panels = vec![panel("Perplexity (lower is better)", Axis::log("perplexity"), PERPLEXITY)];
    panels.extend(PANELS.iter().map(|(title, unit, names)| panel(title, Axis::new(unit), names)));
    panels.push(trade_off);
    Sheet {
        title: "Depth: quality and speed".to_owned(),
        columns: 3,
        panel_size: (400, 250),
        shared_legend: models(tables).len() > 1,
        panels,
        ..Sheet::default()
    }
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
