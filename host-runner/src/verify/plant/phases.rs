//! Times, powers and energies, row by row.
//!
//! Each row is predicted from its setting alone, with two exceptions: the leakage takes the logged temperature (the
//! temperature itself is tested by the trajectory), and the logged prefill power is what a lagging sensor still held of
//! an earlier decode. That lag is emulated, so that energy is compared with what was logged; the plant's own energy
//! uses a prefill power of its own.

use super::log::{Log, Row};
use super::report::Figure;
use super::session::{Session, Times};
use firmware_sim::plant::{
    Profile,
    power::{self, Lag},
};

/// A quantity under comparison.
struct Quantity {
    name: &'static str,
    predict: fn(&Predicted) -> f64,
    logged: fn(&Row) -> Option<f64>,
}

const QUANTITIES: [Quantity; 5] = [
    Quantity {
        name: "latency_s",
        predict: |p| p.times.prefill_s + p.times.decode_s,
        logged: |row| Some(row.latency_s),
    },
    Quantity { name: "prefill_s", predict: |p| p.times.prefill_s, logged: |row| row.prefill_s },
    Quantity { name: "decode_s", predict: |p| p.times.decode_s, logged: |row| row.decode_s },
    Quantity { name: "decode_power_w", predict: |p| p.decode_w, logged: |row| row.decode_power_w },
    Quantity {
        name: "energy_j",
        predict: |p| p.decode_w * p.times.decode_s + p.logged_prefill_w * p.times.prefill_s,
        logged: |row| row.energy_j,
    },
];

/// What the plant says of one row.
struct Predicted {
    times: Times,
    decode_w: f64,
    logged_prefill_w: f64,
}

/// Which decode the log's prefill power remembers: rows whose temperature was measured are in the order of measurement.
pub(super) fn lag(log: &Log) -> Lag {
    if log.measured_temperature { Lag::PreviousRow } else { Lag::SameRow }
}

/// One figure per quantity that the log has.
pub(super) fn compare(log: &Log, profile: &Profile, session: &Session) -> Vec<Figure> {
    let predicted = predict(log, profile, session.floor_scale);
    let pairs = || log.rows.iter().zip(&predicted).zip(&session.used).filter(|&(_, &used)| used);
    QUANTITIES
        .iter()
        .filter_map(|quantity| {
            let errors = pairs().filter_map(|((row, predicted), _)| {
                (quantity.logged)(row).map(|logged| (quantity.predict)(predicted) / logged - 1.0)
            });
            Figure::of(quantity.name, errors.collect())
        })
        .collect()
}

fn predict(log: &Log, profile: &Profile, floor_scale: f64) -> Vec<Predicted> {
    let lag = lag(log);
    let mut remembered_w = None;
    let predict_row = |row: &Row| {
        let times = Times::of(row, profile, floor_scale);
        let decode_w = decode_watts(log, row, profile, floor_scale);
        let source_w = match lag {
            Lag::SameRow => decode_w,
            Lag::PreviousRow => remembered_w.replace(decode_w).unwrap_or(decode_w),
        };
        let prefill_khz = profile.gpu_clock_khz[row.prefill_clock];
        Predicted { times, decode_w, logged_prefill_w: power::logged_prefill_watts(lag, source_w, prefill_khz) }
    };
    log.rows.iter().map(predict_row).collect()
}

/// Decode power at the row's temperature; without a measured one, at the temperature that the fit stands for.
pub(super) fn decode_watts(log: &Log, row: &Row, profile: &Profile, floor_scale: f64) -> f64 {
    let reference_c = profile.power.leakage.reference_c;
    let die_c = row.temperature_c.filter(|_| log.measured_temperature).unwrap_or(reference_c);
    let step_s = Times::of(row, profile, floor_scale).decode_s / f64::from(super::log::STEPS);
    power::decode_watts(profile, profile.gpu_clock_khz[row.decode_clock], row.batch, row.depth, step_s, die_c)
}
