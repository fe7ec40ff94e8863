//! The numbers of a board, its power modes and the engine on it.

use serde::{Deserialize, Serialize};

/// Table `[roofline]` of a board profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// Names that the column `board` of a points file may use; case and signs between words do not count.
    pub boards: Vec<String>,
    /// The mode that the simulated board runs in, by name.
    pub plant_mode: String,
    /// The model that the simulated board runs.
    pub plant_model: PlantModel,
    /// Width of the memory bus, bit; it moves data twice a clock.
    pub memory_bus_bits: f64,
    /// NVIDIA's power modes.
    pub modes: Vec<Mode>,
    /// What llama.cpp makes of the hardware.
    pub engine: Engine,
    /// Power of the measured rails.
    pub power: Power,
}

/// The model behind the plant's coefficients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlantModel {
    /// Its name; a known one brings its shape.
    pub name: String,
    /// Parameters, embeddings included.
    pub parameters: f64,
    /// As in a points file: `Q4_K_M`, or bits per weight.
    pub quantization: String,
    /// Mean length of the cache while decoding, tokens.
    pub context_tokens: f64,
}

/// One mode of nvpmodel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// Name as nvpmodel has it; case and signs between words do not count.
    pub name: String,
    /// Cap of the GPU clock, kHz.
    pub gpu_khz: f64,
    /// Multiprocessors that are on; a TPC has two.
    pub multiprocessors: f64,
    /// Cap of the memory clock, kHz.
    pub emc_khz: f64,
    /// Cap of the CPU clock, kHz.
    pub cpu_khz: f64,
}

/// The engine: llama.cpp with CUDA, all layers on the GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Share of the memory's peak bandwidth that reading weights attains, 0 to 1.
    pub memory_efficiency: f64,
    /// Exponent that joins memory and issue; infinity would be their maximum.
    pub sharpness: f64,
    /// Small kernels of one layer in one decode step, s x GHz.
    pub layer_s_ghz: f64,
    /// CPU work between two tokens, s x GHz of CPU clock.
    pub host_s_ghz: f64,
    /// Small kernels of one layer in one chunk of 512 prompt tokens, s x GHz.
    pub prefill_layer_s_ghz: f64,
    /// Cost by quantization, ascending in bits; between two entries it is interpolated.
    pub kernels: Vec<Kernel>,
}

/// What the kernels of one quantization cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Bits per weight.
    pub bits: f64,
    /// Unpacking and multiplying one weight in a decode step: cycles of one multiprocessor.
    pub decode_cycles: f64,
    /// Prefill: floating-point operations per cycle of one multiprocessor.
    pub prefill_flop_per_cycle: f64,
}

/// Power of the measured rails: `VDD_IN` on Orin Nano; GPU+SOC, CPU+CV and SYS on AGX Orin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Everything that does not depend on the work, W.
    pub idle_w: f64,
    /// One busy CPU core, W at 1 GHz; grows with the square of the clock.
    pub core_w_per_ghz2: f64,
    /// Memory and fabric at speed, W per GHz of memory clock.
    pub emc_w_per_ghz: f64,
    /// Every byte moved, J.
    pub byte_j: f64,
    /// How busy the small kernels of a layer keep the GPU, 0 to 1: they fill a part of it.
    pub layer_activity: f64,
    /// A busy multiprocessor: W per GHz.
    pub gpu_w_per_ghz: f64,
    /// The same, rising with the voltage: W per GHz squared.
    pub gpu_w_per_ghz2: f64,
}

/// Why a roofline cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RooflineError {
    /// A number that no board has.
    #[error("`{what}` must lie between {low} and {high}, not {value}; check its unit")]
    Range {
        /// The field.
        what: String,
        /// Its value.
        value: f64,
        /// Least allowed.
        low: f64,
        /// Greatest allowed.
        high: f64,
    },
    /// A list without entries.
    #[error("`{0}` is empty; give it at least one entry")]
    Empty(&'static str),
    /// Kernels out of order.
    #[error("`engine.kernels` must rise in bits from entry to entry; sort it")]
    Order,
    /// A mode that is not there.
    #[error("there is no power mode `{name}`; this board has {known}")]
    Mode {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A quantization that nobody knows.
    #[error("`{0}` is no quantization; give bits per weight from 1 to 32, or a name like Q4_K_M")]
    Quantization(String),
}

impl Roofline {
    /// Every number one that a board could have.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn check(&self) -> Result<(), RooflineError> {
        for (what, empty) in [
            ("boards", self.boards.is_empty()),
            ("modes", self.modes.is_empty()),
            ("engine.kernels", self.engine.kernels.is_empty()),
        ] {
            if empty {
                return Err(RooflineError::Empty(what));
            }
        }
        let engine = &self.engine;
        range("memory_bus_bits", self.memory_bus_bits, 8.0, 8192.0)?;
        range("plant_model.parameters", self.plant_model.parameters, 1e6, 1e13)?;
        range("plant_model.context_tokens", self.plant_model.context_tokens, 0.0, 1e7)?;
        range("engine.memory_efficiency", engine.memory_efficiency, 0.01, 1.0)?;
        range("engine.sharpness", engine.sharpness, 1.0, 100.0)?;
        range("engine.layer_s_ghz", engine.layer_s_ghz, 0.0, 1.0)?;
        range("engine.host_s_ghz", engine.host_s_ghz, 0.0, 1.0)?;
        range("engine.prefill_layer_s_ghz", engine.prefill_layer_s_ghz, 0.0, 1.0)?;
        for mode in &self.modes {
            for (what, value, low, high) in [
                ("gpu_khz", mode.gpu_khz, 1e4, 1e7),
                ("multiprocessors", mode.multiprocessors, 1.0, 1024.0),
                ("emc_khz", mode.emc_khz, 1e4, 1e8),
                ("cpu_khz", mode.cpu_khz, 1e4, 1e7),
            ] {
                range(&format!("modes.{}.{what}", mode.name), value, low, high)?;
            }
        }
        for kernel in &engine.kernels {
            range("engine.kernels.bits", kernel.bits, 1.0, 32.0)?;
            range("engine.kernels.decode_cycles", kernel.decode_cycles, 1e-5, 10.0)?;
            range("engine.kernels.prefill_flop_per_cycle", kernel.prefill_flop_per_cycle, 1.0, 1e6)?;
        }
        if engine.kernels.windows(2).any(|pair| pair[1].bits <= pair[0].bits) {
            return Err(RooflineError::Order);
        }
        let power = self.power;
        for (what, value) in [
            ("power.idle_w", power.idle_w),
            ("power.core_w_per_ghz2", power.core_w_per_ghz2),
            ("power.emc_w_per_ghz", power.emc_w_per_ghz),
            ("power.gpu_w_per_ghz", power.gpu_w_per_ghz),
            ("power.gpu_w_per_ghz2", power.gpu_w_per_ghz2),
        ] {
            range(what, value, 0.0, 1e4)?;
        }
        range("power.byte_j", power.byte_j, 0.0, 1e-6)?;
        range("power.layer_activity", power.layer_activity, 0.0, 1.0)?;
        self.mode(&self.plant_mode).map(|_| ())?;
        self.plant_model.quantization.parse::<super::Quantization>().map(|_| ())
    }

    /// Whether a points file means this board: `NVIDIA Jetson Orin Nano Developer Kit (8 GB)` is `Orin Nano 8GB`.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.boards.iter().any(|own| plain_board(own) == plain_board(name))
    }

    /// A mode by its name: `MAXN SUPER` is `MAXN_SUPER`, `MODE_30W`, `30 W` and `30` are `30W`, and where a board has one mode
    /// without limits, `MAXN` and `MAXN_SUPER` are that.
    ///
    /// # Errors
    /// [`RooflineError::Mode`] for a name that the board does not have.
    pub fn mode(&self, name: &str) -> Result<&Mode, RooflineError> {
        let wanted = plain_mode(name);
        let unlimited = |name: &str| ["max", "maxn", "maxnsuper", "super"].contains(&name);
        let exactly = self.modes.iter().find(|mode| plain_mode(&mode.name) == wanted);
        let mut without_limits =
            self.modes.iter().filter(|mode| unlimited(&wanted) && unlimited(&plain_mode(&mode.name)));
        let only = without_limits.next().filter(|_| without_limits.next().is_none());
        exactly.or(only).ok_or_else(|| RooflineError::Mode {
            name: name.to_owned(),
            known: self.modes.iter().map(|mode| mode.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Peak memory bandwidth in a mode, byte/s.
    #[must_use]
    pub fn peak_bytes_per_s(&self, mode: &Mode) -> f64 {
        2.0 * mode.emc_khz * 1e3 * self.memory_bus_bits / 8.0
    }
}

impl Engine {
    /// Decode cycles and prefill rate at so many bits per weight: interpolated, and constant beyond the ends.
    #[must_use]
    pub fn kernel(&self, bits: f64) -> Kernel {
        let first = self.kernels[0];
        let last = self.kernels[self.kernels.len() - 1];
        if bits <= first.bits {
            return Kernel { bits, ..first };
        }
        let pair = self.kernels.windows(2).find(|pair| bits <= pair[1].bits);
        pair.map_or(Kernel { bits, ..last }, |pair| {
            let share = (bits - pair[0].bits) / (pair[1].bits - pair[0].bits);
            let between = |a: f64, b: f64| a + share * (b - a);
            Kernel {
                bits,
                decode_cycles: between(pair[0].decode_cycles, pair[1].decode_cycles),
                prefill_flop_per_cycle: between(pair[0].prefill_flop_per_cycle, pair[1].prefill_flop_per_cycle),
            }
        })
    }
}

/// Letters and digits of a name, lower case.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A board's name without what is said of every board, its words in one order.
fn plain_board(name: &str) -> String {
    let mut plain = plain(name);
    for noise in ["nvidia", "jetson", "developer", "engineering", "reference", "devkit", "dev", "kit", "module"] {
        plain = plain.replace(noise, "");
    }
    if plain.contains("super") {
        plain = format!("{}super", plain.replace("super", ""));
    }
    plain.replace("orinagx", "agxorin")
}

/// A mode's name without what is said of every mode.
fn plain_mode(name: &str) -> String {
    let mut plain = plain(name);
    for noise in ["nvpmodel", "mode", "power"] {
        plain = plain.replace(noise, "");
    }
    let watts = plain.trim_end_matches("atts").trim_end_matches("att").trim_end_matches('w');
    if !watts.is_empty() && watts.bytes().all(|digit| digit.is_ascii_digit()) { format!("{watts}w") } else { plain }
}

fn range(what: &str, value: f64, low: f64, high: f64) -> Result<(), RooflineError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(RooflineError::Range { what: what.to_owned(), value, low, high })
    }
}

#[cfg(test)]
mod tests {
    use crate::env::profile::BoardProfile;
    use std::path::Path;

    fn roofline(file: &str) -> super::Roofline {
        BoardProfile::read(&Path::new("../models/boards").join(file)).unwrap().roofline.unwrap()
    }

    #[test]
    fn boards_are_known_however_they_are_written() {
        let (nano, agx) = (roofline("orin-nano-super-llamacpp.toml"), roofline("agx-orin-llamacpp.toml"));
        for name in [
            "Jetson Orin Nano 8GB",
            "Orin Nano Super",
            "NVIDIA Jetson Orin Nano Super Developer Kit",
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            "Jetson Orin Nano Developer Kit (8 GB)",
            "orin_nano_super_8gb",
            "Orin Nano 8GB (Super)",
        ] {
            assert!(nano.is_called(name) && !agx.is_called(name), "{name}");
        }
        for name in ["AGX Orin 64GB", "NVIDIA Jetson AGX Orin Developer Kit", "Orin AGX 64 GB", "jetson-agx-orin-64gb"]
        {
            assert!(agx.is_called(name) && !nano.is_called(name), "{name}");
        }
        for name in ["AGX Orin 32GB", "Orin Nano 4GB", "AGX Xavier", "Nano", ""] {
            assert!(!agx.is_called(name) && !nano.is_called(name), "{name}");
        }
    }

    #[test]
    fn modes_are_known_however_they_are_written() {
        let (nano, agx) = (roofline("orin-nano-super-llamacpp.toml"), roofline("agx-orin-llamacpp.toml"));
        for (name, mode) in [
            ("15W", "15W"),
            ("15 w", "15W"),
            ("MODE_15W", "15W"),
            ("15 Watt", "15W"),
            ("7 watts", "7W"),
            ("7", "7W"),
            ("25W mode", "25W"),
            ("MAXN", "MAXN_SUPER"),
            ("MAXN SUPER", "MAXN_SUPER"),
            ("Super", "MAXN_SUPER"),
        ] {
            assert_eq!(nano.mode(name).unwrap().name, mode, "{name}");
        }
        for (name, mode) in [("MAXN", "MAXN"), ("MAX-N", "MAXN"), ("30W", "30W"), ("MODE_50W", "50W")] {
            assert_eq!(agx.mode(name).unwrap().name, mode, "{name}");
        }
        for name in ["40W", "10W", "", "w", "fast"] {
            assert!(nano.mode(name).is_err() && agx.mode(name).is_err(), "{name}");
        }
    }
}
