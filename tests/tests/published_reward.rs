//! The unified reward against the published fan-on grid, whose `reward` column is that formula.
//! The grid is not ours to ship: without it the test says that it is skipped.

use controller_core::reward::Fixed;
use controller_core::reward::published::{Limit, Outcome, Published, Range};
use controller_core::reward::unified::Unified;
use integration_tests::workspace;

/// One row: throughput, inverse energy-delay product, latency, power, temperature, reward.
type Row = [f64; 6];

fn rows() -> Option<Vec<Row>> {
    let shared = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or_else(|| workspace("../shared/data"), Into::into);
    let mut reader = csv::Reader::from_path(shared.join("seed/grid_fan_on.csv")).ok()?;
    let columns = ["throughput_raw", "edp_efficiency_raw", "latency", "avg_power", "temperature", "reward"];
    let headers = reader.headers().unwrap().clone();
    let places = columns.map(|name| headers.iter().position(|header| header == name).unwrap());
    let row = |record: csv::StringRecord| places.map(|place| record[place].parse().unwrap());
    Some(reader.records().map(|record| row(record.unwrap())).collect())
}

#[test]
fn fixed_point_equals_the_published_column() {
    let Some(rows) = rows() else {
        eprintln!("SKIPPED: no published logs; set ENERGYLLM_SHARED_DATA to their folder");
        return;
    };
    assert_eq!(rows.len(), 3872);
    let q = Fixed::from_num::<f64>;
    // The column was normalized with the ranges of its own file.
    let range = |column: usize| {
        let values = rows.iter().map(|row| row[column]);
        Range { low: q(values.clone().fold(f64::MAX, f64::min)), high: q(values.fold(f64::MIN, f64::max)) }
    };
    let limit = |limit: f64, full: f64, weight: f64| Limit { limit: q(limit), full: q(full), weight: q(weight) };
    let published = Published {
        throughput: range(0),
        edp_efficiency: range(1),
        temperature: Range { low: q(40.0), high: q(100.0) },
        headroom_weight: q(1.0),
        latency_limit: limit(15.0, 22.5, 1.0),
        temperature_limit: limit(100.0, 120.0, 1.5),
        power_limit: limit(60.0, 78.0, 1.0),
        steepness: q(5.0),
    };
    let unified = Unified { published, entropy_full: q(9.0), entropy_weight: q(0.0) };
    for [throughput, edp, latency, power, temperature, reward] in rows {
        let outcome = Outcome {
            throughput: q(throughput),
            edp_efficiency: q(edp),
            energy: None,
            latency: q(latency),
            power: q(power),
            temperature: q(temperature),
            entropy: None,
            depth: None,
        };
        let total = f64::from(unified.settle(&outcome).unwrap().total) / 1e6;
        assert!((total - reward).abs() <= 1e-5, "{total} against {reward}");
    }
}
