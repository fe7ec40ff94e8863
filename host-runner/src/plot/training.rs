//! Twelve panels over the steps of a training or a deployment, raw in pale and as a moving average.

use crate::dataset::table::{BATCH, LATENCY, Table};
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Rule, Shape};

/// A panel over the steps: title, unit, names of its column.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Panels of an early-exit training, in the published order.
const EARLY_EXIT: [Row; 12] = [
    ("Model entropy (lower: more confident)", "nats", &["entropy", "avg_entropy"]),
    ("Latency (lower is better)", "s", LATENCY),
    ("Layers used", "layers", &["num_layers", "depth"]),
    ("Device temperature", "°C", &["temperature"]),
    ("Reward (higher is better)", "reward", &["reward"]),
    ("Entropy penalty (lower is better)", "reward", &["entropy_penalty"]),
    ("Prefill clock", "index", &["prefill_freq"]),
    ("Decode clock", "index", &["decode_freq"]),
    ("Batch size", "sequences", BATCH),
    ("Latency per token (lower is better)", "s/token", &["per_token_latency"]),
    ("Decode latency (lower is better)", "s", &["decode_latency"]),
    ("Decode throughput (higher is better)", "tokens/s", &["decode_throughput", "throughput"]),
];

/// Panels of an online training or a deployment; the twelfth is batch against temperature.
const ONLINE: [Row; 11] = [
    ("Device temperature", "°C", &["temperature"]),
    ("Latency (lower is better)", "s", LATENCY),
    ("Latency per token (lower is better)", "s/token", &["per_token_latency"]),
    ("Energy per batch (lower is better)", "J", &["energy"]),
    ("Energy-delay product (lower is better)", "J s", &["edp"]),
    ("Power", "W", &["power", "avg_power"]),
    ("Throughput (higher is better)", "tokens/s", &["throughput_raw", "throughput"]),
    ("Prefill clock", "index", &["prefill_freq"]),
    ("Decode clock", "index", &["decode_freq"]),
    ("Batch size", "sequences", BATCH),
    ("Reward (higher is better)", "reward", &["reward"]),
];

/// What only our own trainings log, below the twelve.
const OURS: [Row; 3] = [
    ("Layers used", "layers", &["num_layers"]),
    ("Energy per generated token (lower is better)", "J/token", &["energy_per_token"]),
    ("Fan duty", "0 to 255", &["fan_pwm"]),
];

/// Window of the moving average: a tenth of the steps, at most 50, as published.
#[must_use]
pub fn window(steps: usize) -> usize {
    (steps / 10).min(50)
}

/// The figure.
#[must_use]
pub fn sheet(table: &Table) -> Sheet {
    let window = window(table.rows());
    // The published early-exit log has no energy.
    let early_exit = table.column("num_layers").is_some() && table.column("energy").is_none();
    let rows: &[Row] = if early_exit { &EARLY_EXIT } else { &ONLINE };
    let name = format!("moving average of {window} steps");
    let steps = || Axis::new("step");
    let over_steps = |(title, unit, names): &Row| {
        let points = series(table, names);
        let panel = Panel::new(title, steps(), Axis::new(unit)).with_mean(&name, &points, window);
        match limit(table).filter(|_| names.contains(&"temperature")) {
            Some(limit) => panel.ruled(Rule::Across(limit, format!("limit {limit:.0} °C"))),
            None => panel,
        }
    };
    let mut panels: Vec<Panel> = rows.iter().map(over_steps).collect();
    if !early_exit {
        panels.push(against_temperature(table));
        let logged = |row: &&Row| table.any(row.2).is_some();
        panels.extend(OURS.iter().filter(logged).map(over_steps));
    }
    Sheet {
        title: if early_exit { "Training over time, early exit" } else { "Training over time" }.to_owned(),
        columns: 3,
        panel_size: (400, 215),
        shared_legend: true,
        panels,
        ..Sheet::default()
    }
}

/// A column over the row, which is the step of the whole file.
fn series(table: &Table, names: &[&str]) -> Vec<(f64, f64)> {
    let over_rows = |values: Vec<f64>| (0u32..).map(f64::from).zip(values).filter(|(_, y)| y.is_finite()).collect();
    if let Some(values) = table.any(names) {
        return over_rows(values.to_vec());
    }
    // The energy-delay product and, where every sequence decodes 100 tokens, the throughput follow from other columns.
    let both = |a: &[&str], b: &[&str], f: &dyn Fn(f64, f64) -> f64| match (table.any(a), table.any(b)) {
        (Some(a), Some(b)) => over_rows(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()),
        _ => vec![],
    };
    match names {
        ["edp"] => both(&["energy"], LATENCY, &|energy, latency| energy * latency),
        ["decode_throughput", ..] => {
            both(BATCH, &["decode_latency"], &|batch, latency| PUBLISHED_STEPS * batch / latency)
        }
        _ => vec![],
    }
}

/// New tokens per sequence in every published log.
const PUBLISHED_STEPS: f64 = 100.0;

fn limit(table: &Table) -> Option<f64> {
    table.column("max_temp").and_then(|limits| limits.iter().copied().find(|limit| limit.is_finite()))
}

fn against_temperature(table: &Table) -> Panel {
    let columns = (table.column("temperature"), table.any(BATCH), table.column("reward"));
    let (Some(temperature), Some(batch), Some(reward)) = columns else {
        return Panel::new("Batch against temperature", Axis::new("°C"), Axis::new("sequences"));
    };
    let points = temperature.iter().zip(batch).zip(reward).map(|((t, b), r)| (*t, *b, *r));
    let points = points.filter(|(t, b, r)| t.is_finite() && b.is_finite() && r.is_finite()).collect();
    Panel::new("Batch against temperature", Axis::new("temperature, °C"), Axis::new("sequences"))
        .with_unnamed(0, Shape::Shaded { points, label: "reward".to_owned() })
}
