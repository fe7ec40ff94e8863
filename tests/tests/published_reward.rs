//! The published rewards against the published logs: the fan-on grid's `reward` column is the unified form,
//! those of the training log and of the fan-off grid are the step form.
//! The logs are not ours to ship: without them the tests say that they are skipped.

use controller_core::reward::published::{Limit, Outcome, Published, Range};
use controller_core::reward::step::Step;
use controller_core::reward::unified::Unified;
use controller_core::reward::{Fixed, reference};
use integration_tests::workspace;

/// These columns of a log, row by row.
fn rows<const N: usize>(log: &str, columns: [&str; N]) -> Option<Vec<[f64; N]>> {
    let shared = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or_else(|| workspace("../shared/data"), Into::into);
    let Ok(mut reader) = csv::Reader::from_path(shared.join("seed").join(log)) else {
        eprintln!("SKIPPED: no {log}; set ENERGYLLM_SHARED_DATA to the folder of the published logs");
        return None;
    };
    let headers = reader.headers().unwrap().clone();
    let places = columns.map(|name| headers.iter().position(|header| header == name).unwrap());
    let row = |record: csv::StringRecord| places.map(|place| record[place].parse().unwrap());
    Some(reader.records().map(|record| row(record.unwrap())).collect())
}

fn limit(limit: f64, full: f64, weight: f64) -> Limit<f64> {
    Limit { limit, full, weight }
}

/// Limits of the study: 15 s, 100 °C and 60 W.
fn published(throughput: Range<f64>, edp_efficiency: Range<f64>) -> Published<f64> {
    Published {
        throughput,
        edp_efficiency,
        temperature: Range { low: 40.0, high: 100.0 },
        headroom_weight: 1.0,
        latency_limit: limit(15.0, 22.5, 1.0),
        temperature_limit: limit(100.0, 120.0, 1.5),
        power_limit: limit(60.0, 78.0, 1.0),
        steepness: 5.0,
    }
}

/// The range of a column over the whole log.
fn range<const N: usize>(rows: &[[f64; N]], column: usize) -> Range<f64> {
    let values = rows.iter().map(|row| row[column]);
    Range { low: values.clone().fold(f64::MAX, f64::min), high: values.fold(f64::MIN, f64::max) }
}

#[test]
fn fixed_point_equals_the_published_column() {
    let columns = ["throughput_raw", "edp_efficiency_raw", "latency", "avg_power", "temperature", "reward"];
    let Some(rows) = rows("grid_fan_on.csv", columns) else { return };
    assert_eq!(rows.len(), 3872);
    // The column was normalized with the ranges of its own file.
    let published = published(range(&rows, 0), range(&rows, 1));
    let unified = Unified { published, entropy_full: 9.0, entropy_weight: 0.0 }.map(&Fixed::from_num::<f64>);
    for [throughput, edp_efficiency, latency, power, temperature, reward] in rows {
        let outcome = Outcome {
            throughput,
            edp_efficiency,
            energy: None,
            latency,
            power,
            temperature,
            entropy: None,
            depth: None,
        };
        let total = f64::from(unified.settle(&outcome.map(&Fixed::from_num::<f64>)).unwrap().total) / 1e6;
        assert!((total - reward).abs() <= 4e-6, "{total} against {reward}");
    }
}

/// Both arithmetics of the step form against a logged reward.
fn check(step: &Step<f64>, outcome: &Outcome<f64>, reward: f64) {
    let real = reference::step(step, outcome).unwrap().total();
    assert!((real - reward).abs() <= 1e-12, "{real} against {reward}");
    let fixed = step.map(&Fixed::from_num::<f64>).settle(&outcome.map(&Fixed::from_num::<f64>)).unwrap();
    let fixed = f64::from(fixed.total) / 1e6;
    assert!((fixed - reward).abs() <= 4e-6, "{fixed} against {reward}");
}

#[test]
fn step_equals_the_training_log() {
    let columns = [
        "throughput_raw",
        "edp_efficiency_raw",
        "energy",
        "end_to_end_latency",
        "power",
        "temperature",
        "throughput_min",
        "throughput_max",
        "edp_efficiency_min",
        "edp_efficiency_max",
        "energy_min",
        "energy_max",
        "reward",
    ];
    let Some(rows) = rows("online_training.csv", columns) else { return };
    assert_eq!(rows.len(), 860);
    for [throughput, edp_efficiency, energy, latency, power, temperature, t0, t1, e0, e1, j0, j1, reward] in rows {
        // Its ranges widen as it goes and stand in every row.
        let of = |low, high| Range { low, high };
        let step = Step { published: published(of(t0, t1), of(e0, e1)), energy: of(j0, j1) };
        let energy = Some(energy);
        let (entropy, depth) = (None, None);
        check(
            &step,
            &Outcome { throughput, edp_efficiency, energy, latency, power, temperature, entropy, depth },
            reward,
        );
    }
}

#[test]
fn step_equals_the_fan_off_grid() {
    let columns = ["throughput_raw", "edp_efficiency_raw", "energy", "latency", "avg_power", "temperature", "reward"];
    let Some(rows) = rows("grid_fan_off.csv", columns) else { return };
    assert_eq!(rows.len(), 594);
    let step = Step { published: published(range(&rows, 0), range(&rows, 1)), energy: range(&rows, 2) };
    for [throughput, edp_efficiency, energy, latency, power, temperature, reward] in rows {
        let energy = Some(energy);
        let (entropy, depth) = (None, None);
        check(
            &step,
            &Outcome { throughput, edp_efficiency, energy, latency, power, temperature, entropy, depth },
            reward,
        );
    }
}
