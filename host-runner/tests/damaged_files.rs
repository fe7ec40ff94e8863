//! Damaged model files, each opened in a process of its own: whatever is wrong with them, the process must not die.
//!
//! `ENERGYLLM_DAMAGED_FILES=4000` tries more of them than a test run has time for, `ENERGYLLM_DAMAGED_FROM` others.

mod support;

use host_runner::llm::random::Architecture;
use host_runner::llm::{Depth, Engine, EngineOptions, Model, ModelOptions, Request};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use support::{Shape, Zoo, gguf};

const FILE: &str = "ENERGYLLM_DAMAGED_FILE";
const USUAL: u64 = 120;
/// A process that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Integers and floats that somebody might not expect, as bits.
const VALUES: [u32; 30] = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    16,
    31,
    33,
    64,
    255,
    256,
    258,
    259,
    260,
    512,
    513,
    1024,
    65_535,
    1 << 20,
    1 << 24,
    1 << 28,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fc0_0000,
    0x7f80_0000,
    0xbf80_0000,
    0xff80_0000,
];

const KEYS: [&str; 15] = [
    ".block_count",
    ".context_length",
    ".embedding_length",
    ".feed_forward_length",
    ".attention.head_count",
    ".attention.head_count_kv",
    ".rope.dimension_count",
    ".vocab_size",
    ".attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.model",
    "tokenizer.ggml.token_type",
    "general.architecture",
];

/// Values that the file does not have, with what llama.cpp might not expect there: numbers, or one of these texts.
const MORE_KEYS: [(&str, &[&str]); 18] = [
    (".expert_count", &[]),
    (".expert_used_count", &[]),
    (".expert_group_count", &[]),
    (".expert_group_used_count", &[]),
    (".nextn_predict_layers", &[]),
    (".attention.key_length", &[]),
    (".attention.value_length", &[]),
    (".attention.sliding_window", &[]),
    (".attention.clamp_kqv", &[]),
    (".attention.causal", &[]),
    (".pooling_type", &[]),
    (".rope.freq_base", &[]),
    (".rope.scaling.factor", &[]),
    (".rope.scaling.type", &["none", "yarn", "longrope", "dynamic", ""]),
    (".logit_scale", &[]),
    ("tokenizer.ggml.model", &["gpt2", "bert", "t5", "rwkv", "plamo2", "none", "no_vocab", ""]),
    ("tokenizer.ggml.pre", &["default", "llama-bpe", "qwen2", "nobody"]),
    ("tokenizer.ggml.eot_token_id", &[]),
];

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Adds a value behind the fixed part, and another of a length that keeps the data of the tensors where it belongs.
fn insert(file: &mut Vec<u8>, key: &str, kind: u32, value: &[u8]) {
    if let Some(at) = file.windows(key.len()).position(|window| window == key.as_bytes()) {
        file[at + key.len() - 1] = b'_';
    }
    let mut values = Vec::new();
    push_text(&mut values, key);
    values.extend(kind.to_le_bytes());
    values.extend(value);
    let missing = (values.len() + 8 + 3 + 4 + 8).next_multiple_of(32) - (values.len() + 8 + 3 + 4 + 8);
    push_text(&mut values, "pad");
    values.extend(8_u32.to_le_bytes());
    push_text(&mut values, &" ".repeat(missing));
    let count = u64::from_le_bytes(file[16..24].try_into().unwrap()) + 2;
    file[16..24].copy_from_slice(&count.to_le_bytes());
    file.splice(24..24, values);
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// The file with one or two things wrong, the same for the same number; and what is wrong.
fn damaged(number: u64) -> (Vec<u8>, String) {
    let mut random = Random(number);
    let architecture = if number.is_multiple_of(3) { Architecture::Qwen2 } else { Architecture::Llama };
    let shape = Shape { layers: 2, embd: 32, ff: 32, seed: 1, architecture, ..Shape::default() };
    let mut file = gguf(&shape, 2);
    let mut what = format!("{architecture:?}:");
    if random.below(3) == 0 {
        let (key, texts) = MORE_KEYS[random.below(MORE_KEYS.len())];
        let name = if architecture == Architecture::Llama { "llama" } else { "qwen2" };
        let key = if key.starts_with('.') { format!("{name}{key}") } else { key.to_owned() };
        if texts.is_empty() {
            // As an integer or as a float.
            let (value, kind) = (VALUES[random.below(VALUES.len())], [4, 4, 4, 6][random.below(4)]);
            insert(&mut file, &key, kind, &value.to_le_bytes());
            what += &format!(" {key} of type {kind} is {value:#x}");
        } else {
            let text = texts[random.below(texts.len())];
            let mut value = Vec::new();
            push_text(&mut value, text);
            insert(&mut file, &key, 8, &value);
            what += &format!(" {key} is {text:?}");
        }
        if random.below(2) == 0 {
            return (file, what);
        }
    }
    let head = file.windows(16).rposition(|window| window.starts_with(b"blk.1.")).unwrap() + 64;
    for _ in 0..=random.below(2) {
        let key = KEYS[random.below(KEYS.len())];
        // Behind the key stand the type of the value and the value.
        let behind = file.windows(key.len()).position(|window| window == key.as_bytes()).map(|at| at + key.len());
        match random.below(9) {
            8 => {
                let key = b"tokenizer.ggml.token_type";
                let behind = file.windows(key.len()).position(|window| window == key).map(|at| at + key.len() + 16);
                let at = behind.map_or(0, |at| at + 4 * random.below(259));
                if (1..file.len() - 4).contains(&at) {
                    file[at] = u8::try_from(random.below(9)).unwrap();
                    what += &format!(" type of a token at {at} is {}", file[at]);
                }
            }
            0 => {
                file.truncate(random.below(file.len()).max(1));
                what += &format!(" cut to {}", file.len());
            }
            1 if behind.is_some_and(|at| at + 4 <= file.len()) => {
                let (at, kind) = (behind.unwrap(), random.below(14));
                file[at..at + 4].copy_from_slice(&u32::try_from(kind).unwrap().to_le_bytes());
                what += &format!(" {key} of type {kind}");
            }
            2..=4 if behind.is_some_and(|at| at + 8 <= file.len()) => {
                let (at, value) = (behind.unwrap() + 4, VALUES[random.below(VALUES.len())]);
                file[at..at + 4].copy_from_slice(&value.to_le_bytes());
                what += &format!(" {key} is {value:#x}");
            }
            kind => {
                // In the fixed part and the first values, anywhere in the head, or anywhere in the file.
                let region = [300, head, file.len()][kind % 3].min(file.len());
                let at = random.below(region);
                file[at] = match random.below(4) {
                    0 => 0,
                    1 => 255,
                    2 => file[at] ^ (1 << random.below(8)),
                    _ => random.byte(),
                };
                what += &format!(" byte {at} is {:#x}", file[at]);
            }
        }
    }
    (file, what)
}

/// What a user does with a model. Returns how far it went.
fn open(path: &Path) -> String {
    let model = match Model::load(path, &ModelOptions::default()) {
        Ok(model) => model,
        Err(error) => return format!("refused: {error}"),
    };
    let sequence_tokens = model.context_train().clamp(1, 256);
    let options = EngineOptions { max_batch: 2, sequence_tokens, ..EngineOptions::default() };
    let mut engine = match Engine::new(&model, &options) {
        Ok(engine) => engine,
        Err(error) => return format!("no engine: {error}"),
    };
    let request = Request::greedy("What is \u{fc}?", 4);
    for depth in [Depth::Full, Depth::Layers(1)] {
        match engine.prefill(&[request.clone(), request.clone()], depth) {
            Err(error) => return format!("no prefill: {error}"),
            Ok(prefilled) => match prefilled.decode(&AtomicBool::new(false)) {
                Err(error) => return format!("no decode: {error}"),
                Ok(report) => assert!(report.answers.iter().all(|answer| answer.tokens.len() <= 4)),
            },
        }
    }
    "answered".to_owned()
}

#[test]
fn damaged_files_never_end_the_process() {
    if let Some(path) = std::env::var_os(FILE) {
        println!("RESULT {}", open(Path::new(&path)).replace('\n', " "));
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (from, count) =
        (number("ENERGYLLM_DAMAGED_FROM").unwrap_or(0), number("ENERGYLLM_DAMAGED_FILES").unwrap_or(USUAL));
    let zoo = Zoo::new();
    let path = zoo.path("damaged.gguf");
    let (mut deaths, mut ends) = (Vec::new(), BTreeMap::<String, u64>::new());
    for number in from..from + count {
        let (file, what) = damaged(number);
        std::fs::write(&path, file).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "damaged_files_never_end_the_process", "--nocapture"]);
        command.env(FILE, &path).env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, started) = (command.spawn().unwrap(), Instant::now());
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > PATIENCE {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let result = said.lines().find_map(|line| Some(line.split_once("RESULT ")?.1.to_owned()));
        match result.filter(|_| output.status.success()) {
            Some(result) => *ends.entry(result.split(':').next().unwrap_or_default().to_owned()).or_default() += 1,
            None => {
                let words = String::from_utf8_lossy(&output.stderr).chars().take(600).collect::<String>();
                deaths.push(format!("file {number} ({what}): {:?}: {words}", output.status));
            }
        }
    }
    eprintln!("{count} damaged files: {ends:?}");
    assert!(deaths.is_empty(), "{} of {count} ended the process:\n{}", deaths.len(), deaths.join("\n"));
    assert!(ends.len() > 1, "damage that nobody notices and damage that is refused: {ends:?}");
}
