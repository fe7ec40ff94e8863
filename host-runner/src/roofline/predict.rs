//! Time and power of one request.

use super::board::{Mode, Roofline};
use super::model::{Quantization, Shape};

/// Prompt tokens that llama.cpp works on at once.
pub(super) const CHUNK_TOKENS: f64 = 512.0;

/// A model on its way through the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Its layers and widths.
    pub shape: Shape,
    /// Parameters, embeddings included.
    pub parameters: f64,
    /// How its weights are stored.
    pub quantization: Quantization,
}

/// What one request costs: one sequence, prompt first, then one token after the other.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// Time to read the prompt, s.
    pub prefill_s: f64,
    /// Time to write the answer, s.
    pub decode_s: f64,
    /// Mean power while prefilling, W.
    pub prefill_power_w: f64,
    /// Mean power while decoding, W.
    pub decode_power_w: f64,
    /// Prompt tokens by prefill time; 0 without a prompt.
    pub prefill_tokens_per_s: f64,
    /// Answer tokens by decode time.
    pub decode_tokens_per_s: f64,
    /// Answer tokens by the time of the whole request.
    pub tokens_per_s: f64,
    /// Energy by time, whole request, W.
    pub power_w: f64,
    /// Answer tokens by the energy of the whole request.
    pub tokens_per_j: f64,
    /// Answer tokens by the energy of the decode alone.
    pub decode_tokens_per_j: f64,
}

/// One decode step: its parts, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Reading weights and cache.
    pub memory_s: f64,
    /// GPU work.
    pub issue_s: f64,
    /// The part of it that keeps the multiprocessors busy.
    pub busy_s: f64,
    /// Both, overlapped.
    pub gpu_s: f64,
    /// The CPU between two tokens.
    pub host_s: f64,
    /// Bytes read.
    pub bytes: f64,
}

/// Time and power of a request of `prompt_tokens` and `output_tokens` in a power mode.
///
/// Both counts at least 0, together above 0; the first answer token counts as decoded.
#[must_use]
pub fn predict(board: &Roofline, mode: &Mode, model: &Model, prompt_tokens: f64, output_tokens: f64) -> Prediction {
    let (prefill_s, prefill_power_w) = prefill(board, mode, model, prompt_tokens);
    let step = step(board, mode, model, prompt_tokens + output_tokens / 2.0);
    let step_s = step.gpu_s + step.host_s;
    let decode_s = output_tokens * step_s;
    // While the CPU works between two tokens the GPU waits.
    let busy = step.busy_s / step_s;
    let decode_power_w = watts(board, mode, busy.min(1.0), step.bytes / step_s);
    let whole_s = prefill_s + decode_s;
    let energy_j = prefill_s * prefill_power_w + decode_s * decode_power_w;
    let by = |count: f64, of: f64| if of > 0.0 { count / of } else { 0.0 };
    Prediction {
        prefill_s,
        decode_s,
        prefill_power_w,
        decode_power_w,
        prefill_tokens_per_s: by(prompt_tokens, prefill_s),
        decode_tokens_per_s: by(output_tokens, decode_s),
        tokens_per_s: by(output_tokens, whole_s),
        power_w: by(energy_j, whole_s),
        tokens_per_j: by(output_tokens, energy_j),
        decode_tokens_per_j: by(output_tokens, decode_s * decode_power_w),
    }
}

/// One decode step with so many tokens in the cache.
pub(super) fn step(board: &Roofline, mode: &Mode, model: &Model, context_tokens: f64) -> Step {
    let Model { shape, parameters, quantization } = *model;
    let engine = &board.engine;
    let (body, head) = (shape.body_weights(parameters), shape.head_weights());
    let cache_bytes = shape.cache_bytes() * context_tokens;
    let bytes = (body * quantization.body_bits + head * quantization.head_bits) / 8.0 + cache_bytes;
    let cycles = body * engine.kernel(quantization.body_bits).decode_cycles
        + head * engine.kernel(quantization.head_bits).decode_cycles
        + cache_bytes / 2.0 * engine.kernel(16.0).decode_cycles;
    let f = mode.gpu_khz * 1e3;
    let (weights_s, layers_s) = (cycles / (mode.multiprocessors * f), shape.layers * engine.layer_s_ghz * 1e9 / f);
    let issue_s = weights_s + layers_s;
    let memory_s = bytes / (board.peak_bytes_per_s(mode) * engine.memory_efficiency);
    Step {
        memory_s,
        issue_s,
        busy_s: weights_s + board.power.layer_activity * layers_s,
        gpu_s: join(memory_s, issue_s, engine.sharpness),
        host_s: engine.host_s_ghz * 1e6 / mode.cpu_khz,
        bytes,
    }
}

/// Time and power of a prefill.
fn prefill(board: &Roofline, mode: &Mode, model: &Model, prompt_tokens: f64) -> (f64, f64) {
    if prompt_tokens <= 0.0 {
        return (0.0, watts(board, mode, 0.0, 0.0));
    }
    let Model { shape, parameters, quantization } = *model;
    let engine = &board.engine;
    let chunks = (prompt_tokens / CHUNK_TOKENS).ceil();
    let body = shape.body_weights(parameters);
    let f = mode.gpu_khz * 1e3;
    // Causal attention: half of prompt x prompt, for scores and for values.
    let attention_flop = 2.0 * prompt_tokens * prompt_tokens * shape.width * shape.layers;
    let flop = 2.0 * body * prompt_tokens + attention_flop;
    let rate = engine.kernel(quantization.body_bits).prefill_flop_per_cycle * mode.multiprocessors * f;
    let arithmetic_s = flop / rate + chunks * shape.layers * engine.prefill_layer_s_ghz * 1e9 / f;
    let bytes = chunks * body * quantization.body_bits / 8.0 + shape.head_weights() * quantization.head_bits / 8.0;
    let memory_s = bytes / (board.peak_bytes_per_s(mode) * engine.memory_efficiency);
    let seconds = join(memory_s, arithmetic_s, engine.sharpness);
    (seconds, watts(board, mode, arithmetic_s / seconds, bytes / seconds))
}

/// Power with the multiprocessors busy for a share of the time and so many bytes moved per second.
pub(super) fn watts(board: &Roofline, mode: &Mode, busy: f64, bytes_per_s: f64) -> f64 {
    let power = board.power;
    let (gpu, cpu, emc) = (mode.gpu_khz / 1e6, mode.cpu_khz / 1e6, mode.emc_khz / 1e6);
    power.idle_w
        + power.core_w_per_ghz2 * cpu * cpu
        + power.emc_w_per_ghz * emc
        + power.byte_j * bytes_per_s
        + busy * mode.multiprocessors * gpu * (power.gpu_w_per_ghz + power.gpu_w_per_ghz2 * gpu)
}

fn join(a: f64, b: f64, sharpness: f64) -> f64 {
    let (long, short) = if a > b { (a, b) } else { (b, a) };
    if long > 0.0 { long * (1.0 + (short / long).powf(sharpness)).powf(1.0 / sharpness) } else { 0.0 }
}
