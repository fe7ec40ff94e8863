//! One setting measured: settle, repeat, discard what was disturbed.

use super::grid::Key;
use super::rig::{Batch, Rig};
use serde::{Deserialize, Serialize};

/// How much is done for a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// Batches that count.
    pub repeats: usize,
    /// Fewest batches before them.
    pub warm_up: usize,
    /// Most batches before them; a row that has not settled by then says so.
    pub longest_warm_up: usize,
    /// Prompt of each request, tokens.
    pub prompt_tokens: u32,
    /// Answer of each request, tokens.
    pub answer_tokens: u32,
}

/// Two batches in a row that differ by less than this share in time and in power have settled.
const SETTLED_SHARE: f64 = 0.02;
/// And by less than this in temperature, K.
const SETTLED_K: f64 = 1.0;
/// Slower than the fastest batch of the row by this share, and hungrier by the next, means disturbed. Repeats of one
/// setting differ by 0.7 % in either (fan-on grid); a board that throttles gets slower and *less* hungry.
const SLOWER_SHARE: f64 = 0.05;
const HUNGRIER_SHARE: f64 = 0.02;
/// Batches that may be discarded per batch that counts; beyond, the disturbance is the normal state and is kept and flagged.
const MOST_DISCARDED: usize = 4;

/// Limits of the published study, for its flags.
const SLO_S: f64 = 15.0;
const HOT_C: f64 = 100.0;
const MOST_W: f64 = 60.0;

/// One row of the file: the columns published with the study this project starts from, then ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Index of the prefill clock.
    pub prefill_freq_bin: usize,
    /// Index of the decode clock.
    pub decode_freq_bin: usize,
    /// Sequences.
    pub effective_batch_size: u16,
    /// Rails, prefill and decode, J.
    pub energy: f64,
    /// Prefill and decode, s.
    pub latency: f64,
    /// The same with the gaps around it, s.
    pub inference_time: f64,
    /// Mean of the two phases' powers, W: as published, not energy by time.
    pub avg_power: f64,
    /// Junction, C.
    pub temperature: f64,
    /// Share of 60 W that is left.
    pub power_headroom: f64,
    /// Slower than 15 s.
    pub slo_violation: Flag,
    /// Hotter than 100 C.
    pub temp_violation: Flag,
    /// More than 60 W.
    pub power_violation: Flag,
    /// Prompt and answer tokens by latency, 1/s.
    pub throughput_raw: f64,
    /// One by energy and latency, 1/(J s).
    pub edp_efficiency_raw: f64,
    /// Rails while prefilling, W.
    pub prefill_power_w: f64,
    /// Rails while decoding, W.
    pub decode_power_w: f64,
    /// Prefill, s.
    pub prefill_time: f64,
    /// Decode, s.
    pub decode_time: f64,
    /// Prompt tokens of the batch.
    pub num_prompt_tokens: u32,
    /// Answer tokens of the batch.
    pub num_decode_tokens: u32,
    /// Decoder layers.
    pub depth: u16,
    /// Fan duty, 0 to 255.
    pub fan_pwm: u8,
    /// Prefill clock, kHz.
    pub prefill_khz: u32,
    /// Decode clock, kHz.
    pub decode_khz: u32,
    /// Fan, J; not in `energy`. Empty on a real board, where no rail has it by itself.
    pub fan_energy: Option<f64>,
    /// Batches that count.
    pub repeats: usize,
    /// Standard deviation of the latency between them, s.
    pub latency_sd: f64,
    /// Standard deviation of the energy between them, J.
    pub energy_sd: f64,
    /// Batches before them.
    pub warm_up: usize,
    /// Two warm-up batches in a row agreed.
    pub settled: Flag,
    /// Batches thrown away as disturbed.
    pub discarded: usize,
    /// Too many were disturbed; what counts may be, too.
    pub disturbed: Flag,
    /// Every batch that counts ran at the clock that was set.
    pub as_set: Flag,
    /// True on a simulated board.
    pub simulated: Flag,
}

/// A truth value as the published logs write it: `True` or `False`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flag {
    /// Yes.
    True,
    /// No.
    False,
}

impl From<bool> for Flag {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl Row {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            prefill: self.prefill_freq_bin,
            decode: self.decode_freq_bin,
            batch: self.effective_batch_size,
            depth: self.depth,
            fan_pwm: self.fan_pwm,
        }
    }
}

/// Measures one setting; `None` when the board switched itself off.
///
/// # Errors
/// What the rig says.
pub fn measure<R: Rig>(rig: &mut R, key: &Key, effort: &Effort, simulated: bool) -> Result<Option<Row>, R::Error> {
    rig.begin(key)?;
    let setting = key.setting(rig.clocks_khz());
    let run = |rig: &mut R| rig.batch(&setting, effort.prompt_tokens, effort.answer_tokens);
    let (mut warm_up, mut settled, mut last) = (0, false, None::<Batch>);
    while warm_up < effort.longest_warm_up && !(settled && warm_up >= effort.warm_up) {
        let batch = run(rig)?;
        settled = last.is_some_and(|last| agree(&last, &batch));
        last = Some(batch);
        warm_up += 1;
    }
    let mut batches: Vec<Batch> = Vec::new();
    let mut discarded = 0;
    let most = effort.repeats * MOST_DISCARDED;
    loop {
        batches.push(run(rig)?);
        if rig.is_off() {
            return Ok(None);
        }
        // The fastest batch may come late: every new one may unmask those before it.
        if discarded < most {
            let before = batches.len();
            drop_disturbed(&mut batches);
            discarded += before - batches.len();
        }
        if batches.len() >= effort.repeats {
            break;
        }
    }
    let disturbed = discarded >= most;
    let count = Count { warm_up, settled, discarded, disturbed, simulated };
    Ok(Some(assemble(key, rig.clocks_khz(), effort, &batches, &count)))
}

fn agree(a: &Batch, b: &Batch) -> bool {
    let near = |x: f64, y: f64| (x / y - 1.0).abs() < SETTLED_SHARE;
    near(a.latency_s(), b.latency_s())
        && near(a.power_w(), b.power_w())
        && (a.temperature_c - b.temperature_c).abs() < SETTLED_K
}

/// Removes every batch that is both slower and hungrier than the fastest one at the same clock.
fn drop_disturbed(batches: &mut Vec<Batch>) {
    let fastest = batches.iter().copied().min_by(|a, b| a.latency_s().total_cmp(&b.latency_s()));
    if let Some(fastest) = fastest {
        batches.retain(|batch| {
            let slower = batch.latency_s() > fastest.latency_s() * (1.0 + SLOWER_SHARE);
            let hungrier = batch.power_w() > fastest.power_w() * (1.0 + HUNGRIER_SHARE);
            !(slower && hungrier && batch.as_set == fastest.as_set)
        });
    }
}

struct Count {
    warm_up: usize,
    settled: bool,
    discarded: usize,
    disturbed: bool,
    simulated: bool,
}

fn assemble(key: &Key, clocks_khz: &[u32], effort: &Effort, batches: &[Batch], count: &Count) -> Row {
    let mean = |of: fn(&Batch) -> f64| batches.iter().map(of).sum::<f64>() / batches.len() as f64;
    let spread = |of: fn(&Batch) -> f64| {
        let mean = mean(of);
        let squares: f64 = batches.iter().map(|batch| (of(batch) - mean).powi(2)).sum();
        (squares / batches.len().saturating_sub(1).max(1) as f64).sqrt()
    };
    let (prefill_time, decode_time) = (mean(|b| b.prefill_s), mean(|b| b.decode_s));
    let (energy, latency) = (mean(Batch::energy_j), mean(Batch::latency_s));
    let prefill_power_w = mean(|b| b.prefill_j) / prefill_time;
    let decode_power_w = mean(|b| b.decode_j) / decode_time;
    let avg_power = f64::midpoint(prefill_power_w, decode_power_w);
    let sequences = u32::from(key.batch);
    let (num_prompt_tokens, num_decode_tokens) = (sequences * effort.prompt_tokens, sequences * effort.answer_tokens);
    let temperature = mean(|b| b.temperature_c);
    let clock = |index: usize| clocks_khz.get(index).copied().unwrap_or(0);
    Row {
        prefill_freq_bin: key.prefill,
        decode_freq_bin: key.decode,
        effective_batch_size: key.batch,
        energy,
        latency,
        inference_time: mean(|b| b.whole_s),
        avg_power,
        temperature,
        power_headroom: (MOST_W - avg_power) / MOST_W,
        slo_violation: (latency > SLO_S).into(),
        temp_violation: (temperature > HOT_C).into(),
        power_violation: (avg_power > MOST_W).into(),
        throughput_raw: f64::from(num_prompt_tokens + num_decode_tokens) / latency,
        edp_efficiency_raw: 1.0 / (energy * latency),
        prefill_power_w,
        decode_power_w,
        prefill_time,
        decode_time,
        num_prompt_tokens,
        num_decode_tokens,
        depth: key.depth,
        fan_pwm: key.fan_pwm,
        prefill_khz: clock(key.prefill),
        decode_khz: clock(key.decode),
        fan_energy: batches.iter().map(|batch| batch.fan_j).sum::<Option<f64>>().map(|sum| sum / batches.len() as f64),
        repeats: batches.len(),
        latency_sd: spread(Batch::latency_s),
        energy_sd: spread(Batch::energy_j),
        warm_up: count.warm_up,
        settled: count.settled.into(),
        discarded: count.discarded,
        disturbed: count.disturbed.into(),
        as_set: batches.iter().all(|batch| batch.as_set).into(),
        simulated: count.simulated.into(),
    }
}
