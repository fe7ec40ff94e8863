//! The roofline as coefficients of the simulated board, so that `energyllm run` works with it.
//!
//! The plant's own form fits: `t = (floor^q + (work / f + rest)^q)^(1/q)`. For a host-bound engine the *floor* is what the
//! CPU needs to launch kernels; for llama.cpp it is what the memory needs to deliver the weights. Both do not shrink with
//! the GPU clock, and the plant does not ask why. Power is refitted in the plant's form over all clocks and batches.

use super::board::{Mode, Roofline};
use super::model::Shape;
use super::predict::{Model, step, watts};
use crate::fit::{FitError, Parameter, least_squares};
use firmware_sim::plant::Profile;
use firmware_sim::plant::latency::{self, REFERENCE_STEPS};
use firmware_sim::plant::power::decode_watts;
use firmware_sim::plant::profile::{DecodePower, DepthScaling, PrefillPower, Tile};

/// Significant digits that are kept: a profile is read by people.
const DIGITS: i32 = 6;

impl Roofline {
    /// The model that the simulated board runs.
    ///
    /// # Panics
    /// For a roofline that has not passed [`check`](Self::check).
    #[must_use]
    pub fn plant_load(&self) -> Model {
        let own = &self.plant_model;
        Model {
            shape: Shape::of(&own.name, own.parameters),
            parameters: own.parameters,
            quantization: own.quantization.parse().expect("checked"),
        }
    }

    /// Latency and power of `start` replaced by those of this roofline; clocks, heat, fan and noise stay.
    ///
    /// # Errors
    /// The refit of the power in the plant's form failed.
    pub fn plant(&self, start: &Profile) -> Result<Profile, FitError> {
        let mode = self.mode(&self.plant_mode).expect("checked").clone();
        let load = self.plant_load();
        let mut profile = start.clone();
        self.latency(&mut profile, &mode, &load);
        self.power(&mut profile, &mode, &load)?;
        Ok(profile)
    }

    fn latency(&self, profile: &mut Profile, mode: &Mode, load: &Model) {
        let engine = &self.engine;
        let Model { shape, parameters, quantization } = *load;
        let context = self.plant_model.context_tokens;
        let ghz = mode.gpu_khz / 1e6;
        let (with, without) = (step(self, mode, load, context), step(self, mode, load, 0.0));
        let host_s = with.host_s * REFERENCE_STEPS;
        let body = shape.body_weights(parameters);
        let head_bytes = shape.head_weights() * quantization.head_bits / 8.0;
        let rate = engine.kernel(quantization.body_bits).prefill_flop_per_cycle * mode.multiprocessors;
        let token_s_ghz = rounded(2.0 * body / rate / 1e9);
        let layer_share = (without.bytes - head_bytes) / without.bytes;
        let memory_s = without.memory_s * REFERENCE_STEPS;

        profile.layers = whole(shape.layers);
        profile.depth = DepthScaling {
            fixed_s: rounded(memory_s * (1.0 - layer_share)),
            per_layer_s: rounded(memory_s * layer_share / shape.layers),
        };
        // Weights are read once for the whole batch, the cache for each sequence; multiplying by a batch costs what it costs
        // in a prefill.
        let decode = &mut profile.decode;
        decode.floor_s = rounded(memory_s);
        decode.floor_per_sequence_s = rounded((with.memory_s - without.memory_s) * REFERENCE_STEPS);
        decode.gpu_s_ghz = rounded(without.issue_s * ghz * REFERENCE_STEPS - token_s_ghz * REFERENCE_STEPS);
        decode.gpu_per_sequence_s_ghz =
            rounded((with.issue_s - without.issue_s) * ghz * REFERENCE_STEPS + token_s_ghz * REFERENCE_STEPS);
        decode.memory_s = rounded(host_s);
        decode.sharpness = engine.sharpness;

        let prefill = &mut profile.prefill;
        prefill.floor_s = rounded(without.memory_s);
        prefill.floor_per_sequence_s = 0.0;
        prefill.memory_s = 0.0;
        prefill.sharpness = engine.sharpness;
        let layers_s_ghz = rounded(shape.layers * engine.prefill_layer_s_ghz);
        prefill.tiles.clear();
        let tile = Tile { max_tokens: 512, base_s_ghz: layers_s_ghz, per_token_s_ghz: token_s_ghz };
        prefill.tiles.push(tile).expect("an emptied list has room");
    }

    fn power(&self, profile: &mut Profile, mode: &Mode, load: &Model) -> Result<(), FitError> {
        let power = self.power;
        let rest = watts(self, mode, 0.0, 0.0);
        profile.power.idle_w = rounded(power.idle_w);
        profile.power.prefill = PrefillPower {
            base_w: rounded(rest),
            clock_w_per_ghz: rounded(mode.multiprocessors * power.gpu_w_per_ghz),
            clock_squared_w_per_ghz2: rounded(mode.multiprocessors * power.gpu_w_per_ghz2),
        };
        let cache_bytes = load.shape.cache_bytes() * self.plant_model.context_tokens;
        let weight_bytes = step(self, mode, load, 0.0).bytes;
        let settings: Vec<(u32, u32)> =
            profile.gpu_clock_khz.iter().flat_map(|&khz| [1, 2, 4, 8, 16, 32].map(|batch| (khz, batch))).collect();
        let latency = profile.clone();
        let physical = |khz: u32, batch: u32| {
            let step_s = latency::decode_step_seconds(&latency, khz, batch, latency.layers, 1.0);
            let decode = &latency.decode;
            let layers_s_ghz = load.shape.layers * self.engine.layer_s_ghz * REFERENCE_STEPS;
            let work_s_ghz = decode.gpu_s_ghz + decode.gpu_per_sequence_s_ghz * f64::from(batch)
                - (1.0 - power.layer_activity) * layers_s_ghz;
            let busy = (work_s_ghz / REFERENCE_STEPS / (f64::from(khz) / 1e6) / step_s).min(1.0);
            let bytes = weight_bytes + cache_bytes * f64::from(batch);
            let at = Mode { gpu_khz: f64::from(khz), ..mode.clone() };
            (step_s, watts(self, &at, busy, bytes / step_s))
        };
        let target: Vec<(f64, f64)> = settings.iter().map(|&(khz, batch)| physical(khz, batch)).collect();
        let parameter = |name, start, range| Parameter { name, start, range };
        let top = 1e3;
        let parameters = [
            parameter("base_w", rest, (rest * 0.5, top)),
            parameter("clock_w_per_ghz", 0.0, (-top, top)),
            parameter("clock_squared_w_per_ghz2", 1.0, (0.0, top)),
            parameter("launch_j", 1.0, (0.0, top)),
            parameter("token_j", 1e-3, (0.0, 10.0)),
            parameter("token_clock_j_per_ghz", 1e-3, (0.0, 10.0)),
        ];
        let fit = least_squares(&parameters, |values| {
            let mut trial = latency.clone();
            trial.power.decode = decode_power(values);
            let reference_c = trial.power.leakage.reference_c;
            let error = |(&(khz, batch), &(step_s, watts)): (&(u32, u32), &(f64, f64))| {
                decode_watts(&trial, khz, batch, trial.layers, step_s, reference_c) / watts - 1.0
            };
            settings.iter().zip(&target).map(error).collect()
        })?;
        profile.power.decode = decode_power(&fit.values().into_iter().map(rounded).collect::<Vec<_>>());
        Ok(())
    }
}

fn decode_power(values: &[f64]) -> DecodePower {
    DecodePower {
        base_w: values[0],
        clock_w_per_ghz: values[1],
        clock_squared_w_per_ghz2: values[2],
        launch_j: values[3],
        token_j: values[4],
        token_clock_j_per_ghz: values[5],
    }
}

fn whole(value: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of layers")]
    let count = value.round() as u32;
    count
}

/// To [`DIGITS`] significant digits.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.*e}", usize::try_from(DIGITS - 1).unwrap_or(5)).parse().unwrap_or(value)
}
