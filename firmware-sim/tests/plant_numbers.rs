//! The plant against published numbers of the board it stands for: medians of the fan-on grid, the saving that a lower
//! clock brings, the throttle plateau. Tolerances are stated with each.

use firmware_sim::plant::power::{Lag, logged_prefill_watts};
use firmware_sim::plant::{Conditions, Interval, Plant, Profile, latency, power};

const DEPTH: u32 = 16;

fn decode_s(profile: &Profile, clock: usize, batch: u32) -> f64 {
    100.0 * latency::decode_step_seconds(profile, profile.gpu_clock_khz[clock], batch, DEPTH, 1.0)
}

/// Energy of a batch as the grid logged it: at the fit's temperature, prefill power as the sensor's lag left it.
fn logged_energy_j(profile: &Profile, clock: usize, batch: u32) -> f64 {
    let khz = profile.gpu_clock_khz[clock];
    let decode_s = decode_s(profile, clock, batch);
    let reference_c = profile.power.leakage.reference_c;
    let decode_w = power::decode_watts(profile, khz, batch, DEPTH, decode_s / 100.0, reference_c);
    let middle_khz = profile.gpu_clock_khz[5];
    let prefill_s = latency::prefill_seconds(profile, middle_khz, batch, batch * 17, DEPTH);
    decode_w * decode_s + logged_prefill_watts(Lag::SameRow, decode_w, middle_khz) * prefill_s
}

fn close(got: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((got / expected - 1.0).abs() <= tolerance, "{what}: {got:.4}, expected {expected} within {tolerance}");
}

#[test]
fn decode_medians_of_the_fan_on_grid() {
    let batches = [1, 7, 13, 19, 25, 31, 32];
    let medians_s = [
        (0, [5.667, 6.399, 7.188, 7.815, 8.578, 9.383, 9.47]),
        (1, [4.730, 4.926, 5.506, 5.962, 6.540, 7.131, 7.21]),
        (2, [4.589, 4.634, 4.694, 4.960, 5.420, 5.909, 5.96]),
        (3, [4.466, 4.513, 4.532, 4.505, 4.673, 5.046, 5.10]),
        (4, [4.371, 4.442, 4.431, 4.395, 4.419, 4.573, 4.58]),
        (5, [4.329, 4.386, 4.369, 4.351, 4.343, 4.386, 4.39]),
        (6, [4.294, 4.361, 4.341, 4.298, 4.298, 4.333, 4.33]),
        (8, [4.300, 4.359, 4.338, 4.286, 4.296, 4.331, 4.32]),
        (10, [4.305, 4.365, 4.342, 4.294, 4.307, 4.319, 4.30]),
    ];
    let profile = Profile::agx_orin_hf();
    let mut errors = Vec::new();
    for (clock, row) in medians_s {
        for (batch, median_s) in batches.into_iter().zip(row) {
            let got_s = decode_s(&profile, clock, batch);
            close(got_s, median_s, 0.05, &format!("decode s at clock {clock}, batch {batch}"));
            errors.push((got_s / median_s - 1.0).abs());
        }
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean < 0.015, "mean absolute error {mean:.4}");
}

#[test]
fn prefill_kernels_change_shape_at_their_edges() {
    let profile = Profile::agx_orin_hf();
    let lowest = |tokens| latency::prefill_seconds(&profile, 306_000, 8, tokens, DEPTH);
    close(lowest(128), 0.095, 0.06, "306 MHz, 128 tokens");
    close(lowest(144), 0.156, 0.06, "306 MHz, 144 tokens");
    close(lowest(187), 0.167, 0.06, "306 MHz, 187 tokens");
    close(lowest(204), 0.140, 0.06, "306 MHz, 204 tokens");
}

#[test]
fn energy_medians_and_the_saving_of_a_lower_clock() {
    // Batch, J per batch at clocks 0 2 3 4 5 6 8 10, best saving against clock 10.
    let table = [
        (1, [127.0, 110.3, 109.3, 108.8, 110.1, 112.5, 119.7, 126.6], 0.141),
        (8, [143.8, 117.2, 116.7, 117.1, 118.8, 121.6, 129.2, 137.2], 0.149),
        (16, [164.8, 128.9, 125.5, 126.4, 129.0, 132.0, 139.9, 149.6], 0.161),
        (24, [184.1, 143.9, 138.1, 135.4, 138.8, 142.3, 150.4, 161.4], 0.161),
        (32, [205.4, 160.4, 152.7, 146.8, 146.5, 150.3, 158.5, 168.9], 0.132),
    ];
    let profile = Profile::agx_orin_hf();
    for (batch, medians_j, saving) in table {
        let got_j = [0, 2, 3, 4, 5, 6, 8, 10].map(|clock| logged_energy_j(&profile, clock, batch));
        for (got, median) in got_j.into_iter().zip(medians_j) {
            close(got, median, 0.03, &format!("J at batch {batch}"));
        }
        let got_saving = 1.0 - got_j.into_iter().fold(f64::INFINITY, f64::min) / got_j[7];
        assert!((got_saving - saving).abs() < 0.025, "saving at batch {batch}: {got_saving:.3}, expected {saving}");
    }
}

#[test]
fn depth_shortens_decode_by_at_most_37_percent() {
    let profile = Profile::agx_orin_hf();
    let at_depth = |depth| latency::decode_step_seconds(&profile, 1_300_500, 1, depth, 1.0);
    close(1.0 - at_depth(9) / at_depth(16), 0.37, 0.02, "share saved at 9 of 16 layers");
}

/// One warm-up and then batches at the highest clock, fan off, until `seconds` have passed.
fn run_hot(batch: u32, seconds: f64) -> (Plant, Vec<Interval>) {
    let conditions = Conditions { start_c: 90.0, fan_working: false, noise: false, ..Conditions::default() };
    let mut plant = Plant::new(&Profile::agx_orin_hf(), conditions);
    let mut batches = Vec::new();
    while plant.elapsed_s() < seconds {
        batches.push(plant.prefill(batch, batch * 17, DEPTH).then(plant.decode(batch, 100, DEPTH)));
        plant.idle(0.5);
    }
    (plant, batches)
}

#[test]
fn throttling_holds_99_c_and_stretches_batches() {
    // Early-exit log above 98.8 C, slowdown by requested batch: 13..19: 1.4; 31: 1.5 in the middle, 1.2..1.9.
    for (batch, low, high) in [(16, 1.2, 1.5), (32, 1.2, 1.9)] {
        let (plant, batches) = run_hot(batch, 2000.0);
        let cool_s = decode_s(plant.profile(), 10, batch);
        let plateau = &batches[batches.len() / 2..];
        let mean = |of: fn(&Interval) -> f64| plateau.iter().map(of).sum::<f64>() / plateau.len() as f64;
        let slowdown = mean(|b| b.duration_s) / cool_s;
        assert!((low..=high).contains(&slowdown), "batch {batch}: slowdown {slowdown:.2}");
        let mean_c = mean(|b| b.mean_temperature_c);
        assert!((mean_c - 99.0).abs() <= 0.3, "batch {batch}: plateau at {mean_c:.2} C");
        assert!(plateau.iter().all(|b| (b.max_temperature_c - 99.0).abs() <= 0.3));
        assert!(plant.is_throttled() && !plant.is_off());
    }
    let (_, batches) = run_hot(32, 2000.0);
    let late = &batches[batches.len() / 2..];
    let throttled = late.iter().map(|b| b.throttled_s).sum::<f64>() / late.iter().map(|b| b.duration_s).sum::<f64>();
    assert!(throttled > 0.99, "throttled {throttled:.2} of the time");
}

#[test]
fn an_oven_switches_the_board_off_for_good() {
    let conditions = Conditions { ambient_c: 60.0, start_c: 95.0, fan_working: false, ..Conditions::default() };
    let mut plant = Plant::new(&Profile::agx_orin_hf(), conditions);
    let mut last = plant.idle(1.0);
    while last.completed && plant.elapsed_s() < 3600.0 {
        last = plant.prefill(32, 544, DEPTH).then(plant.decode(32, 100, DEPTH));
    }
    assert!(plant.is_off() && !last.completed);
    assert!(plant.temperature_c() >= 100.5);
    let refused = plant.decode(1, 100, DEPTH);
    assert_eq!((refused.completed, refused.duration_s.to_bits()), (false, 0));
    let rest = plant.idle(600.0);
    assert_eq!(rest.energy_j.to_bits(), 0);
    assert!(plant.is_off() && rest.end_temperature_c < 100.0);
}

#[test]
fn the_fan_at_full_speed_comes_to_rest_where_the_training_log_did() {
    // 618 steps with the fan on: 45.9 C at (7,6,32) with 2.51 s between batches, room about 25 C.
    let conditions = Conditions { floor_scale: 0.965, noise: false, vendor_fan: false, ..Conditions::default() };
    let mut plant = Plant::new(&Profile::agx_orin_hf(), conditions);
    plant.set_fan_pwm_floor(255);
    plant.set_gpu_clock(6);
    let mut decode = plant.idle(1.0);
    while plant.elapsed_s() < 3000.0 {
        plant.idle(2.51);
        plant.prefill(32, 560, DEPTH);
        decode = plant.decode(32, 100, DEPTH);
    }
    assert!((decode.mean_temperature_c - 45.9).abs() < 0.5, "{:.2} C", decode.mean_temperature_c);
}

#[test]
fn the_same_bits_on_every_machine() {
    let mut plant = Plant::new(&Profile::agx_orin_hf(), Conditions { seed: 7, ..Conditions::default() });
    let mut total = plant.idle(3.3);
    for (clock, batch) in [(10, 32), (0, 1), (6, 31), (3, 8)] {
        plant.set_gpu_clock(clock);
        total = total.then(plant.prefill(batch, batch * 15, 13)).then(plant.decode(batch, 100, 13));
    }
    let bits = [total.duration_s, total.energy_j, total.fan_energy_j, total.end_temperature_c, plant.sense()];
    // Recorded on x86-64. They change with the physics, never with the machine.
    let recorded = [
        0x4033_3C65_A7BF_E819,
        0x407E_5804_F5B7_6698,
        0x3FE0_0251_340D_2066,
        0x4044_CF11_E6CF_8CDC,
        0x4044_E400_0000_0000,
    ];
    assert_eq!(bits.map(f64::to_bits), recorded, "{bits:?}");
}
