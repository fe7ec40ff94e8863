//! What control costs: every second and joule of a method by its part, and the methods beside each other.

use crate::dataset::table::Table;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Shape};

/// Name and columns of a part.
type Names = (&'static str, &'static str, &'static str);

/// Parts of a method's time: name, column of its seconds, column of its joules.
const PARTS: [Names; 10] = [
    ("inference", "inference_time_sec", "inference_energy_j"),
    ("gap", "gap_time_sec", "gap_energy_j"),
    ("telemetry", "telemetry_time_sec", "telemetry_energy_j"),
    ("observe", "observation_time_sec", "observation_energy_j"),
    ("decide", "decision_time_sec", "decision_energy_j"),
    ("pretrain", "pretraining_time_sec", "pretraining_energy_j"),
    ("sample", "sampling_time_sec", "sampling_energy_j"),
    ("update", "update_time_sec", "update_energy_j"),
    ("actuate", "actuation_time_sec", "actuation_energy_j"),
    ("other", "other_time_sec", "other_energy_j"),
];

/// The figure.
#[must_use]
pub fn sheet(table: &Table) -> Sheet {
    let methods = table.text("method").unwrap_or_default();
    let names: Vec<String> = PARTS.iter().map(|(name, _, _)| (*name).to_owned()).collect();
    let parts = |title: &str, unit: &str, value: &dyn Fn(usize, &Names) -> f64| {
        let mut panel = Panel::new(title, Axis::names("", names.clone()), Axis::log(unit));
        for (row, method) in methods.iter().enumerate() {
            let bars = (0u32..).map(f64::from).zip(&PARTS).map(|(place, part)| (place, value(row, part), f64::NAN));
            let bars = bars.filter(|(_, height, _)| *height > 0.0).collect();
            panel = panel.with(method, Shape::Bars { bars, written: false });
        }
        panel
    };
    let cell = |row: usize, name: &str| table.column(name).map_or(f64::NAN, |column| column[row]);
    let totals = |title: &str, unit: &str, column: &str| {
        let bars =
            (0u32..).map(f64::from).zip(0..methods.len()).map(|(place, row)| (place, cell(row, column), f64::NAN));
        let bars: Vec<_> = bars.filter(|(_, height, _)| *height > 0.0).collect();
        Panel::new(title, Axis::names("", methods.to_vec()), Axis::log(unit))
            .with_unnamed(0, Shape::Bars { bars, written: true })
    };
    let share = |row: usize, column: &str, total: &str| 100.0 * cell(row, column) / cell(row, total);
    Sheet {
        title: "What control costs beside inference and beside a grid search".to_owned(),
        columns: 2,
        panel_size: (600, 250),
        panels: vec![
            parts("Time by part", "s", &|row, part| cell(row, part.1)),
            parts("Time by part, share of the whole", "%", &|row, part| share(row, part.1, "total_time_sec")),
            parts("Energy by part", "J", &|row, part| cell(row, part.2)),
            parts("Energy by part, share of the whole", "%", &|row, part| share(row, part.2, "total_energy_j")),
            totals("Time of all evaluations", "s", "total_time_sec"),
            totals("Energy of all evaluations", "J", "total_energy_j"),
            totals("Control per evaluation", "ms", "control_per_eval_ms"),
            totals("Control, share of the time", "%", "overhead_percentage"),
        ],
        ..Sheet::default()
    }
}
