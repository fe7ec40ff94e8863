//! Fixed settings and policies with the fan off: where each begins to throttle, and what it then delivers.

use crate::dataset::table::Table;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Rule, Shape, moving_average};

/// A panel over time: title, unit, name of its column, factor.
type Row = (&'static str, &'static str, &'static str, f64);

const REQUESTS: [Row; 8] = [
    ("Junction temperature", "°C", "decode_TJ_TEMP", 1.0),
    ("Latency of a batch (lower is better)", "s", "request_latency_sec", 1.0),
    ("Latency per token (lower is better)", "ms", "decode_latency_ms", 1.0),
    ("Decode throughput (higher is better)", "tokens/s", "decode_throughput", 1.0),
    ("Decode clock asked for", "index", "decode_freq_bin", 1.0),
    ("GPU clock that ran", "MHz", "gpu_clock_mhz", 1.0),
    ("Batch", "sequences", "effective_batch_size", 1.0),
    ("Power while decoding", "W", "decode_TOTAL_POWER", 1.0),
];

const TRACE: [Row; 3] = [
    ("Junction temperature", "°C", "tj_temp_c", 1.0),
    ("GPU clock", "MHz", "gpu_freq_mhz", 1.0),
    ("Power of all rails, mean of 20 samples", "W", "total_power_w", 1.0),
];
/// Samples over which the power of a trace is averaged: it jumps between batch and gap.
const SAMPLES: usize = 20;

/// Request by request; timestamps are nanoseconds.
#[must_use]
pub fn requests(runs: &[&Table]) -> Sheet {
    figure("Requests with the fan off", runs, &REQUESTS, 1e-9)
}

/// As sampled; timestamps are seconds.
#[must_use]
pub fn trace(runs: &[&Table]) -> Sheet {
    let sheet = figure("Trace with the fan off", runs, &TRACE, 1.0);
    Sheet { columns: 1, panel_size: (1000, 220), ..sheet }
}

fn figure(title: &str, runs: &[&Table], rows: &[Row], second: f64) -> Sheet {
    let starts: Vec<f64> = runs.iter().map(|run| start(run) * second).collect();
    let fan_off = runs.iter().zip(&starts).find_map(|(run, start)| Some(fan_off(run)? * second - start));
    let panel = |(title, unit, name, factor): &Row| {
        let mut panel = Panel::new(title, Axis::new("time, s"), Axis::new(unit));
        for (run, start) in runs.iter().zip(&starts) {
            let points = run.points(&["timestamp"], &[name]);
            let points = points.into_iter().map(|(time, value)| (time * second - start, value * factor));
            let mut points: Vec<(f64, f64)> = points.collect();
            if *name == "total_power_w" {
                points = moving_average(&points, SAMPLES);
            }
            let settings = matches!(*unit, "index" | "sequences");
            panel = panel.with(&name_of(run), if settings { Shape::Steps(points) } else { Shape::Line(points) });
        }
        if *unit == "°C" {
            panel = panel.ruled(Rule::Across(95.0, "limit 95 °C".to_owned()));
        }
        match fan_off {
            Some(at) => panel.ruled(Rule::At(at, "fan off".to_owned())),
            None => panel,
        }
    };
    Sheet {
        title: title.to_owned(),
        columns: 2,
        panel_size: (560, 205),
        shared_legend: true,
        panels: rows.iter().map(panel).collect(),
        ..Sheet::default()
    }
}

fn start(run: &Table) -> f64 {
    let times = run.column("timestamp").unwrap_or_default();
    times.iter().copied().find(|time| time.is_finite()).unwrap_or(0.0)
}

/// When the fan stops, in the file's unit of time, where the file says it.
fn fan_off(run: &Table) -> Option<f64> {
    let (times, working) = (run.column("timestamp")?, run.column("fan_working")?);
    times.iter().zip(working).find(|(_, working)| **working < 0.5).map(|(time, _)| *time)
}

/// The governor, where the file says it; else the file.
fn name_of(run: &Table) -> String {
    let named = run.text("governor").and_then(|names| names.first()).filter(|name| !name.is_empty());
    named.cloned().unwrap_or_else(|| run.stem().to_owned())
}
