//! Named settings of a grid beside each other: the lowest, the highest, the published best, and the best of this grid.

use crate::dataset::grid::{Grid, Row};
use crate::dataset::table::Table;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Shape};

/// The published best setting: clock of prefill, of decode, batch.
const PUBLISHED: [i64; 3] = [7, 6, 32];

/// The figure.
#[must_use]
pub fn sheet(table: &Table) -> Sheet {
    let grid = Grid::of(table);
    let chosen = choose(&grid);
    let names: Vec<String> =
        chosen.iter().map(|(name, [prefill, decode, batch], _)| format!("{name} {prefill},{decode},{batch}")).collect();
    let highest = chosen.iter().find(|(name, _, _)| *name == "highest").map(|(_, _, row)| *row);
    let panel = |title: &str, unit: &str, value: &dyn Fn(&Row) -> f64| {
        let axis = Axis::names("", (0..chosen.len()).map(|place| letter(place).to_string()).collect());
        let bars = (0u32..).map(f64::from).zip(&chosen).map(|(place, (_, _, row))| (place, value(row), f64::NAN));
        let change = highest.map_or(String::new(), |highest| {
            let best = chosen.last().map_or(f64::NAN, |(_, _, row)| value(row));
            format!(
                " ({} to {}: {:+.1} %)",
                letter(1),
                letter(chosen.len() - 1),
                (best / value(&highest) - 1.0) * 100.0
            )
        });
        Panel::new(&format!("{title}{change}"), axis, Axis::new(unit).from_zero())
            .with_unnamed(0, Shape::Bars { bars: bars.collect(), written: true })
    };
    let legend: Vec<String> = (0..).zip(&names).map(|(place, name)| format!("{} = {name}", letter(place))).collect();
    Sheet {
        title: "Settings beside each other".to_owned(),
        conditions: format!("clock of prefill, of decode, batch: {}", legend.join("; ")),
        columns: 2,
        panel_size: (560, 200),
        panels: vec![
            panel("Energy per batch", "J", &|row| row.energy_j),
            panel("Energy per generated token", "J/token", &Row::energy_per_token_j),
            panel("Power", "W", &|row| row.power_w),
            panel("Latency", "s", &|row| row.latency_s),
            panel("Energy-delay product", "J s", &Row::edp),
            panel("Throughput", "tokens/s", &Row::throughput),
            panel("Temperature", "°C", &|row| row.temperature_c),
            panel("Reward", "reward", &|row| row.reward),
        ],
        ..Sheet::default()
    }
}

fn letter(place: usize) -> char {
    char::from(b'A' + u8::try_from(place.min(25)).unwrap_or(25))
}

/// Lowest and highest clocks and batches, the published best where the grid has it, and the least energy-delay product
/// and energy per token.
fn choose(grid: &Grid) -> Vec<(&'static str, [i64; 3], Row)> {
    let settings = grid.settings();
    let least = |value: &dyn Fn(&Row) -> f64| {
        settings.iter().min_by(|a, b| value(&a.2).total_cmp(&value(&b.2))).map(|(key, _, row)| (*key, *row))
    };
    let named = |name, found: Option<([i64; 3], Row)>| found.map(|(key, row)| (name, key, row));
    let at = |wanted: [i64; 3]| settings.iter().find(|(key, _, _)| *key == wanted).map(|(key, _, row)| (*key, *row));
    let corner = |pick: &dyn Fn(&[i64]) -> i64| {
        let of = |knob: usize| pick(&settings.iter().map(|(key, _, _)| key[knob]).collect::<Vec<_>>());
        at([of(0), of(1), of(2)])
    };
    [
        named("lowest", corner(&|values| values.iter().copied().min().unwrap_or(0))),
        named("highest", corner(&|values| values.iter().copied().max().unwrap_or(0))),
        named("published", at(PUBLISHED)),
        named("least EDP", least(&Row::edp)),
        named("least J/token", least(&Row::energy_per_token_j)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
