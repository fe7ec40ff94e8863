//! What a model makes the board read and compute.

use super::RooflineError;
use super::board::plain;
use std::str::FromStr;

type Known = (&'static str, f64, f64, f64, f64, f64, bool);

/// Layers and widths of a Llama-like model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Decoder layers.
    pub layers: f64,
    /// Width of the residual stream.
    pub width: f64,
    /// Width of the keys of all heads together, and of the values.
    pub kv_width: f64,
    /// Entries of the vocabulary.
    pub vocabulary: f64,
    /// The output layer is the embedding table.
    pub tied: bool,
}

/// Name, parameters, layers, width, width of keys, vocabulary, tied. From the models' published configurations.
const KNOWN: [Known; 27] = [
    ("llama3.21b", 1.2358e9, 16.0, 2048.0, 512.0, 128_256.0, true),
    ("llama3.23b", 3.2127e9, 28.0, 3072.0, 1024.0, 128_256.0, true),
    ("llama3.18b", 8.0303e9, 32.0, 4096.0, 1024.0, 128_256.0, false),
    ("llama38b", 8.0303e9, 32.0, 4096.0, 1024.0, 128_256.0, false),
    ("llama27b", 6.7384e9, 32.0, 4096.0, 4096.0, 32_000.0, false),
    ("llama213b", 1.30159e10, 40.0, 5120.0, 5120.0, 32_000.0, false),
    ("tinyllama", 1.1000e9, 22.0, 2048.0, 256.0, 32_000.0, false),
    ("mistral7b", 7.2480e9, 32.0, 4096.0, 1024.0, 32_768.0, false),
    ("qwen2.50.5b", 4.940e8, 24.0, 896.0, 128.0, 151_936.0, true),
    ("qwen2.51.5b", 1.5437e9, 28.0, 1536.0, 256.0, 151_936.0, true),
    ("qwen2.53b", 3.0859e9, 36.0, 2048.0, 256.0, 151_936.0, true),
    ("qwen2.57b", 7.6156e9, 28.0, 3584.0, 512.0, 152_064.0, false),
    ("qwen30.6b", 5.960e8, 28.0, 1024.0, 1024.0, 151_936.0, true),
    ("qwen31.7b", 1.7206e9, 28.0, 2048.0, 1024.0, 151_936.0, true),
    ("qwen34b", 4.0225e9, 36.0, 2560.0, 1024.0, 151_936.0, true),
    ("qwen38b", 8.1907e9, 36.0, 4096.0, 1024.0, 151_936.0, false),
    ("deepseekr1distillqwen1.5b", 1.7771e9, 28.0, 1536.0, 256.0, 151_936.0, false),
    ("deepseekr1distillllama8b", 8.0303e9, 32.0, 4096.0, 1024.0, 128_256.0, false),
    ("gemma31b", 9.999e8, 26.0, 1152.0, 256.0, 262_144.0, true),
    ("gemma3270m", 2.681e8, 18.0, 640.0, 256.0, 262_144.0, true),
    ("gemma22b", 2.6143e9, 26.0, 2304.0, 1024.0, 256_000.0, true),
    ("smollm2135m", 1.345e8, 30.0, 576.0, 192.0, 49_152.0, true),
    ("smollm2360m", 3.618e8, 32.0, 960.0, 320.0, 49_152.0, true),
    ("smollm21.7b", 1.7114e9, 24.0, 2048.0, 2048.0, 49_152.0, true),
    ("olmo21b", 1.4849e9, 16.0, 2048.0, 2048.0, 100_352.0, false),
    ("falcon31b", 1.6694e9, 18.0, 2048.0, 1024.0, 131_072.0, false),
    ("phi3.5mini", 3.8211e9, 32.0, 3072.0, 3072.0, 32_064.0, false),
];

/// Parameters, layers and width of common models, for names that nobody knows.
const USUAL: [(f64, f64, f64); 8] = [
    (1.35e8, 30.0, 576.0),
    (3.6e8, 32.0, 960.0),
    (6e8, 26.0, 1024.0),
    (1.2e9, 18.0, 2048.0),
    (3.1e9, 30.0, 2816.0),
    (8e9, 32.0, 4096.0),
    (1.4e10, 44.0, 5120.0),
    (7e10, 80.0, 8192.0),
];

impl Shape {
    /// The shape of a model by name, or, for an unknown name, what models of that size have.
    #[must_use]
    pub fn of(name: &str, parameters: f64) -> Self {
        Self::known(name).unwrap_or_else(|| Self::usual(parameters))
    }

    /// The shape of a model whose name says which one it is: `Llama-3.2-1B-Instruct`, `meta/llama3.2:1b`.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        let &(_, _, layers, width, kv_width, vocabulary, tied) = known(name)?;
        Some(Self { layers, width, kv_width, vocabulary, tied })
    }

    fn usual(parameters: f64) -> Self {
        let (low, high) = USUAL
            .windows(2)
            .find(|pair| parameters <= pair[1].0)
            .map_or((USUAL[USUAL.len() - 2], USUAL[USUAL.len() - 1]), |pair| (pair[0], pair[1]));
        let share = ((parameters / low.0).ln() / (high.0 / low.0).ln()).clamp(0.0, 1.0);
        let width = low.2 * (high.2 / low.2).powf(share);
        let layers = (low.1 + share * (high.1 - low.1)).round();
        Self { layers, width, kv_width: width / 4.0, vocabulary: 128_000.0, tied: parameters < 4e9 }
    }

    /// Weights of the output layer, which every step reads.
    #[must_use]
    pub fn head_weights(&self) -> f64 {
        self.vocabulary * self.width
    }

    /// Weights of all layers. An untied embedding table is never read as a whole, and counts nowhere.
    #[must_use]
    pub fn body_weights(&self, parameters: f64) -> f64 {
        let tables = if self.tied { 1.0 } else { 2.0 };
        (parameters - tables * self.head_weights()).max(parameters * 0.1)
    }

    /// Cache of one token, byte; keys and values in 16 bit.
    #[must_use]
    pub fn cache_bytes(&self) -> f64 {
        2.0 * 2.0 * self.layers * self.kv_width
    }
}

fn known(name: &str) -> Option<&'static Known> {
    // Dots tell 3.2 from 32; all other signs only separate.
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .map(|c| c.to_ascii_lowercase())
        .collect::<String>()
        .replace("instruct", "")
        .replace("meta", "");
    let fits = KNOWN.iter().filter(|known| name.contains(known.0));
    fits.max_by_key(|known| known.0.len())
}

/// Parameters of a model of which a size is given. Sizes in names are rounded, by up to 40 %: Llama 3.2 1B has 1.236 billion. So a
/// size of at most two digits is taken for the name of a known model, if it is within a factor of two, and any other as it is.
#[must_use]
pub fn parameters_of(name: &str, given: f64) -> f64 {
    let digits = given / 10f64.powf(given.log10().floor() - 1.0);
    let is_rounded = (digits - digits.round()).abs() < 1e-6;
    match known(name) {
        Some(&(_, count, ..)) if is_rounded && (0.5..=2.0).contains(&(given / count)) => count,
        _ => given,
    }
}

/// Bits per weight as stored: those of the layers, and those of the output layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// Layers.
    pub body_bits: f64,
    /// Output layer: llama.cpp keeps it at 6 bit or more.
    pub head_bits: f64,
}

/// Least bits of the output layer: `Q6_K`.
const HEAD_BITS: f64 = 6.5625;

impl Quantization {
    /// Bits per weight of the layers, stored size with scales.
    #[must_use]
    pub fn of_bits(body_bits: f64) -> Self {
        Self { body_bits, head_bits: body_bits.max(HEAD_BITS) }
    }
}

impl FromStr for Quantization {
    type Err = RooflineError;

    /// A name of llama.cpp's (`Q4_K_M`, `Q8_0`, `F16`), or bits. A whole number is the nominal size, and means llama.cpp's
    /// usual type of that size with its scales: 4 is `Q4_K_M`, 8 is `Q8_0`. A broken number is taken as stored.
    fn from_str(text: &str) -> Result<Self, RooflineError> {
        let name = plain(text);
        let wrong = || RooflineError::Quantization(text.to_owned());
        // Stored bits per weight of the layers: block layouts of ggml, mixtures as llama.cpp makes them.
        let bits = match name.as_str() {
            "q2k" => 3.0,
            "q3ks" => 3.5,
            "q3km" | "q3k" => 3.9,
            "q3kl" => 4.2,
            "iq4xs" => 4.3,
            "mxfp4" => 4.25,
            "q40" | "iq4nl" | "q4ks" | "q4ksmall" => 4.55,
            "q4km" | "q4k" | "q4kmedium" | "q4" | "int4" => 4.85,
            "q41" => 5.0,
            "q50" | "q5ks" => 5.5,
            "q5km" | "q5k" | "q5kmedium" | "q5" => 5.7,
            "q6k" | "q6" => 6.5625,
            "q80" | "q8" | "int8" => 8.5,
            "f16" | "fp16" | "bf16" => 16.0,
            "f32" | "fp32" => 32.0,
            _ => {
                let number = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ' || c == '-');
                let bits: f64 = number.parse().map_err(|_| wrong())?;
                if !(1.0..=32.0).contains(&bits) {
                    return Err(wrong());
                }
                #[expect(clippy::float_cmp, reason = "a nominal size is written as exactly this number")]
                let nominal = [(2.0, 3.0), (3.0, 3.9), (4.0, 4.85), (5.0, 5.7), (6.0, 6.5625), (8.0, 8.5)]
                    .iter()
                    .find(|(nominal, _)| *nominal == bits);
                nominal.map_or(bits, |&(_, stored)| stored)
            }
        };
        Ok(Self::of_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognized_however_they_are_written() {
        for name in ["Llama-3.2-1B-Instruct", "llama3.2:1b", "meta-llama/Llama-3.2-1B", "LLaMA 3.2 1B Instruct"] {
            assert_eq!(Shape::known(name).map(|shape| shape.layers), Some(16.0), "{name}");
        }
        assert_eq!(Shape::known("DeepSeek-R1-Distill-Llama-8B").map(|shape| shape.layers), Some(32.0));
        assert_eq!(Shape::known("Gemma-3-1B-it").map(|shape| shape.layers), Some(26.0));
        assert_eq!(Shape::known("something else"), None);
    }

    #[test]
    fn a_size_from_a_name_is_not_taken_for_a_count() {
        for (name, given, expected) in [
            ("Llama-3.2-1B-Instruct", 1e9, 1.2358e9),
            ("meta/llama3.2:1b", 1.2e9, 1.2358e9),
            ("Llama-3.1-8B", 8e9, 8.0303e9),
            ("OLMo-2-1B", 1e9, 1.4849e9),
            ("SmolLM2-135M", 1.35e8, 1.35e8),
            ("Llama-3.2-1B", 1.236e9, 1.236e9),
            ("Llama-3.2-1B", 3e9, 3e9),
            ("something else", 1e9, 1e9),
        ] {
            let found = parameters_of(name, given);
            assert!((found - expected).abs() < 1.0, "{name} with {given:e}: {found:e}");
        }
    }

    /// File sizes as published on Hugging Face, GB.
    #[test]
    fn file_sizes_come_out_right() {
        for (name, parameters, quantization, published) in [
            ("Llama-3.2-1B", 1.236e9, "Q4_K_M", 0.808),
            ("Llama-3.2-1B", 1.236e9, "Q8_0", 1.32),
            ("Llama-3.2-3B", 3.213e9, "Q4_K_M", 2.02),
            ("Llama-3.1-8B", 8.03e9, "Q4_K_M", 4.92),
            ("Qwen2.5-1.5B", 1.544e9, "Q4_K_M", 0.986),
        ] {
            let (shape, quantization) = (Shape::of(name, parameters), quantization.parse::<Quantization>().unwrap());
            let head = shape.head_weights() * quantization.head_bits;
            let embedding = if shape.tied { 0.0 } else { shape.head_weights() * quantization.body_bits };
            let bytes = (shape.body_weights(parameters) * quantization.body_bits + head + embedding) / 8.0;
            assert!((bytes / 1e9 / published - 1.0).abs() < 0.05, "{name}: {bytes:e} of {published} GB");
        }
    }

    #[test]
    fn bits_and_names_agree() {
        for (bits, name) in
            [("4", "Q4_K_M"), ("8", "q8_0"), ("16", "F16"), ("4-bit", "Q4_K_M"), ("6", "Q6_K"), ("INT8", "Q8_0")]
        {
            assert_eq!(bits.parse::<Quantization>().unwrap(), name.parse().unwrap(), "{bits}");
        }
        assert!((("4.5".parse::<Quantization>().unwrap()).body_bits - 4.5).abs() < 1e-12);
        for wrong in ["", "0", "99", "Q9_X", "nan"] {
            assert!(wrong.parse::<Quantization>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_models_grow_with_their_parameters() {
        let mut last = 0.0;
        for parameters in [1e8, 5e8, 1e9, 3e9, 8e9, 2e10, 7e10, 5e11] {
            let width = Shape::of("unknown", parameters).width;
            assert!(width >= last, "{parameters}");
            last = width;
        }
    }
}
