//! Small Llama models with random weights, written as GGUF files.
//!
//! The point: the same weights can be written with any number of layers. A file with the first `k` layers, run to its
//! end by llama.cpp alone, is the ground truth for an exit behind layer `k` of the whole model.

#![allow(dead_code, unreachable_pub, reason = "a module of several test programs, each of which uses a part")]

use host_runner::llm::{Model, ModelOptions};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Shape and seed of a model. The tokenizer is byte-level: token `3 + b` is byte `b`.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub layers: u32,
    pub embd: u32,
    pub ff: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub vocab: u32,
    pub context: u32,
    /// The output matrix is the token embedding.
    pub tied: bool,
    /// This token ends an answer.
    pub eos: u32,
    pub seed: u64,
    pub chat_template: Option<&'static str>,
}

impl Default for Shape {
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
        }
    }
}

/// A directory of model files that disappears with it.
pub struct Zoo(TempDir);

impl Zoo {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The first `depth` layers of the model of this shape.
    pub fn model(&self, shape: &Shape, depth: u32) -> Model {
        let path = self.path(&format!("{}-{depth}-{}.gguf", shape.seed, shape.eos));
        std::fs::write(&path, gguf(shape, depth)).unwrap();
        load(&path)
    }
}

pub fn load(path: &Path) -> Model {
    Model::load(path, &ModelOptions::default()).unwrap()
}

/// A GGUF file with the first `depth` layers.
pub fn gguf(shape: &Shape, depth: u32) -> Vec<u8> {
    let mut file = Writer::default();
    file.text("general.architecture", "llama");
    file.text("general.name", "random");
    file.number("llama.block_count", depth);
    file.number("llama.context_length", shape.context);
    file.number("llama.embedding_length", shape.embd);
    file.number("llama.feed_forward_length", shape.ff);
    file.number("llama.attention.head_count", shape.heads);
    file.number("llama.attention.head_count_kv", shape.kv_heads);
    file.number("llama.rope.dimension_count", shape.embd / shape.heads);
    file.number("llama.vocab_size", shape.vocab);
    file.real("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.tokenizer(shape);
    if let Some(template) = shape.chat_template {
        file.text("tokenizer.chat_template", template);
    }

    // Every tensor has its own stream of random numbers, so that a shallower file holds the same weights.
    let (embd, ff, vocab) = (shape.embd, shape.ff, shape.vocab);
    let kv = embd / shape.heads * shape.kv_heads;
    file.matrix(shape, "token_embd.weight", embd, vocab, 0.3);
    file.norm(shape, "output_norm.weight", embd);
    if !shape.tied {
        file.matrix(shape, "output.weight", embd, vocab, 0.3);
    }
    let scale = |inputs: u32| 1.5 / f64::from(inputs).sqrt();
    for layer in 0..depth {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        file.norm(shape, &name("attn_norm"), embd);
        file.matrix(shape, &name("attn_q"), embd, embd, scale(embd));
        file.matrix(shape, &name("attn_k"), embd, kv, scale(embd));
        file.matrix(shape, &name("attn_v"), embd, kv, scale(embd));
        file.matrix(shape, &name("attn_output"), embd, embd, scale(embd));
        file.norm(shape, &name("ffn_norm"), embd);
        file.matrix(shape, &name("ffn_gate"), embd, ff, scale(embd));
        file.matrix(shape, &name("ffn_up"), embd, ff, scale(embd));
        file.matrix(shape, &name("ffn_down"), ff, embd, scale(ff));
    }
    file.finish()
}

/// The parts of a GGUF file in the making (version 3, alignment 32).
#[derive(Default)]
pub struct Writer {
    values: Vec<u8>,
    value_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

impl Writer {
    pub fn text(&mut self, key: &str, text: &str) {
        self.key(key, 8);
        push_text(&mut self.values, text);
    }

    pub fn number(&mut self, key: &str, number: u32) {
        self.key(key, 4);
        self.values.extend(number.to_le_bytes());
    }

    pub fn real(&mut self, key: &str, number: f32) {
        self.key(key, 6);
        self.values.extend(number.to_le_bytes());
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.key(key, 7);
        self.values.push(u8::from(flag));
    }

    fn key(&mut self, key: &str, value_type: u32) {
        push_text(&mut self.values, key);
        self.values.extend(value_type.to_le_bytes());
        self.value_count += 1;
    }

    fn array(&mut self, key: &str, element_type: u32, count: u32) {
        self.key(key, 9);
        self.values.extend(element_type.to_le_bytes());
        self.values.extend(u64::from(count).to_le_bytes());
    }

    /// `<unk>`, `<s>`, `</s>`, then the 256 bytes, then unused words.
    fn tokenizer(&mut self, shape: &Shape) {
        self.text("tokenizer.ggml.model", "llama");
        self.array("tokenizer.ggml.tokens", 8, shape.vocab);
        for token in 0..shape.vocab {
            let text = match token {
                0 => "<unk>".into(),
                1 => "<s>".into(),
                2 => "</s>".into(),
                3..259 => format!("<0x{:02X}>", token - 3),
                _ => format!("word{token}"),
            };
            push_text(&mut self.values, &text);
        }
        self.array("tokenizer.ggml.scores", 6, shape.vocab);
        self.values.extend((0..shape.vocab).flat_map(|_| 0_f32.to_le_bytes()));
        self.array("tokenizer.ggml.token_type", 5, shape.vocab);
        // 2 unknown, 3 control, 6 byte, 1 normal
        let kind = |token| match token {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1_u32,
        };
        self.values.extend((0..shape.vocab).flat_map(|token| kind(token).to_le_bytes()));
        self.number("tokenizer.ggml.bos_token_id", 1);
        self.number("tokenizer.ggml.eos_token_id", shape.eos);
        self.number("tokenizer.ggml.unknown_token_id", 0);
        self.flag("tokenizer.ggml.add_space_prefix", false);
    }

    /// Uniform weights around 0 with the standard deviation `deviation`.
    pub fn matrix(&mut self, shape: &Shape, name: &str, inputs: u32, outputs: u32, deviation: f64) {
        let mut random = Random::new(shape.seed, name);
        let weights = (0..inputs * outputs).map(|_| random.next() * deviation * 12_f64.sqrt());
        self.tensor(name, &[inputs, outputs], weights);
    }

    /// Weights around 1.
    pub fn norm(&mut self, shape: &Shape, name: &str, length: u32) {
        let mut random = Random::new(shape.seed, name);
        let weights = (0..length).map(|_| 1.0 + 0.3 * random.next());
        self.tensor(name, &[length], weights);
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    pub fn tensor(&mut self, name: &str, dimensions: &[u32], weights: impl Iterator<Item = f64>) {
        push_text(&mut self.infos, name);
        self.infos.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
        for &dimension in dimensions {
            self.infos.extend(u64::from(dimension).to_le_bytes());
        }
        self.infos.extend(0_u32.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(weights.flat_map(|weight| (weight as f32).to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensor_count += 1;
    }

    pub fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.value_count.to_le_bytes());
        file.extend(self.values);
        file.extend(self.infos);
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(self.data);
        file
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
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
