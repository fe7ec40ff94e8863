//! What a grid search says, in 21 panels: rewards by knob, by pairs of knobs, and how the parts of the reward pull.

use crate::dataset::grid::{Grid, Row, Spread, correlation, range};
use crate::dataset::table::Table;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Rule, Shape};

/// Bars of a histogram.
const BINS: usize = 50;

/// The figure.
#[must_use]
pub fn sheet(table: &Table) -> Sheet {
    let grid = Grid::of(table);
    let grid = &grid;
    let adaptive: Weights = &|row| (row.headroom, 1.0 - row.headroom);
    let fixed: Weights = &|_| (0.2, 0.8);
    let edp_only = |row: &Row| row.efficiency_share - row.penalty;
    let throughput_only = |row: &Row| row.throughput_share - row.penalty;
    let per_token = |row: &Row| row.latency_s / row.tokens;
    let (prefill, decode, batch): (Value, Value, Value) = (&|row| row.prefill, &|row| row.decode, &|row| row.batch);
    let reward: Value = &|row| row.reward;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let highest = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let valid_reward: Value = &|row| if row.valid { row.reward } else { f64::NEG_INFINITY };
    let panels = vec![
        parts(grid, "Parts by prefill clock, weighted by headroom", "prefill clock index", prefill, adaptive),
        parts(grid, "Parts by prefill clock, weights 0.2 and 0.8", "prefill clock index", prefill, fixed),
        parts(grid, "Parts by decode clock, weighted by headroom", "decode clock index", decode, adaptive),
        parts(grid, "Parts by decode clock, weights 0.2 and 0.8", "decode clock index", decode, fixed),
        by_batch(grid),
        scatter(grid, ("Energy against latency per token", "s/token", "J per batch"), &per_token, &|r| r.energy_j)
            .shaded(grid, &edp_only, "reward, EDP only"),
        scatter(grid, ("Energy against power", "W", "J per batch"), &|r| r.power_w, &|r| r.energy_j)
            .shaded(grid, reward, "reward"),
        heat(grid, "Highest reward, no limit passed", ("prefill", prefill), ("decode", decode), valid_reward, &highest),
        heat(grid, "Mean reward", ("prefill", prefill), ("decode", decode), reward, &mean),
        heat(grid, "Mean reward", ("prefill", prefill), ("batch", batch), reward, &mean),
        heat(grid, "Mean reward", ("decode", decode), ("batch", batch), reward, &mean),
        histogram("Rewards", "reward", grid.rows.iter().map(|row| row.reward), None),
        scatter(
            grid,
            ("Parts of the reward, by headroom", "throughput part", "efficiency part"),
            &|r| r.headroom * r.throughput_share,
            &|r| (1.0 - r.headroom) * r.efficiency_share,
        )
        .shaded(grid, reward, "reward"),
        heat(grid, "Mean reward, EDP only", ("prefill", prefill), ("decode", decode), &edp_only, &mean),
        correlated(grid, ("Throughput and reward", "throughput, share of its range", "reward"), &|r| {
            r.throughput_share
        }),
        scatter(grid, ("Throughput against energy", "J per batch", "tokens/s"), &|r| r.energy_j, &Row::throughput)
            .shaded(grid, batch, "batch"),
        heat(grid, "Mean reward, throughput only", ("prefill", prefill), ("decode", decode), &throughput_only, &mean),
        scatter(grid, ("Energy against latency per token", "s/token", "J per batch"), &per_token, &|r| r.energy_j)
            .shaded(grid, &throughput_only, "reward, throughput only"),
        scatter(grid, ("Throughput against latency per token", "s/token", "tokens/s"), &per_token, &Row::throughput)
            .shaded(grid, batch, "batch"),
        histogram("Headroom", "headroom", grid.rows.iter().map(|row| row.headroom), Some((0.5, "even weights"))),
        correlated(grid, ("Headroom and reward", "headroom", "reward"), &|r| r.headroom),
    ];
    let rewards = if grid.own_rewards { "rewards of the file" } else { "published reward, computed" };
    Sheet {
        title: format!("What the grid says: {} rows, {rewards}", grid.rows.len()),
        columns: 3,
        panel_size: (390, 250),
        panels,
        ..Sheet::default()
    }
}

type Value<'a> = &'a dyn Fn(&Row) -> f64;
type Weights<'a> = &'a dyn Fn(&Row) -> (f64, f64);

/// Mean of both parts of the reward by the value of a knob.
fn parts(grid: &Grid, title: &str, label: &str, knob: Value, weights: Weights) -> Panel {
    let bars = |part: &dyn Fn(&Row) -> f64| Shape::Bars {
        bars: grid.by(knob, part).into_iter().map(|(key, spread)| (key, spread.mean, f64::NAN)).collect(),
        written: false,
    };
    Panel::new(title, Axis::new(label), Axis::new("mean part"))
        .with("throughput", bars(&|row| weights(row).0 * row.throughput_share))
        .with("energy-delay efficiency", bars(&|row| weights(row).1 * row.efficiency_share))
}

fn by_batch(grid: &Grid) -> Panel {
    let bar = |(key, spread): (f64, Spread)| (key, spread.mean, spread.sd);
    let bars = grid.by(|row| row.batch, |row| row.reward).into_iter().map(bar).collect();
    Panel::new("Mean reward by batch, +/- standard deviation", Axis::new("batch"), Axis::new("reward"))
        .with_unnamed(0, Shape::Bars { bars, written: false })
}

/// A scatter that still lacks what its dots show.
struct Scatter<'a>(Panel, Value<'a>, Value<'a>);

fn scatter<'a>(_: &Grid, (title, x_label, y_label): (&str, &str, &str), x: Value<'a>, y: Value<'a>) -> Scatter<'a> {
    Scatter(Panel::new(title, Axis::new(x_label), Axis::new(y_label)), x, y)
}

impl Scatter<'_> {
    fn shaded(self, grid: &Grid, value: Value, label: &str) -> Panel {
        let Self(panel, x, y) = self;
        let points = grid.rows.iter().map(|row| (x(row), y(row), value(row))).collect();
        panel.with_unnamed(0, Shape::Shaded { points, label: label.to_owned() })
    }
}

fn correlated(grid: &Grid, (title, x_label, y_label): (&str, &str, &str), x: Value) -> Panel {
    let points: Vec<(f64, f64)> = grid.rows.iter().map(|row| (x(row), row.reward)).collect();
    let title = format!("{title} (correlation {:.2})", correlation(&points));
    let shape = Shape::Shaded {
        points: grid.rows.iter().map(|row| (x(row), row.reward, row.batch)).collect(),
        label: "batch".to_owned(),
    };
    Panel::new(&title, Axis::new(x_label), Axis::new(y_label)).with_unnamed(0, shape)
}

fn heat(
    grid: &Grid,
    title: &str,
    (column_name, column): (&str, Value),
    (row_name, row): (&str, Value),
    value: Value,
    fold: &dyn Fn(&[f64]) -> f64,
) -> Panel {
    let (columns, rows, cells) = grid.cross(column, row, value, fold);
    let names = |values: Vec<f64>| values.iter().map(|value| format!("{value:.0}")).collect();
    Panel::new(title, Axis::names(column_name, names(columns)), Axis::names(row_name, names(rows)))
        .with_unnamed(0, Shape::Heat { rows: cells, written: true })
}

fn histogram(title: &str, label: &str, values: impl Iterator<Item = f64>, mark: Option<(f64, &str)>) -> Panel {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let (low, high) = range(values.iter().copied());
    let width = ((high - low) / BINS as f64).max(1e-9);
    let mut counts = vec![0u32; BINS];
    for value in &values {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 49")]
        let bin = ((value - low) / width) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    let bar = |(bin, count): (u32, u32)| (low + (f64::from(bin) + 0.5) * width, f64::from(count), f64::NAN);
    let bars = (0u32..).zip(counts).map(bar).collect();
    let panel =
        Panel::new(title, Axis::new(label), Axis::new("rows")).with_unnamed(0, Shape::Bars { bars, written: false });
    match mark {
        Some((at, name)) => panel.ruled(Rule::At(at, name.to_owned())),
        None => panel,
    }
}
