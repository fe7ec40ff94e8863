//! `energyllm dataset stats`.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use crate::dataset::grid::{Grid, Row, correlation, range};
use crate::dataset::table::Table as File;
use crate::plot::{Kind, draw};
use crate::report::table::Table;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// What a grid search says: ranges, means by knob, the best settings, doubtful rows, and the analysis sheet.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm dataset stats out/sweep/grid.csv --out out/dataset")]
pub struct Arguments {
    /// A CSV file with the columns of a grid search.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Folder for the figures.
    #[arg(long, value_name = "DIR", default_value = "out/dataset")]
    out: PathBuf,
    /// How many of the best settings are listed.
    #[arg(long, default_value_t = 10)]
    top: usize,
}

/// Quantities: name with unit, decimals, value.
type Quantity = (&'static str, usize, fn(&Row) -> f64);

const QUANTITIES: [Quantity; 8] = [
    ("energy_j", 1, |row| row.energy_j),
    ("energy_per_token_j", 4, Row::energy_per_token_j),
    ("latency_s", 3, |row| row.latency_s),
    ("power_w", 2, |row| row.power_w),
    ("temperature_c", 1, |row| row.temperature_c),
    ("throughput_tokens_per_s", 1, Row::throughput),
    ("edp_js", 1, Row::edp),
    ("reward", 4, |row| row.reward),
];

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let file = File::read(&options.input)?;
    // Asks for the columns before anything is computed.
    let sheets = [
        (draw(&file, &[], Kind::Dataset)?, "dataset.png"),
        (draw(&file, &[], Kind::TopActions)?, "top-actions.png"),
        (draw(&file, &[], Kind::Configurations)?, "configurations.png"),
    ];
    for (sheet, name) in sheets {
        sheet.draw(&options.out.join(name))?;
    }
    let grid = Grid::of(&file);
    anyhow::ensure!(!grid.rows.is_empty(), "{} has no row with all needed numbers", options.input.display());
    let doubts = Doubts::of(&grid);
    match format {
        Format::Json => object(options, &grid, &doubts).print()?,
        Format::Text => print(&describe(options, &grid, &doubts))?,
    }
    Ok(Outcome::Passed)
}

/// What a careful reader would ask about.
struct Doubts {
    settings: usize,
    repeated: usize,
    missing: usize,
    invalid: usize,
    /// Temperatures are all whole tenths: a mean of sensor readings has more digits.
    rounded_temperature: bool,
}

impl Doubts {
    fn of(grid: &Grid) -> Self {
        let settings = grid.settings();
        let values = |knob: usize| {
            let mut values: Vec<i64> = settings.iter().map(|(key, _, _)| key[knob]).collect();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        let tenth = |row: &Row| (row.temperature_c * 10.0 - (row.temperature_c * 10.0).round()).abs() < 1e-6;
        Self {
            settings: settings.len(),
            repeated: settings.iter().filter(|(_, rows, _)| *rows > 1).count(),
            missing: (values(0) * values(1) * values(2)).saturating_sub(settings.len()),
            invalid: grid.rows.iter().filter(|row| !row.valid).count(),
            rounded_temperature: grid.rows.iter().all(tenth),
        }
    }
}

/// Lowest, mean, highest, and correlation with the reward.
fn summary(grid: &Grid, value: fn(&Row) -> f64) -> (f64, f64, f64, f64) {
    let values: Vec<f64> = grid.rows.iter().map(value).filter(|value| value.is_finite()).collect();
    let (low, high) = range(values.iter().copied());
    let points: Vec<(f64, f64)> = grid.rows.iter().map(|row| (value(row), row.reward)).collect();
    (low, values.iter().sum::<f64>() / values.len() as f64, high, correlation(&points))
}

fn best(grid: &Grid, top: usize) -> Vec<([i64; 3], Row)> {
    let mut settings = grid.settings();
    settings.sort_by(|a, b| b.2.reward.total_cmp(&a.2.reward));
    settings.into_iter().take(top).map(|(key, _, row)| (key, row)).collect()
}

fn object(options: &Arguments, grid: &Grid, doubts: &Doubts) -> Object {
    let mut object = Object::new("dataset stats", None, false);
    object.figure("rows", grid.rows.len());
    object.figure("left_out", grid.left_out);
    object.figure("settings", doubts.settings);
    object.figure("repeated_settings", doubts.repeated);
    object.figure("missing_settings", doubts.missing);
    object.figure("rows_over_a_limit", doubts.invalid);
    object.figure("rounded_temperature", u8::from(doubts.rounded_temperature));
    for (name, _, value) in QUANTITIES {
        let (low, mean, high, with_reward) = summary(grid, value);
        for (part, value) in [("min", low), ("mean", mean), ("max", high), ("reward_correlation", with_reward)] {
            if value.is_finite() {
                object.figure(&format!("{part}_{name}"), value);
            }
        }
    }
    for ([prefill, decode, batch], row) in best(grid, options.top) {
        object.rows.push(json!({
            "prefill_clock": prefill, "decode_clock": decode, "batch": batch, "reward": row.reward,
            "energy_per_token_j": row.energy_per_token_j(), "latency_s": row.latency_s, "power_w": row.power_w,
        }));
    }
    object.wall("out", options.out.display().to_string());
    object
}

fn describe(options: &Arguments, grid: &Grid, doubts: &Doubts) -> String {
    let mut ranges = Table::new(["quantity", "lowest", "mean", "highest", "correlation with reward"]);
    for (name, decimals, value) in QUANTITIES {
        let (low, mean, high, with_reward) = summary(grid, value);
        let number = |value: f64| if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() };
        let with_reward = if with_reward.is_finite() { format!("{with_reward:.2}") } else { "-".to_owned() };
        ranges.row([name.to_owned(), number(low), number(mean), number(high), with_reward]);
    }
    let mut knobs = Table::new(["decode clock", "energy, J", "latency, s", "reward"]);
    let columns: [fn(&Row) -> f64; 3] = [|row| row.energy_j, |row| row.latency_s, |row| row.reward];
    let means = columns.map(|value| grid.by(|row| row.decode, value));
    for (place, (clock, energy)) in means[0].iter().enumerate() {
        let cell = |column: usize| means[column].get(place).map_or(f64::NAN, |(_, spread)| spread.mean);
        knobs.row([
            format!("{clock:.0}"),
            format!("{:.1}", energy.mean),
            format!("{:.3}", cell(1)),
            format!("{:.4}", cell(2)),
        ]);
    }
    let mut top = Table::new(["prefill,decode,batch", "reward", "J/token", "latency, s", "power, W"]);
    for ([prefill, decode, batch], row) in best(grid, options.top) {
        top.row([
            format!("{prefill},{decode},{batch}"),
            format!("{:.4}", row.reward),
            format!("{:.4}", row.energy_per_token_j()),
            format!("{:.3}", row.latency_s),
            format!("{:.2}", row.power_w),
        ]);
    }
    let rewards = if grid.own_rewards { "of the file" } else { "published formula, computed here" };
    let temperature =
        if doubts.rounded_temperature { "\ntemperatures are whole tenths: they are hardly measured" } else { "" };
    format!(
        "{ranges}\n{knobs}\n{top}\n{} rows, {} left out, {} settings; {} repeated, {} of the full grid missing, {} rows over \
         a limit; rewards {rewards}{temperature}\nfigures: {}",
        grid.rows.len(),
        grid.left_out,
        doubts.settings,
        doubts.repeated,
        doubts.missing,
        doubts.invalid,
        options.out.display()
    )
}
