//! Llama models with random weights, as GGUF files; and, for what happens to others, Qwen2 models.
//!
//! Their text means nothing. They stand in where only shapes count: for the speed of a model of useful size, and for the
//! equality of two ways to the same numbers.

use super::gguf::writer::{Kind, Writer};
use std::io::{self, Write};

/// Family of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Architecture {
    /// Any depth.
    #[default]
    Llama,
    /// The same with biases on queries, keys and values, and another order of their rotation. Full depth only.
    Qwen2,
}

impl Architecture {
    /// As it stands in a file.
    const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// Shape and seed of a model. The tokenizer is byte-level: token `3 + b` is byte `b`.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of layers.
    pub layers: u32,
    /// Width of the hidden state, a multiple of `heads`.
    pub embd: u32,
    /// Width of the feed-forward part.
    pub ff: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: u32,
    /// Tokens, at least 259.
    pub vocab: u32,
    /// Tokens of a sequence.
    pub context: u32,
    /// The output matrix is the token embedding.
    pub tied: bool,
    /// This token ends an answer.
    pub eos: u32,
    /// Of all weights.
    pub seed: u64,
    /// Chat template to put into the file.
    pub chat_template: Option<&'static str>,
    /// How matrices are stored.
    pub kind: Kind,
    /// Its family.
    pub architecture: Architecture,
}

impl Default for Shape {
    /// The smallest that shows everything: 16 layers, grouped heads, one token per byte.
    fn default() -> Self {
        Self {
            layers: 16,
            embd: 32,
            ff: 64,
            heads: 4,
            kv_heads: 2,
            vocab: 259,
            context: 512,
            tied: true,
            eos: 2,
            seed: 7,
            chat_template: None,
            kind: Kind::F32,
            architecture: Architecture::Llama,
        }
    }
}

impl Shape {
    /// 16 layers of width 1024, 230 million weights in `Q8_0` (250 MB): a decode step spends nearly all its time in the
    /// layers, as a model of useful size does.
    #[must_use]
    pub fn layer_dominated() -> Self {
        Self { embd: 1024, ff: 4096, heads: 16, kv_heads: 4, vocab: 4096, kind: Kind::Q8, ..Self::default() }
    }

    /// Its own output matrix, wide enough for logits that differ: for checks of equality.
    #[must_use]
    pub fn untied() -> Self {
        Self { embd: 128, ff: 256, vocab: 512, tied: false, ..Self::default() }
    }

    /// Writes the model with its first `depth` layers. Every tensor has its own stream of random numbers, so a shallower
    /// file holds the same weights.
    pub fn write(&self, depth: u32, to: &mut impl Write) -> io::Result<()> {
        let mut head = Writer::default();
        self.describe(depth, &mut head);
        let tensors = self.tensors(depth);
        for tensor in &tensors {
            head.tensor(&tensor.name, &tensor.dimensions, if tensor.is_vector() { Kind::F32 } else { self.kind });
        }
        head.finish(to)?;
        tensors.iter().try_for_each(|tensor| tensor.write(self, to))
    }

    fn describe(&self, depth: u32, file: &mut Writer) {
        let architecture = self.architecture.name();
        let key = |name: &str| format!("{architecture}.{name}");
        file.text("general.architecture", architecture);
        file.text("general.name", "random");
        file.number(&key("block_count"), depth);
        file.number(&key("context_length"), self.context);
        file.number(&key("embedding_length"), self.embd);
        file.number(&key("feed_forward_length"), self.ff);
        file.number(&key("attention.head_count"), self.heads);
        file.number(&key("attention.head_count_kv"), self.kv_heads);
        file.number(&key("rope.dimension_count"), self.embd / self.heads);
        file.number(&key("vocab_size"), self.vocab);
        file.real(&key("attention.layer_norm_rms_epsilon"), 1e-5);
        self.tokenizer(file);
        if let Some(template) = self.chat_template {
            file.text("tokenizer.chat_template", template);
        }
    }

    /// `<unk>`, `<s>`, `</s>`, then the 256 bytes, then unused words.
    fn tokenizer(&self, file: &mut Writer) {
        let text = |token| match token {
            0 => "<unk>".into(),
            1 => "<s>".into(),
            2 => "</s>".into(),
            3..259 => format!("<0x{:02X}>", token - 3),
            _ => format!("word{token}"),
        };
        // 2 unknown, 3 control, 6 byte, 1 normal
        let kind = |token| match token {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1,
        };
        file.text("tokenizer.ggml.model", "llama");
        file.texts("tokenizer.ggml.tokens", &(0..self.vocab).map(text).collect::<Vec<_>>());
        file.reals("tokenizer.ggml.scores", &vec![0.0; self.vocab as usize]);
        file.integers("tokenizer.ggml.token_type", &(0..self.vocab).map(kind).collect::<Vec<_>>());
        file.number("tokenizer.ggml.bos_token_id", 1);
        file.number("tokenizer.ggml.eos_token_id", self.eos);
        file.number("tokenizer.ggml.unknown_token_id", 0);
        file.flag("tokenizer.ggml.add_space_prefix", false);
    }

    fn tensors(&self, depth: u32) -> Vec<Tensor> {
        let Self { embd, ff, vocab, .. } = *self;
        let kv = embd / self.heads * self.kv_heads;
        let norm = |name: String| Tensor { name, dimensions: vec![embd], deviation: 0.0, center: 1.0 };
        let bias = |name: String, outputs| Tensor { name, dimensions: vec![outputs], deviation: 0.0, center: 0.0 };
        let matrix = |name: String, inputs: u32, outputs: u32, deviation: f64| Tensor {
            name,
            dimensions: vec![inputs, outputs],
            deviation,
            center: 0.0,
        };
        let mut all = vec![matrix("token_embd.weight".into(), embd, vocab, 0.3), norm("output_norm.weight".into())];
        if !self.tied {
            all.push(matrix("output.weight".into(), embd, vocab, 0.3));
        }
        let scale = |inputs: u32| 1.5 / f64::from(inputs).sqrt();
        for layer in 0..depth {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            all.extend([
                norm(name("attn_norm")),
                matrix(name("attn_q"), embd, embd, scale(embd)),
                matrix(name("attn_k"), embd, kv, scale(embd)),
                matrix(name("attn_v"), embd, kv, scale(embd)),
                matrix(name("attn_output"), embd, embd, scale(embd)),
                norm(name("ffn_norm")),
                matrix(name("ffn_gate"), embd, ff, scale(embd)),
                matrix(name("ffn_up"), embd, ff, scale(embd)),
                matrix(name("ffn_down"), ff, embd, scale(ff)),
            ]);
            if self.architecture == Architecture::Qwen2 {
                let parts = [("attn_q", embd), ("attn_k", kv), ("attn_v", kv)];
                all.extend(parts.map(|(part, outputs)| bias(format!("blk.{layer}.{part}.bias"), outputs)));
            }
        }
        all
    }
}

/// A matrix of uniform weights around 0, a norm of weights around 1, or a bias around 0.
struct Tensor {
    name: String,
    dimensions: Vec<u32>,
    /// Standard deviation; 0 for a vector.
    deviation: f64,
    /// Of a vector.
    center: f64,
}

impl Tensor {
    fn is_vector(&self) -> bool {
        self.dimensions.len() == 1
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights are f32, quantized ones i8")]
    fn write(&self, shape: &Shape, to: &mut impl Write) -> io::Result<()> {
        let count: u64 = self.dimensions.iter().map(|&dimension| u64::from(dimension)).product();
        let mut random = Random::new(shape.seed, &self.name);
        // Uniform in [-1/2, 1/2) has the standard deviation 1 / sqrt(12).
        let range = self.deviation * 12_f64.sqrt();
        let mut bytes = Vec::new();
        match shape.kind {
            _ if self.is_vector() => {
                bytes.extend((0..count).flat_map(|_| ((self.center + 0.3 * random.next()) as f32).to_le_bytes()));
            }
            Kind::F32 => bytes.extend((0..count).flat_map(|_| ((random.next() * range) as f32).to_le_bytes())),
            Kind::Q8 => {
                let scale = power_of_two(range / 256.0);
                for _ in 0..count / 32 {
                    bytes.extend(scale);
                    bytes.extend((0..32).map(|_| ((random.next() * 254.0) as i8).cast_unsigned()));
                }
            }
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        to.write_all(&bytes)
    }
}

/// The power of two nearest to `number` as a 16-bit float. Its exponent must lie between -14 and 15.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn power_of_two(number: f64) -> [u8; 2] {
    let exponent = number.log2().round().clamp(-14.0, 15.0) + 15.0;
    ((exponent as u16) << 10).to_le_bytes()
}

/// `SplitMix64`, seeded with a number and a name.
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Self {
        let mut random = Self(seed);
        for byte in name.bytes() {
            random.0 = random.step() ^ u64::from(byte);
        }
        random
    }

    fn step(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1/2, 1/2).
    fn next(&mut self) -> f64 {
        (self.step() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_in_16_bits() {
        // The bits of 1, 2 and 2^-8 in IEEE binary16.
        for (number, bits) in [(1.0, 0x3c00_u16), (2.2, 0x4000), (0.0039, 0x1c00)] {
            assert_eq!(power_of_two(number), bits.to_le_bytes());
        }
    }
}
