//! The simulated board against logs: made-up ones anywhere, the published ones where they are at hand.

use firmware_sim::plant::power::{Lag, logged_prefill_watts};
use firmware_sim::plant::{Conditions, Plant, Profile};
use host_runner::verify::plant::{Format, Log, LogError, Options, PlantReport, verify, verify_file};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Idle time before a batch that the training format stands for, s.
const GAP_S: f64 = 2.51;

/// A training log of the plant itself, fan switched off after `fan_on` rows. Synthetic, with the plant's own noise.
fn synthetic_training_log(rows: usize, fan_on: usize, floor_scale: f64) -> String {
    let profile = Profile::agx_orin_hf();
    let conditions = Conditions { seed: 1, floor_scale, vendor_fan: false, ambient_c: 23.0, ..Conditions::default() };
    let mut plant = Plant::new(&profile, conditions);
    plant.set_fan_pwm_floor(255);
    let mut csv = "prefill_freq,decode_freq,batch,energy,end_to_end_latency,temperature,throughput_raw\n".to_owned();
    let mut remembered_w = None;
    for row in 0..rows {
        if row == fan_on {
            plant.set_fan_working(false);
        }
        let (prefill_clock, decode_clock) = (row % 11, [6, 2, 10, 4][row % 4]);
        let batch = [32, 18, 31, 7][row / 3 % 4];
        let tokens = batch * (14 + u32::try_from(row % 5).expect("below five"));
        plant.set_gpu_clock(prefill_clock);
        plant.idle(GAP_S);
        let prefill = plant.prefill(batch, tokens, 16);
        plant.set_gpu_clock(decode_clock);
        let decode = plant.decode(batch, 100, 16);
        let decode_w = decode.mean_power_w();
        let before_w = remembered_w.replace(decode_w).unwrap_or(decode_w);
        let prefill_w = logged_prefill_watts(Lag::PreviousRow, before_w, profile.gpu_clock_khz[prefill_clock]);
        let energy_j = decode.energy_j + prefill_w * prefill.duration_s;
        let latency_s = prefill.duration_s + decode.duration_s;
        let temperature_c = f64::midpoint(prefill.mean_temperature_c, decode.mean_temperature_c);
        let tokens_per_s = f64::from(tokens + 100 * batch) / latency_s;
        writeln!(csv, "{prefill_clock},{decode_clock},{batch},{energy_j},{latency_s},{temperature_c},{tokens_per_s}")
            .expect("a String takes all");
    }
    csv
}

fn replay(csv: &str) -> PlantReport {
    let profile = Profile::agx_orin_hf();
    let log = Log::read(csv.as_bytes(), &profile).expect("a readable log");
    verify(&log, &profile, &Options::default()).expect("enough rows")
}

#[test]
fn the_plant_recognizes_itself() {
    let report = replay(&synthetic_training_log(300, 180, 0.97));
    assert!(report.pass, "{report}");
    assert!((report.floor_scale - 0.97).abs() < 0.005, "{report}");
    assert!((report.figures["ambient_c"] - 23.0).abs() < 0.5, "{report}");
    let states: Vec<_> = report.segments.iter().map(|segment| segment.pwm).collect();
    assert_eq!(states, [255, 0], "{report}");
    assert!(report.segments[0].end.abs_diff(180) <= 2, "{report}");
    assert!(report.figures["temperature_rmse_k"] < 0.3, "{report}");
    let flat = ["segment_1_first_row", "segment_1_fan_pwm", "segment_2_fan_pwm"].map(|name| report.figures[name]);
    assert_eq!(flat.map(f64::to_bits), [0.0, 255.0, 0.0].map(f64::to_bits), "{report}");
}

#[test]
fn a_wrong_board_fails() {
    let mut profile = Profile::agx_orin_hf();
    profile.decode.gpu_s_ghz *= 1.3;
    profile.power.decode.base_w += 3.0;
    let log = Log::read(synthetic_training_log(120, 120, 1.0).as_bytes(), &profile).expect("a readable log");
    let report = verify(&log, &profile, &Options::default()).expect("enough rows");
    assert!(!report.pass, "{report}");
}

#[test]
fn what_the_caller_gives_is_not_fitted() {
    let profile = Profile::agx_orin_hf();
    let log = Log::read(synthetic_training_log(60, 60, 1.0).as_bytes(), &profile).expect("a readable log");
    let options = Options { floor_scale: Some(1.01), ambient_c: Some(24.0), gap_s: Some(2.0) };
    let report = verify(&log, &profile, &options).expect("enough rows");
    assert_eq!([report.floor_scale, report.figures["ambient_c"]].map(f64::to_bits), [1.01, 24.0].map(f64::to_bits));
}

#[test]
fn short_and_damaged_logs_are_answered_without_nan() {
    let csv = synthetic_training_log(40, 40, 1.0);
    let mut lines: Vec<&str> = csv.lines().collect();
    lines.insert(5, "6,6,32,NaN,4.3,45.0,850.0");
    lines.insert(9, "6,99,32,140.0,4.3,45.0,850.0");
    lines.insert(13, "6,6,,140.0,4.3,45.0,850.0");
    let report = replay(&lines.join("\n"));
    assert_eq!(report.skipped.iter().map(|skipped| skipped.rows).sum::<usize>(), 3, "{report}");
    assert!(report.figures.values().all(|value| value.is_finite()), "{report}");

    let short = csv.lines().take(15).collect::<Vec<_>>().join("\n");
    let error = Log::read(short.as_bytes(), &Profile::agx_orin_hf()).expect_err("14 rows");
    assert!(matches!(error, LogError::TooShort { usable: 14, total: 14, .. }), "{error}");
}

#[test]
fn a_strange_header_is_answered_with_what_is_missing() {
    let csv = synthetic_training_log(20, 20, 1.0).replace("throughput_raw", "speed");
    let error = Log::read(csv.as_bytes(), &Profile::agx_orin_hf()).expect_err("a column is missing");
    assert!(matches!(&error, LogError::Header { nearest: Format::Training, missing } if missing == "throughput_raw"));
    assert!(error.to_string().contains("throughput_raw"), "{error}");
}

#[test]
fn absurd_cells_and_cut_lines_cost_their_row_only() {
    let csv = synthetic_training_log(40, 40, 1.0);
    let mut lines: Vec<&str> = csv.lines().collect();
    lines.insert(5, "6,6,32,140.0,4.3,1e308,850.0");
    lines.insert(9, "6,6,32,1e-308,4.3,45.0,850.0");
    lines.insert(13, "6,6,32,140.0,1e-308,45.0,850.0");
    lines.insert(17, "6,6,32,140.0,4.3,45.0,850.0,one cell too many");
    lines.push("6,6,32,14");
    let report = replay(&lines.join("\n"));
    let skipped: Vec<usize> = report.skipped.iter().map(|skipped| skipped.rows).collect();
    assert_eq!(skipped.iter().sum::<usize>(), 4, "{report}");
    assert!(skipped.contains(&3) && skipped.contains(&1), "{report}");
    assert!(report.figures.values().all(|value| value.is_finite()), "{report}");
}

#[test]
fn empty_and_semicolon_files_say_so() {
    let profile = Profile::agx_orin_hf();
    for nothing in ["", "\n\n", "\u{feff}"] {
        let error = Log::read(nothing.as_bytes(), &profile).expect_err("nothing in it");
        assert!(matches!(error, LogError::Empty), "{error}");
    }
    let semicolons = synthetic_training_log(20, 20, 1.0).replace(',', ";");
    let error = Log::read(semicolons.as_bytes(), &profile).expect_err("semicolons");
    assert!(matches!(error, LogError::Semicolons), "{error}");
    assert!(error.to_string().contains("commas"), "{error}");
}

#[test]
fn what_is_not_to_be_trusted_is_said() {
    let has = |report: &PlantReport, part: &str| report.notes.iter().any(|note| note.contains(part));
    let good = synthetic_training_log(60, 60, 1.0);
    let report = replay(&good);
    assert!(!has(&report, "edge of the search") && !has(&report, "not explained"), "{report}");

    let report = replay(&synthetic_training_log(60, 60, 1.6));
    assert!(has(&report, "session scalar is at the edge of the search"), "{report}");

    // Every second reading 20 K off: no order of rows and no room explains it.
    let hot = |(place, line): (usize, &str)| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        if place > 0 && place % 2 == 0 {
            cells[5] = (cells[5].parse::<f64>().expect("a temperature") + 20.0).to_string();
        }
        cells.join(",")
    };
    let report = replay(&good.lines().enumerate().map(hot).collect::<Vec<_>>().join("\n"));
    assert!(has(&report, "the temperatures are not explained"), "{report}");
}

/// The published logs are not ours to ship: `None`, said aloud, where they are not at hand.
fn published(name: &str) -> Option<PlantReport> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ENERGYLLM_SHARED_DATA").map_or(beside, PathBuf::from);
    let path = [folder.join("seed").join(name), folder.join(name)].into_iter().find(|path| path.exists());
    let Some(path) = path else {
        // Past the test harness, which would swallow a println of a passing test.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no {name} below {}; set ENERGYLLM_SHARED_DATA to the folder of the logs",
            folder.display()
        );
        return None;
    };
    Some(verify_file(&path, &Profile::agx_orin_hf(), &Options::default()).expect("a published log"))
}

#[test]
fn published_training_log() {
    let Some(report) = published("online_training.csv") else { return };
    assert!(report.pass, "{report}");
    assert!(report.figures["latency_s_mape_pct"] <= 1.0 && report.figures["energy_j_mape_pct"] <= 1.5, "{report}");
    assert!(report.figures["temperature_fan_on_rmse_k"] <= 0.5, "{report}");
    assert!((0.955..0.975).contains(&report.floor_scale), "{report}");
    assert!(report.segments.len() == 2 && report.segments[0].end.abs_diff(618) <= 5, "{report}");
}

#[test]
fn published_fan_on_grid() {
    let Some(report) = published("grid_fan_on.csv") else { return };
    assert!(report.pass, "{report}");
    assert!(report.figures["decode_s_mape_pct"] <= 1.0 && report.figures["energy_j_mape_pct"] <= 1.0, "{report}");
    assert!(report.segments.is_empty(), "its temperature column is invented\n{report}");
}

#[test]
fn published_fan_off_grid() {
    let Some(report) = published("grid_fan_off.csv") else { return };
    assert!(report.pass, "{report}");
    assert!(report.segments.iter().any(|segment| segment.pwm == 0), "{report}");
}

#[test]
fn published_early_exit_log() {
    let Some(report) = published("early_exit_training_first200.csv") else { return };
    assert!(report.pass, "{report}");
    assert_eq!(report.segments.iter().map(|segment| segment.pwm).collect::<Vec<_>>(), [0, 128, 0], "{report}");
}
