//! A grid search as rows of settings and what they cost, with the quantities that the published analysis derives.
//!
//! Normalized throughput `T` and energy-delay efficiency `E` (1/(J s)) run over the range of the file, 0..=1. Headroom
//! `H = (100 - temperature) / 60`, clipped to 0..=1, is what the published reward weighs them by: `H T + (1 - H) E`, less
//! the penalties. A file without rewards gets that one.

use crate::dataset::table::{BATCH, LATENCY, Table};
use std::collections::BTreeMap;

/// Limit and floor of the temperature in the published headroom, °C.
const HOT_C: f64 = 100.0;
const COOL_C: f64 = 40.0;

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Index of the prefill clock.
    pub prefill: f64,
    /// Index of the decode clock.
    pub decode: f64,
    /// Sequences.
    pub batch: f64,
    /// Joules of the batch.
    pub energy_j: f64,
    /// Prefill and decode, s.
    pub latency_s: f64,
    /// Energy by latency, W: the mean over the batch, not the mean of two phases.
    pub power_w: f64,
    /// °C; not a number where the file has none.
    pub temperature_c: f64,
    /// Prompt and generated tokens.
    pub tokens: f64,
    /// Generated tokens.
    pub generated: f64,
    /// Reward of the file, or the published one.
    pub reward: f64,
    /// Penalties that the reward contains.
    pub penalty: f64,
    /// Throughput over its range.
    pub throughput_share: f64,
    /// Energy-delay efficiency over its range.
    pub efficiency_share: f64,
    /// Headroom of the temperature, 0..=1.
    pub headroom: f64,
    /// No limit was passed.
    pub valid: bool,
}

impl Row {
    /// Tokens per second, prompts included.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.tokens / self.latency_s
    }

    /// J s.
    #[must_use]
    pub fn edp(&self) -> f64 {
        self.energy_j * self.latency_s
    }

    /// J per generated token.
    #[must_use]
    pub fn energy_per_token_j(&self) -> f64 {
        self.energy_j / self.generated
    }
}

/// A grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Its rows, in the order of the file.
    pub rows: Vec<Row>,
    /// Rows without a needed number.
    pub left_out: usize,
    /// The rewards are the file's own.
    pub own_rewards: bool,
}

impl Grid {
    /// The grid of a file; without rows where the file has no grid's columns.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let cell = |names: &[&str], row: usize| table.any(names).map_or(f64::NAN, |column| column[row]);
        let own_rewards = table.column("reward").is_some();
        let mut rows: Vec<Row> = Vec::new();
        for row in 0..table.rows() {
            let batch = cell(BATCH, row);
            let generated = cell(&["num_decode_tokens"], row);
            let prompt = cell(&["num_prompt_tokens"], row);
            let (energy_j, latency_s) = (cell(&["energy"], row), cell(LATENCY, row));
            let flag = |name: &str| cell(&[name], row) > 0.5;
            let built = Row {
                prefill: cell(&["prefill_freq_bin"], row),
                decode: cell(&["decode_freq_bin"], row),
                batch,
                energy_j,
                latency_s,
                power_w: energy_j / latency_s,
                temperature_c: cell(&["temperature"], row),
                tokens: prompt + generated,
                generated,
                reward: cell(&["reward"], row),
                penalty: Some(cell(&["constraint_penalty"], row)).filter(|p| p.is_finite()).unwrap_or(0.0),
                throughput_share: 0.0,
                efficiency_share: 0.0,
                headroom: ((HOT_C - cell(&["temperature"], row)) / (HOT_C - COOL_C)).clamp(0.0, 1.0),
                valid: !(flag("slo_violation") || flag("temp_violation") || flag("power_violation")),
            };
            let needed = [built.prefill, built.decode, batch, built.power_w, built.tokens];
            if needed.iter().all(|value| value.is_finite()) && latency_s > 0.0 && energy_j > 0.0 {
                rows.push(built);
            }
        }
        let left_out = table.rows() - rows.len();
        let mut grid = Self { rows, left_out, own_rewards };
        grid.normalize();
        grid
    }

    fn normalize(&mut self) {
        let share = |value: f64, (low, high): (f64, f64)| if high > low { (value - low) / (high - low) } else { 0.0 };
        let throughput = range(self.rows.iter().map(Row::throughput));
        let efficiency = range(self.rows.iter().map(|row| 1.0 / row.edp()));
        for row in &mut self.rows {
            row.throughput_share = share(row.throughput(), throughput);
            row.efficiency_share = share(1.0 / row.edp(), efficiency);
            // Without a temperature both count alike.
            let headroom = if row.headroom.is_finite() { row.headroom } else { 0.5 };
            row.headroom = headroom;
            if !row.reward.is_finite() {
                row.reward = headroom * row.throughput_share + (1.0 - headroom) * row.efficiency_share - row.penalty;
            }
        }
    }

    /// Values by a key, in the order of the keys.
    #[must_use]
    pub fn by(&self, key: impl Fn(&Row) -> f64, value: impl Fn(&Row) -> f64) -> Vec<(f64, Spread)> {
        let mut groups: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for row in &self.rows {
            #[expect(clippy::cast_possible_truncation, reason = "indices and batches")]
            groups.entry(key(row).round() as i64).or_default().push(value(row));
        }
        groups.into_iter().map(|(key, values)| (key as f64, Spread::of(&values))).collect()
    }

    /// A table of values by two keys: names of the columns and rows, and the cells, not a number where there are none.
    #[must_use]
    pub fn cross(
        &self,
        column: impl Fn(&Row) -> f64,
        row: impl Fn(&Row) -> f64,
        value: impl Fn(&Row) -> f64,
        fold: impl Fn(&[f64]) -> f64,
    ) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
        let (columns, rows) = (distinct(self.rows.iter().map(&column)), distinct(self.rows.iter().map(&row)));
        let mut cells = vec![vec![Vec::new(); columns.len()]; rows.len()];
        let place = |all: &[f64], value: f64| all.iter().position(|other| (other - value).abs() < 0.5);
        for entry in &self.rows {
            if let (Some(x), Some(y)) = (place(&columns, column(entry)), place(&rows, row(entry))) {
                cells[y][x].push(value(entry));
            }
        }
        let folded = |values: &Vec<f64>| if values.is_empty() { f64::NAN } else { fold(values) };
        let cells = cells.iter().map(|row| row.iter().map(folded).collect()).collect();
        (columns, rows, cells)
    }

    /// Mean of every setting: (prefill, decode, batch), rows, and the mean row.
    #[must_use]
    pub fn settings(&self) -> Vec<([i64; 3], usize, Row)> {
        let mut groups: BTreeMap<[i64; 3], Vec<Row>> = BTreeMap::new();
        for row in &self.rows {
            #[expect(clippy::cast_possible_truncation, reason = "indices and batches")]
            let key = [row.prefill, row.decode, row.batch].map(|value| value.round() as i64);
            groups.entry(key).or_default().push(*row);
        }
        groups.into_iter().map(|(key, rows)| (key, rows.len(), mean_row(&rows))).collect()
    }
}

fn mean_row(rows: &[Row]) -> Row {
    let mean = |value: &dyn Fn(&Row) -> f64| rows.iter().map(value).sum::<f64>() / rows.len() as f64;
    Row {
        energy_j: mean(&|row| row.energy_j),
        latency_s: mean(&|row| row.latency_s),
        power_w: mean(&|row| row.power_w),
        temperature_c: mean(&|row| row.temperature_c),
        tokens: mean(&|row| row.tokens),
        generated: mean(&|row| row.generated),
        reward: mean(&|row| row.reward),
        valid: rows.iter().all(|row| row.valid),
        ..rows[0]
    }
}

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the values, not of the mean; 0 for one.
    pub sd: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, sd: if values.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 } }
    }
}

/// Lowest and highest of finite values.
#[must_use]
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
}

/// Pearson's correlation; not a number where one side does not vary.
#[must_use]
pub fn correlation(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
    let sum = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>();
    let (xx, yy) = (sum(&|p| (p.0 - mx).powi(2)), sum(&|p| (p.1 - my).powi(2)));
    if xx > 0.0 && yy > 0.0 { sum(&|p| (p.0 - mx) * (p.1 - my)) / (xx * yy).sqrt() } else { f64::NAN }
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.map(f64::round).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let header = "prefill_freq_bin,decode_freq_bin,effective_batch_size,energy,latency,num_prompt_tokens,\
                      num_decode_tokens,temperature";
        let rows = ["0,0,1,100,5,10,100,70", "0,1,1,80,4,10,100,70", "0,1,2,160,4,20,200,70", "0,1,2,,4,20,200,70"];
        let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        Grid::of(&Table::of("grid.csv", "", &cells(header), &rows.map(cells)))
    }

    #[test]
    fn a_row_without_energy_is_left_out_and_rewards_follow_the_formula() {
        let grid = grid();
        assert_eq!((grid.rows.len(), grid.left_out, grid.own_rewards), (3, 1, false));
        // Headroom (100 - 70)/60; the second row has the best energy-delay product and 27.5 of 22..55 tokens/s.
        let row = grid.rows[1];
        assert!((row.headroom - 0.5).abs() < 1e-12 && (row.efficiency_share - 1.0).abs() < 1e-12);
        assert!((row.throughput_share - 5.5 / 33.0).abs() < 1e-12);
        assert!((row.reward - (0.5 * 5.5 / 33.0 + 0.5)).abs() < 1e-12);
        assert!((row.power_w - 20.0).abs() < 1e-12 && (row.energy_per_token_j() - 0.8).abs() < 1e-12);
    }

    #[test]
    fn cells_without_a_row_have_no_value() {
        let (columns, rows, cells) = grid().cross(|r| r.decode, |r| r.batch, |r| r.energy_j, |v| v[0]);
        assert_eq!((columns, rows), (vec![0.0, 1.0], vec![1.0, 2.0]));
        assert!((cells[0][0] - 100.0).abs() < 1e-12 && cells[1][0].is_nan() && (cells[1][1] - 160.0).abs() < 1e-12);
    }

    #[test]
    fn correlation_of_a_line_is_one() {
        assert!((correlation(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 1.0).abs() < 1e-12);
        assert!(correlation(&[(0.0, 1.0), (1.0, 1.0)]).is_nan());
    }
}
