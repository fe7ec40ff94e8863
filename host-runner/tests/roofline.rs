//! llama.cpp on boards that it was not fitted to.

use host_runner::env::profile::BoardProfile;
use host_runner::roofline::board::Mode;
use host_runner::roofline::predict::Model;
use host_runner::roofline::{Quantization, Roofline, Shape, points, predict, report};
use proptest::prelude::*;
use std::path::Path;

const PROFILES: [&str; 2] = ["agx-orin-llamacpp", "orin-nano-super-llamacpp"];

fn profile(name: &str) -> BoardProfile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../models/boards/{name}.toml"));
    BoardProfile::read(&path).unwrap()
}

fn boards() -> Vec<Roofline> {
    PROFILES.map(|name| profile(name).roofline.unwrap()).to_vec()
}

fn llama_1b(quantization: &str) -> Model {
    let parameters = 1.236e9;
    Model { shape: Shape::of("Llama-3.2-1B", parameters), parameters, quantization: quantization.parse().unwrap() }
}

/// The table [plant] is what the table [roofline] says: nobody edited one of them alone.
#[test]
fn the_simulated_board_follows_from_the_data_sheet() {
    for name in PROFILES {
        let profile = profile(name);
        let derived = profile.roofline.as_ref().unwrap().plant(&profile.plant).unwrap();
        let (a, b) = (toml::Value::try_from(&profile.plant).unwrap(), toml::Value::try_from(&derived).unwrap());
        assert_near(&a, &b, name);
    }
}

fn assert_near(a: &toml::Value, b: &toml::Value, place: &str) {
    match (a, b) {
        (toml::Value::Table(a), toml::Value::Table(b)) => {
            for (key, value) in a {
                assert_near(value, &b[key], &format!("{place}.{key}"));
            }
        }
        (toml::Value::Array(a), toml::Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            a.iter().zip(b).for_each(|(a, b)| assert_near(a, b, place));
        }
        (toml::Value::Float(a), toml::Value::Float(b)) => {
            assert!((a - b).abs() <= 2e-3 * a.abs().max(b.abs()) + 1e-9, "{place}: {a} in the file, {b} derived");
        }
        _ => assert_eq!(a, b, "{place}"),
    }
}

/// The plant in the mode that it stands for decodes as the roofline says, at batch 1 and its reference context.
#[test]
fn plant_and_roofline_agree() {
    use firmware_sim::plant::{latency, power};
    for name in PROFILES {
        let profile = profile(name);
        let roofline = profile.roofline.unwrap();
        let mode = roofline.mode(&roofline.plant_mode).unwrap();
        let context = roofline.plant_model.context_tokens;
        let said = predict(&roofline, mode, &roofline.plant_load(), context - 1.0, 2.0);
        let khz = *profile.plant.gpu_clock_khz.last().unwrap();
        let step_s = latency::decode_step_seconds(&profile.plant, khz, 1, profile.plant.layers, 1.0);
        assert!((step_s * said.decode_tokens_per_s - 1.0).abs() < 0.03, "{name}: {step_s} {said:?}");
        let reference_c = profile.plant.power.leakage.reference_c;
        let watts = power::decode_watts(&profile.plant, khz, 1, profile.plant.layers, step_s, reference_c);
        assert!((watts / said.decode_power_w - 1.0).abs() < 0.08, "{name}: {watts} {said:?}");
        let prefill_s = latency::prefill_seconds(&profile.plant, khz, 1, 512, profile.plant.layers);
        let said = predict(&roofline, mode, &roofline.plant_load(), 512.0, 0.0);
        assert!((prefill_s / said.prefill_s - 1.0).abs() < 0.15, "{name}: {prefill_s} {said:?}");
    }
}

/// The measurements by others that ship with the profiles: rates within ten percent at the median, and every ranking.
#[test]
fn points_measured_by_others_are_met() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/boards/llamacpp-points.csv");
    let points = points::read(&path).unwrap();
    let boards = boards();
    let report = report::answer(&points, &boards).unwrap();
    assert!(report.pass(), "{report}");
    assert!(report.rankings.len() >= 4, "{report}");
}

/// Rates of an Orin Nano in three modes, which no parameter of the engine was fitted to.
#[test]
fn held_out_rates_of_the_small_board_are_met() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/boards/llamacpp-points.csv");
    let points: Vec<_> =
        points::read(&path).unwrap().into_iter().filter(|point| point.board.contains("Orin Nano")).collect();
    let boards = boards();
    let report = report::answer(&points, &boards).unwrap();
    let (rate, prefill) = (report.errors["tokens_per_s"], report.errors["prefill_tokens_per_s"]);
    assert!(rate.rows >= 6 && rate.median_pct < 6.0 && rate.worst_pct < 15.0, "{report}");
    assert!(prefill.worst_pct < 8.0, "{report}");
}

/// The llama-bench table of an AGX Orin that the engine was fitted to: eight models and quantizations. Its power mode is
/// not stated; 30 W is how the board ships. Where the published anchors are at hand.
#[test]
fn the_llama_bench_table_of_the_fit_is_met() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/anchors/agxorin64_llamabench_small_models_nixos.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not at hand", path.display());
        return;
    };
    let boards = boards();
    let mut errors = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let parameters = match cells[0] {
            name if name.contains("0.6B") => 0.596e9,
            name if name.contains("1.7B") => 1.72e9,
            name if name.contains("3B") => 3.213e9,
            _ => 1.236e9,
        };
        let model =
            Model { shape: Shape::of(cells[0], parameters), parameters, quantization: cells[1].parse().unwrap() };
        let mode = boards[0].mode("30W").unwrap();
        let decode = predict(&boards[0], mode, &model, 0.0, 128.0).decode_tokens_per_s;
        let error = decode / cells[4].parse::<f64>().unwrap() - 1.0;
        println!("{} {} fa {}: {decode:.2} tokens/s, {:+.1} %", cells[0], cells[1], cells[2], 100.0 * error);
        errors.push(error.abs());
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors.len() >= 7 && errors[errors.len() / 2] < 0.12, "{errors:?}");
}

#[test]
fn requests_and_phases_add_up() {
    let boards = boards();
    let mode = boards[1].mode("25w").unwrap();
    let p = predict(&boards[1], mode, &llama_1b("Q4_K_M"), 512.0, 128.0);
    let energy_j = p.prefill_s * p.prefill_power_w + p.decode_s * p.decode_power_w;
    assert!((p.tokens_per_j * energy_j / 128.0 - 1.0).abs() < 1e-12);
    assert!((p.tokens_per_s / p.power_w / p.tokens_per_j - 1.0).abs() < 1e-12);
    assert!(p.tokens_per_s < p.decode_tokens_per_s);
}

#[test]
fn what_cannot_be_predicted_is_said() {
    let boards = boards();
    let header = "model,parameters,quantization_bits,board,power_mode,prompt_tokens,output_tokens\n";
    let says = |text: &str| match points::parse(text.as_bytes()) {
        Ok(points) => report::answer(&points, &boards).map_or_else(|error| error.to_string(), |_| String::new()),
        Err(error) => error.to_string(),
    };
    for (row, words) in [
        ("x,1,4,Orin Nano,40W,1,1", "no power mode `40W`; this board has MAXN_SUPER, 25W, 15W, 7W"),
        ("x,1,4,Raspberry Pi,MAXN,1,1", "no profile is called `Raspberry Pi`"),
        ("x,1,Q9,Orin Nano,7W,1,1", "is no quantization"),
        ("x,many,4,Orin Nano,7W,1,1", "is no number of parameters"),
        ("x,1,4,Orin Nano,7W,0,0", "no tokens at all"),
        ("x,1,4,Orin Nano,7W,1,", "column `output_tokens`"),
    ] {
        let said = says(&format!("{header}{row}\n"));
        assert!(said.contains(words), "{row}: {said}");
    }
    assert!(says("model,board\nx,y\n").contains("need a column `parameters`"));
    assert!(says(header).contains("no rows"));
    assert_eq!(says(&format!("{header}x,1.2B,4.5,jetson orin-nano (super) 8gb,maxn super,1,1\n")), "");
}

proptest! {
    /// More clock, more cores, faster memory: never slower. A smaller file: never slower on the same kernels.
    #[test]
    fn better_hardware_is_never_slower(
        gpu in 2e5..2e6f64, sms in 1.0..32.0f64, emc in 5e5..5e6f64, cpu in 5e5..3e6f64, up in 1.01..2.0f64,
        which in 0usize..4, prompt in 0.0..4096.0f64,
    ) {
        let board = &boards()[0];
        let mode = Mode { name: "x".into(), gpu_khz: gpu, multiprocessors: sms, emc_khz: emc, cpu_khz: cpu };
        let mut better = mode.clone();
        match which {
            0 => better.gpu_khz *= up,
            1 => better.multiprocessors *= up,
            2 => better.emc_khz *= up,
            _ => better.cpu_khz *= up,
        }
        let model = llama_1b("Q4_K_M");
        let (a, b) = (predict(board, &mode, &model, prompt, 64.0), predict(board, &better, &model, prompt, 64.0));
        prop_assert!(b.tokens_per_s >= a.tokens_per_s * (1.0 - 1e-12));
        prop_assert!(b.power_w >= a.power_w * 0.99, "a faster board does not draw less: {a:?} {b:?}");
        prop_assert!(a.power_w.is_finite() && a.tokens_per_j > 0.0);
    }

    #[test]
    fn longer_contexts_are_never_faster(prompt in 0.0..8192.0f64, more in 1.0..8192.0f64) {
        let board = &boards()[1];
        let model = Model { quantization: Quantization::of_bits(8.5), ..llama_1b("Q8_0") };
        let at = |prompt| predict(board, &board.modes[0], &model, prompt, 32.0).decode_tokens_per_s;
        prop_assert!(at(prompt + more) <= at(prompt));
    }
}
