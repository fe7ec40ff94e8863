//! The built-in AGX Orin. `models/boards/agx-orin-hf.toml` says where each number comes from; a test keeps both equal.

use super::{
    CoolingPoint, CurvePoint, DecodeLatency, DecodePower, DepthScaling, Fan, Leakage, Noise, Power, PrefillLatency,
    PrefillPower, Profile, Sensor, Thermal, Throttling, Tile,
};
use heapless::{String, Vec};

impl Profile {
    /// Jetson AGX Orin 64GB running Llama-3.2-1B under Hugging Face transformers, `NVIDIA`'s `MAXN` mode.
    #[must_use]
    pub fn agx_orin_hf() -> Self {
        Self {
            name: String::try_from("agx-orin-hf").unwrap_or_default(),
            gpu_clock_khz: Vec::from_array([
                306_000, 408_000, 510_000, 612_000, 714_000, 816_000, 918_000, 1_020_000, 1_122_000, 1_224_000,
                1_300_500,
            ]),
            actuation_delay_s: 0.1,
            layers: 16,
            depth: DepthScaling { fixed_s: 0.7476, per_layer_s: 0.23906 },
            decode: DecodeLatency {
                floor_s: 4.39039,
                floor_per_sequence_s: -0.00374,
                gpu_s_ghz: 1.61049,
                gpu_per_sequence_s_ghz: 0.03824,
                memory_s: 0.23742,
                sharpness: 8.45723,
            },
            prefill: prefill(),
            power: power(),
            thermal: Thermal { die_j_per_k: 66.5, sink_j_per_k: 342.7, die_to_sink_k_per_w: 0.0515 },
            fan: fan(),
            throttle: Throttling { onset_c: 99.0, release_c: 98.8, period_s: 5.0, shutdown_c: 100.5 },
            sensor: Sensor { noise_sd_k: 0.15, resolution_k: 0.031_25, lag_s: 1.0 },
            noise: Noise {
                decode_time_sd: 0.007,
                decode_power_sd: 0.007,
                prefill_time_sd: 0.02,
                prefill_stall_probability: 0.001,
                prefill_stall_share: 0.7,
            },
        }
    }
}

fn prefill() -> PrefillLatency {
    let tile = |max_tokens, base_s_ghz, per_token_s_ghz| Tile { max_tokens, base_s_ghz, per_token_s_ghz };
    PrefillLatency {
        floor_s: 0.056_963_2,
        floor_per_sequence_s: 0.000_209_16,
        memory_s: 0.017_432_5,
        sharpness: 13.876,
        tiles: Vec::from_array([
            tile(64, 0.013_676_6, 7.235_9e-5),
            tile(128, 0.016_375_5, 6.619_8e-5),
            tile(192, 0.033_361_2, 6.831_9e-5),
            tile(256, 0.023_185_4, 7.462_8e-5),
            tile(384, 0.026_902_8, 9.153_7e-5),
            tile(512, 0.073_754_6, 9.247_5e-6),
            tile(640, 0.050_485_0, 8.391_8e-5),
            tile(768, 0.056_999_6, 8.478_8e-5),
        ]),
    }
}

fn power() -> Power {
    Power {
        idle_w: 16.0,
        decode: DecodePower {
            base_w: 14.9496,
            clock_w_per_ghz: -6.089_69,
            clock_squared_w_per_ghz2: 6.741_73,
            launch_j: 45.9071,
            token_j: 0.006_683,
            token_clock_j_per_ghz: 0.005_307,
        },
        prefill: PrefillPower { base_w: 16.0, clock_w_per_ghz: 5.0, clock_squared_w_per_ghz2: 13.0 },
        leakage: Leakage { reference_c: 78.0, knee_c: 60.0, cool_w_per_k: 0.036, hot_w_per_k: 0.0875 },
    }
}

fn fan() -> Fan {
    let cooling = |pwm, sink_to_ambient_k_per_w| CoolingPoint { pwm, sink_to_ambient_k_per_w };
    let curve = |margin_k, pwm| CurvePoint { margin_k, pwm };
    Fan {
        cooling: Vec::from_array([cooling(0, 2.8651), cooling(128, 0.8763), cooling(255, 0.7507)]),
        vendor_curve: Vec::from_array([curve(10.0, 255), curve(11.0, 215), curve(30.0, 215), curve(60.0, 66)]),
        margin_to_c: 105.0,
        vendor_period_s: 2.0,
        full_rpm: 2900.0,
        full_w: 1.5,
    }
}
