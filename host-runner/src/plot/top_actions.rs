//! The best settings of a grid by reward, and what they cost.

use crate::dataset::grid::{Grid, Row};
use crate::dataset::table::Table;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Shape};

/// How many are shown.
const TOP: usize = 10;
/// How many are named in the scatter.
const NAMED: usize = 3;

/// The figure.
#[must_use]
pub fn sheet(table: &Table) -> Sheet {
    let grid = Grid::of(table);
    let mut settings = grid.settings();
    settings.sort_by(|a, b| b.2.reward.total_cmp(&a.2.reward));
    let top = &settings[..settings.len().min(TOP)];
    let name = |[prefill, decode, batch]: [i64; 3]| format!("{prefill},{decode},{batch}");
    let names: Vec<String> = top.iter().map(|(key, _, _)| name(*key)).collect();
    let bars = |title: &str, unit: &str, value: &dyn Fn(&Row) -> f64| {
        let bars = (0u32..).map(f64::from).zip(top).map(|(place, (_, _, row))| (place, value(row), f64::NAN));
        let axis = Axis::names("clock of prefill, of decode, batch; best first", names.clone());
        Panel::new(title, axis, Axis::new(unit).from_zero())
            .with_unnamed(0, Shape::Bars { bars: bars.collect(), written: true })
    };
    let all: Vec<(f64, f64, f64)> =
        settings.iter().map(|(_, _, row)| (row.throughput(), row.reward, row.batch)).collect();
    let labels = top.iter().take(1).map(|(key, _, row)| (row.throughput(), row.reward, name(*key)));
    let marked: Vec<(f64, f64)> = top.iter().take(NAMED).map(|(_, _, row)| (row.throughput(), row.reward)).collect();
    let scatter = Panel::new(
        &format!("All settings; the best {NAMED} marked, the first named"),
        Axis::new("tokens/s"),
        Axis::new("reward"),
    )
    .with_unnamed(0, Shape::Shaded { points: all, label: "batch".to_owned() })
    .with_unnamed(1, Shape::Dots(marked))
    .with_unnamed(1, Shape::Names(labels.collect()));
    Sheet {
        title: format!("The {} best of {} settings by mean reward", top.len(), settings.len()),
        columns: 2,
        panel_size: (580, 235),
        panels: vec![
            bars("Reward (higher is better)", "reward", &|row| row.reward),
            bars("Latency (lower is better)", "s", &|row| row.latency_s),
            bars("Throughput (higher is better)", "tokens/s", &Row::throughput),
            bars("Power (lower is better)", "W", &|row| row.power_w),
            bars("Temperature (lower is better)", "°C", &|row| row.temperature_c),
            scatter,
        ],
        ..Sheet::default()
    }
}
