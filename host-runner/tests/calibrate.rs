//! A profile from measurements: synthetic ones anywhere, the published ones where they are at hand.

use firmware_sim::plant::{Conditions, Plant, Profile};
use host_runner::calibrate::halves::predict_other_half;
use host_runner::calibrate::recover::{recover, spoiled};
use host_runner::calibrate::thermal::{Source, fit_thermal};
use host_runner::calibrate::trace::{Trace, is_trace};
use host_runner::calibrate::{data, fit_sweep};
use host_runner::verify::plant::{Options, ThermalLog};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The logs are not part of the repository.
fn published(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/seed").join(name);
    if path.exists() {
        Some(path)
    } else {
        eprintln!("skipped: {} is not at hand", path.display());
        None
    }
}

/// Twelve plants here; `energyllm calibrate --recover 100` is the full check.
#[test]
fn hidden_parameters_are_found_within_their_intervals() {
    let recovery = recover(&Profile::agx_orin_hf(), 12, 1, || ()).unwrap();
    for coverage in &recovery.parameters {
        // 0.95 of 12 is 11.4; 8 or fewer would happen once in four thousand.
        assert!(coverage.covered >= 9, "{coverage:?}");
        assert!(coverage.half_width_pct < 60.0, "an interval that wide says nothing: {coverage:?}");
    }
    assert!(recovery.decode_time_region >= 9, "{recovery:?}");
}

#[test]
fn half_of_the_published_grid_predicts_the_other() {
    let Some(path) = published("grid_fan_on.csv") else { return };
    let start = Profile::agx_orin_hf();
    let rows = data::read(&path, &start).unwrap();
    let halves = predict_other_half(&rows, &start, 1).unwrap();
    assert!(halves.rows > 1900 && halves.pass(), "{halves:?}");
}

/// From a start that is off by a quarter, the fit comes back to the profile that was fitted with other software.
#[test]
fn the_published_grid_gives_the_shipped_decode_time() {
    let Some(path) = published("grid_fan_on.csv") else { return };
    let shipped = Profile::agx_orin_hf();
    let mut generator = firmware_sim::plant::noise::Generator::new(7);
    let start = spoiled(&shipped, &mut generator, 0.25);
    let (fitted, _) = fit_sweep(&data::read(&path, &shipped).unwrap(), &start).unwrap();
    let near = |a: f64, b: f64, share: f64| assert!((a / b - 1.0).abs() < share, "{a} {b}");
    near(fitted.decode.floor_s, shipped.decode.floor_s, 0.01);
    near(fitted.decode.gpu_s_ghz, shipped.decode.gpu_s_ghz, 0.1);
    near(fitted.decode.gpu_per_sequence_s_ghz, shipped.decode.gpu_per_sequence_s_ghz, 0.05);
}

/// A training log of a plant with another heat sink, fan off half way. Synthetic.
fn hot_log(profile: &Profile) -> String {
    let conditions = Conditions { seed: 3, vendor_fan: false, ..Conditions::default() };
    let mut plant = Plant::new(profile, conditions);
    plant.set_fan_pwm_floor(255);
    let mut csv = "prefill_freq,decode_freq,batch,energy,end_to_end_latency,temperature,throughput_raw\n".to_owned();
    for row in 0..400 {
        if row == 200 {
            plant.set_fan_working(false);
        }
        let clock = [6, 2, 10, 4][row / 7 % 4];
        plant.set_gpu_clock(clock);
        plant.idle(2.51);
        let prefill = plant.prefill(32, 560, 16);
        let decode = plant.decode(32, 100, 16);
        let latency_s = prefill.duration_s + decode.duration_s;
        let energy_j = prefill.energy_j + decode.energy_j;
        let temperature_c = f64::midpoint(prefill.mean_temperature_c, decode.mean_temperature_c);
        let tokens_per_s = (560.0 + 3200.0) / latency_s;
        writeln!(csv, "{clock},{clock},32,{energy_j},{latency_s},{temperature_c},{tokens_per_s}").unwrap();
    }
    csv
}

#[test]
fn another_heat_sink_is_found_from_its_log() {
    let start = Profile::agx_orin_hf();
    let mut hidden = start.clone();
    hidden.thermal.sink_j_per_k = 450.0;
    hidden.fan.cooling[0].sink_to_ambient_k_per_w = 2.4;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hot_log(&hidden)).unwrap();
    let options = Options { ambient_c: Some(25.0), ..Options::default() };
    let log = ThermalLog::read(file.path(), &start, &options).unwrap().unwrap();
    let fit = fit_thermal(&[Source::Log(log)], &start).unwrap();
    let near = |a: f64, b: f64, share: f64| assert!((a / b - 1.0).abs() < share, "{a} {b}\n{:?}", fit.estimates);
    near(fit.profile.thermal.sink_j_per_k, 450.0, 0.1);
    near(fit.profile.fan.cooling[0].sink_to_ambient_k_per_w, 2.4, 0.1);
    assert!(fit.pass(), "{:?}", fit.stretches);
}

/// A board at work that then cools down, sampled every half second. Synthetic, of the plant itself.
#[test]
fn a_cool_down_trace_tells_die_and_sink() {
    let start = Profile::agx_orin_hf();
    let mut hidden = start.clone();
    hidden.thermal.die_j_per_k = 50.0;
    hidden.thermal.sink_j_per_k = 420.0;
    hidden.thermal.die_to_sink_k_per_w = 0.09;
    hidden.fan.cooling[0].sink_to_ambient_k_per_w = 2.2;
    let conditions = Conditions { noise: false, vendor_fan: false, start_c: 45.0, ..Conditions::default() };
    let mut plant = Plant::new(&hidden, conditions);
    let mut csv = "time_s,temperature_c,power_w,fan_pwm\n".to_owned();
    for sample in 0..2400 {
        let before_c = plant.temperature_c();
        let time_s = plant.elapsed_s();
        let working = (200..800).contains(&sample) || (1000..1100).contains(&sample);
        let interval = if working { plant.decode(32, 11, 16) } else { plant.idle(0.5) };
        let power_w = interval.mean_power_w();
        // A trace begins on a board whose die has found its place above the sink.
        if sample >= 60 {
            writeln!(csv, "{time_s},{before_c},{power_w},0").unwrap();
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), csv).unwrap();
    assert!(is_trace(file.path()));
    let trace = Trace::read(file.path(), &start, 25.0).unwrap();
    let fit = fit_thermal(&[Source::Trace(trace)], &start).unwrap();
    let near = |a: f64, b: f64, share: f64| assert!((a / b - 1.0).abs() < share, "{a} {b}\n{:?}", fit.estimates);
    near(fit.profile.thermal.die_j_per_k, 50.0, 0.1);
    near(fit.profile.thermal.sink_j_per_k, 420.0, 0.03);
    near(fit.profile.thermal.die_to_sink_k_per_w, 0.09, 0.1);
    near(fit.profile.fan.cooling[0].sink_to_ambient_k_per_w, 2.2, 0.03);
    assert!(fit.estimates[0].identified, "{:?}", fit.estimates);
}

#[test]
fn fan_off_stretches_of_the_published_logs_are_met_within_a_kelvin() {
    let names = ["online_training.csv", "grid_fan_off.csv"];
    let Some(paths) = names.map(published).into_iter().collect::<Option<Vec<_>>>() else { return };
    let start = Profile::agx_orin_hf();
    for path in paths {
        let log = ThermalLog::read(&path, &start, &Options::default()).unwrap().unwrap();
        let fit = fit_thermal(&[Source::Log(log)], &start).unwrap();
        assert!(fit.stretches.iter().any(|stretch| stretch.fan_pwm == 0), "{}", path.display());
        assert!(fit.pass(), "{}: {:?}", path.display(), fit.stretches);
    }
}

#[test]
fn what_is_no_sweep_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    let says = |text: &str| {
        std::fs::write(&path, text).unwrap();
        data::read(&path, &Profile::agx_orin_hf()).unwrap_err().to_string()
    };
    assert!(says("a,b\n1,2\n").contains("no column `prefill_freq_bin`"));
    let header = "prefill_freq_bin,decode_freq_bin,effective_batch_size,num_prompt_tokens,num_decode_tokens,prefill_time,\
                  decode_time,decode_power_w,energy\n";
    assert!(says(&format!("{header}0,0,1,10,100,0.1,5,20,nan\n")).contains("line 2: `energy`"));
    assert!(says(&format!("{header}99,0,1,10,100,0.1,5,20,100\n")).contains("line 2: `prefill_freq_bin`"));
    assert!(says(&format!("{header}0,0,1,10,100,0.1,5,20,100\n")).contains("has 1 rows"));
}
