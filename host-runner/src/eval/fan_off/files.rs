//! Both CSV files in the published format: first the published columns, then ours. What a board does not have (a simulated one:
//! single rails, temperatures but one; every one: the CPU's clock) stays empty; nothing is written as 0 that was not measured.

use super::Run;
use super::rig::{Batch, Phase, Sample, Sensors};
use crate::report::csv_file::{CsvFileError, write};
use std::path::Path;

const RESULTS: [&str; 33] = [
    "timestamp",
    "layers",
    "prefill_freq_bin",
    "decode_freq_bin",
    "batch_size_config",
    "effective_batch_size",
    "tokenize_time",
    "prefill_compute_time",
    "prefill_time",
    "prefill_throughput",
    "num_prompt_tokens",
    "decode_time",
    "decode_throughput",
    "decode_latency_ms",
    "num_decode_tokens",
    "request_latency_sec",
    "avg_entropy",
    "prefill_GPU",
    "prefill_CPU",
    "prefill_MEM",
    "prefill_I/O_POWER",
    "prefill_TOTAL_POWER",
    "prefill_CPU_TEMP",
    "prefill_GPU_TEMP",
    "prefill_TJ_TEMP",
    "decode_GPU",
    "decode_CPU",
    "decode_MEM",
    "decode_I/O_POWER",
    "decode_TOTAL_POWER",
    "decode_CPU_TEMP",
    "decode_GPU_TEMP",
    "decode_TJ_TEMP",
];
const OUR_RESULTS: [&str; 10] = [
    "governor",
    "depth",
    "fan_pwm",
    "fan_working",
    "gpu_clock_mhz",
    "throttled_s",
    "idle_s",
    "energy_j",
    "energy_per_token_j",
    "reason",
];

/// Columns of the temperatures: the published ones, then ours.
pub const TEMPERATURE_COLUMNS: [&str; 15] = [
    "timestamp",
    "layers",
    "gpu_freq_mhz",
    "cpu_freq_mhz",
    "gpu_temp_c",
    "cpu_temp_c",
    "tj_temp_c",
    "vdd_gpu_soc_mw",
    "vdd_cpu_cv_mw",
    "vin_sys_5v0_mw",
    "vddq_vdd2_1v8ao_mw",
    "governor",
    "total_power_w",
    "fan_pwm",
    "fan_working",
];

/// Writes the batches. Timestamps are nanoseconds on the board's clock, `layers` is the number of the batch, as published.
pub fn write_results(run: &Run, path: &Path) -> Result<(), CsvFileError> {
    let rows = run.batches.iter().map(|batch| result(run, batch));
    write(path, RESULTS.iter().chain(&OUR_RESULTS), rows)
}

/// Writes the trace. Timestamps are seconds on the board's clock, `layers` is empty, as published.
pub fn write_temperatures(run: &Run, path: &Path) -> Result<(), CsvFileError> {
    let player = run.player.to_string();
    let rows = run.samples.iter().map(|sample| temperature(&player, sample).to_vec());
    write(path, TEMPERATURE_COLUMNS, rows)
}

/// A number to four decimals, as the published logs have them.
fn number(value: f64) -> String {
    format!("{value:.4}")
}

/// The same, or nothing where nobody has measured it.
fn known(value: Option<f64>) -> String {
    value.map_or_else(String::new, number)
}

/// Rails in W (GPU, CPU, memory, input and output, all), then zones.
fn phase(phase: &Phase) -> [String; 8] {
    let Sensors { cpu_c, gpu_c, tj_c, rails_mw: [gpu, cpu, io, memory] } = phase.sensors;
    let watts = |milliwatts: Option<f64>| known(milliwatts.map(|value| value / 1000.0));
    let power = [watts(gpu), watts(cpu), watts(memory), watts(io), known(phase.power_w)];
    let [gpu_w, cpu_w, memory_w, io_w, total_w] = power;
    [gpu_w, cpu_w, memory_w, io_w, total_w, known(cpu_c), known(gpu_c), known(tj_c)]
}

fn result(run: &Run, batch: &Batch) -> Vec<String> {
    let per_second = |tokens: u32, seconds: f64| number(f64::from(tokens) / seconds.max(1e-9));
    let steps = f64::from(batch.generated_tokens) / f64::from(batch.setting.batch.max(1));
    let mut row = vec![
        format!("{:.0}", batch.end_s * 1e9),
        batch.number.to_string(),
        batch.action.prefill.to_string(),
        batch.action.decode.to_string(),
        batch.setting.batch.to_string(),
        batch.setting.batch.to_string(),
        String::new(),
        String::new(),
        number(batch.prefill.seconds),
        per_second(batch.prompt_tokens, batch.prefill.seconds),
        batch.prompt_tokens.to_string(),
        number(batch.decode.seconds),
        per_second(batch.generated_tokens, batch.decode.seconds),
        number(batch.decode.seconds / steps.max(1.0) * 1000.0),
        batch.generated_tokens.to_string(),
        number(batch.latency_s()),
        String::new(),
    ];
    row.extend(phase(&batch.prefill));
    row.extend(phase(&batch.decode));
    row.extend([
        run.player.to_string(),
        batch.setting.depth.to_string(),
        batch.setting.fan_pwm.to_string(),
        batch.fan_working.to_string(),
        known(batch.clock_mhz),
        number(batch.throttled_s),
        number(batch.idle_s),
        known(batch.energy_j),
        batch
            .energy_j
            .map_or_else(String::new, |energy_j| format!("{:.6}", energy_j / f64::from(batch.generated_tokens.max(1)))),
        batch.reason.clone(),
    ]);
    row
}

/// A line of the trace.
#[must_use]
pub fn temperature(player: &str, sample: &Sample) -> [String; TEMPERATURE_COLUMNS.len()] {
    let absent = String::new;
    let Sensors { cpu_c, gpu_c, tj_c, rails_mw: [gpu, cpu, io, memory] } = sample.sensors;
    [
        number(sample.time_s),
        absent(),
        known(sample.clock_mhz),
        absent(),
        known(gpu_c),
        known(cpu_c),
        known(tj_c),
        known(gpu),
        known(cpu),
        known(io),
        known(memory),
        player.to_owned(),
        known(sample.power_w),
        sample.fan_pwm.map_or_else(absent, |pwm| pwm.to_string()),
        sample.fan_working.to_string(),
    ]
}
