//! Twelve panels over the episodes of a training.

use crate::dataset::table::{LATENCY, Table};
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Rule, Shape};

/// The figure. `pretraining` is a table with a column `loss` or `pretrain_loss`.
#[must_use]
pub fn sheet(table: &Table, pretraining: Option<&Table>) -> Sheet {
    let episodes = Episodes::new(table);
    let over = |title: &str, unit: &str| Panel::new(title, Axis::new("episode"), Axis::new(unit));
    let over_share = |title: &str, unit: &str| Panel::new(title, Axis::new("episode"), Axis::new(unit).from_zero());
    let window = episodes.count().min(10);
    let mean = |names: &[&str]| episodes.each(table, names, |values| values.iter().sum::<f64>() / values.len() as f64);
    let sum = |names: &[&str]| episodes.each(table, names, |values| values.iter().sum());
    let percent = |names: &[&str]| mean(names).into_iter().map(|(x, y)| (x, 100.0 * y)).collect::<Vec<_>>();
    let loss = pretraining.map_or(vec![], |table| {
        let values = table.any(&["pretrain_loss", "loss"]).unwrap_or_default();
        (0u32..).map(f64::from).zip(values.iter().copied()).filter(|(_, y)| y.is_finite()).collect()
    });
    let rewards = sum(&["reward"]);
    let smoothed = format!("mean of {window}");
    let hottest = limit(table, "max_temp", 100.0);
    let panels = vec![
        Panel::new("Pre-training loss", Axis::new("epoch"), Axis::new("loss"))
            .with("loss", Shape::Line(loss))
            .or("no pre-training given; add its file with --also"),
        over("Reward of each episode", "sum of rewards").with("reward", Shape::Line(rewards.clone())),
        over("Reward, moving average", "sum of rewards").with_mean(&smoothed, &rewards, window),
        over("Energy (lower is better)", "J per batch").with_mean(&smoothed, &mean(&["energy"]), window),
        over("Latency per token (lower is better)", "s/token").with_mean(
            &smoothed,
            &mean(&["per_token_latency"]),
            window,
        ),
        over("Training loss", "loss").with_mean(&smoothed, &mean(&["loss", "policy_loss"]), window),
        limited(
            over("Latency, prefill and decode", "s").with_mean(&smoothed, &mean(LATENCY), window),
            15.0,
            "limit 15 s",
        ),
        over_share("Requests over the latency limit", "%").with("share", Shape::Line(percent(&["slo_violation"]))),
        trade_off(table),
        limited(
            over("Temperature", "°C").with_mean(&smoothed, &mean(&["temperature"]), window),
            hottest,
            &format!("limit {hottest:.0} °C"),
        ),
        limited(over("Power", "W").with_mean(&smoothed, &mean(&["power", "avg_power"]), window), 60.0, "limit 60 W"),
        over_share("Limits passed", "% of steps")
            .with("latency", Shape::Line(percent(&["slo_violation"])))
            .with("temperature", Shape::Line(percent(&["temp_violation"])))
            .with("power", Shape::Line(percent(&["power_violation"]))),
    ];
    Sheet {
        title: "Training results by episode".to_owned(),
        columns: 3,
        panel_size: (400, 250),
        panels,
        ..Sheet::default()
    }
}

/// A limit is drawn where it is near the data; elsewhere it would flatten them, and the title says it.
fn limited(mut panel: Panel, limit: f64, name: &str) -> Panel {
    let (_, values) = panel.extent();
    let highest = values.into_iter().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    if limit <= highest * 1.3 {
        panel.ruled(Rule::Across(limit, name.to_owned()))
    } else {
        panel.title = format!("{} ({name} far above)", panel.title);
        panel
    }
}

fn limit(table: &Table, name: &str, published: f64) -> f64 {
    table.column(name).and_then(|values| values.iter().copied().find(|value| value.is_finite())).unwrap_or(published)
}

fn trade_off(table: &Table) -> Panel {
    let panel = Panel::new("Energy against latency", Axis::new("latency, s"), Axis::new("J per batch"));
    let (Some(latency), Some(energy), Some(reward)) =
        (table.any(LATENCY), table.column("energy"), table.column("reward"))
    else {
        return panel;
    };
    let points = latency.iter().zip(energy).zip(reward).map(|((l, e), r)| (*l, *e, *r));
    let points = points.filter(|(l, e, r)| l.is_finite() && e.is_finite() && r.is_finite()).collect();
    panel.with_unnamed(0, Shape::Shaded { points, label: "reward".to_owned() })
}

/// Rows of each episode. A file that gives one episode to all its rows has one step an episode.
struct Episodes(Vec<(f64, Vec<usize>)>);

impl Episodes {
    fn new(table: &Table) -> Self {
        let numbers = table.column("episode").unwrap_or_default();
        let constant = numbers.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.5);
        let mut episodes: Vec<(f64, Vec<usize>)> = Vec::new();
        for row in 0..table.rows() {
            let number = if constant { row as f64 } else { numbers.get(row).copied().unwrap_or(f64::NAN) };
            match episodes.last_mut() {
                Some((last, rows)) if (*last - number).abs() < 0.5 => rows.push(row),
                _ => episodes.push((number, vec![row])),
            }
        }
        Self(episodes)
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    /// A value of each episode that has any.
    fn each(&self, table: &Table, names: &[&str], value: impl Fn(&[f64]) -> f64) -> Vec<(f64, f64)> {
        let Some(column) = table.any(names) else { return vec![] };
        let of = |(number, rows): &(f64, Vec<usize>)| {
            let values: Vec<f64> = rows.iter().map(|row| column[*row]).filter(|value| value.is_finite()).collect();
            (!values.is_empty()).then(|| (*number, value(&values)))
        };
        self.0.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn episodes_are_runs_of_one_number_and_one_step_each_without_numbers() {
        let table = |numbers: &[&str]| {
            let rows: Vec<Vec<String>> =
                numbers.iter().zip(["1", "2", "4"]).map(|(n, v)| vec![(*n).to_owned(), v.to_owned()]).collect();
            Table::of("t.csv", "", &["episode".to_owned(), "reward".to_owned()], &rows)
        };
        let sums = |numbers: &[&str]| {
            let table = table(numbers);
            Episodes::new(&table).each(&table, &["reward"], |values| values.iter().sum())
        };
        assert_eq!(sums(&["0", "0", "1"]), [(0.0, 3.0), (1.0, 4.0)]);
        assert_eq!(sums(&["400", "400", "400"]), [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)]);
    }
}
