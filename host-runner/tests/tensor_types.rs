//! Each tensor of a model in each type that ggml has, had or may get: it runs or is refused by name, and the process lives.
//!
//! llama.cpp calls a null pointer for a matrix of integers, and aborts on a norm that is not of 32-bit floats.

mod support;

use host_runner::llm::{Depth, Engine, EngineOptions, Model, ModelError, ModelOptions, Request};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use support::{Shape, Zoo, gguf};

const FILE: &str = "ENERGYLLM_TENSOR_TYPES_FILE";

/// Number, elements of a block and its bytes of the types with which ggml multiplies, and of the others.
const MULTIPLIED: [(u32, u64, u64); 28] = [
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
    (16, 256, 66),
    (17, 256, 74),
    (18, 256, 98),
    (19, 256, 50),
    (20, 32, 18),
    (21, 256, 110),
    (22, 256, 82),
    (23, 256, 136),
    (29, 256, 56),
    (30, 1, 2),
    (34, 256, 54),
    (35, 256, 66),
    (39, 32, 17),
    (40, 64, 36),
    (41, 128, 18),
    (42, 64, 18),
];
const OTHER: [(u32, u64, u64); 7] =
    [(9, 32, 36), (15, 256, 292), (24, 1, 1), (25, 1, 2), (26, 1, 4), (27, 1, 8), (28, 1, 8)];
const TYPES: u32 = 50;

/// A tensor of a file: its name, dimensions, type and data.
#[derive(Clone)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    kind: u32,
    data: Vec<u8>,
}

/// A file with its values as they are and its tensors apart.
struct Parts {
    values: Vec<u8>,
    tensors: Vec<Tensor>,
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8]) -> u64 {
    u64::from_le_bytes(take(rest, 8).try_into().unwrap())
}

fn short(rest: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(rest, 4).try_into().unwrap())
}

impl Parts {
    /// Of a file whose tensors are all F32 and begin with the token embedding, one behind the other.
    fn of(file: &[u8]) -> Self {
        let first = b"token_embd.weight";
        let at = file.windows(first.len()).position(|window| window == first).unwrap() - 8;
        let (values, mut rest) = file.split_at(at);
        let mut tensors = Vec::new();
        for _ in 0..u64::from_le_bytes(values[8..16].try_into().unwrap()) {
            let length = number(&mut rest).try_into().unwrap();
            let name = String::from_utf8(take(&mut rest, length).to_vec()).unwrap();
            let count = short(&mut rest);
            let dimensions = (0..count).map(|_| number(&mut rest)).collect();
            let kind = short(&mut rest);
            number(&mut rest);
            tensors.push(Tensor { name, dimensions, kind, data: Vec::new() });
        }
        let mut rest = &file[(file.len() - rest.len()).next_multiple_of(32)..];
        for tensor in &mut tensors {
            let bytes = usize::try_from(tensor.dimensions.iter().product::<u64>() * 4).unwrap();
            tensor.data = take(&mut rest, bytes).to_vec();
            let padding = (bytes.next_multiple_of(32) - bytes).min(rest.len());
            take(&mut rest, padding);
        }
        Self { values: values.to_vec(), tensors }
    }

    /// The file with the tensor at `place` of another type, and data that fits it.
    fn with(&self, place: usize, kind: u32) -> Vec<u8> {
        let (mut file, mut data) = (self.values.clone(), Vec::new());
        let mut tensors = self.tensors.clone();
        let tensor = &mut tensors[place];
        let size = MULTIPLIED.iter().chain(&OTHER).find(|(number, ..)| *number == kind);
        if let Some((_, block, bytes)) = size.filter(|(number, ..)| *number != tensor.kind) {
            let elements = tensor.dimensions.iter().product::<u64>();
            // No number of 16 or 32 bits in it is infinite.
            tensor.data = (0..elements.div_ceil(*block) * bytes).map(|at| (at * 37).to_le_bytes()[0] & 0x3b).collect();
        }
        tensor.kind = kind;
        for Tensor { name, dimensions, kind, data: own } in &tensors {
            file.extend((name.len() as u64).to_le_bytes());
            file.extend(name.as_bytes());
            file.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
            file.extend(dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(own);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

/// A number for each of two layers in place of one for all.
fn with_heads(parts: &Parts, key: &str, heads: [i32; 2]) -> Vec<u8> {
    let mut values = parts.values.clone();
    // With the type of its value: another key begins like it.
    let whole = [key.as_bytes(), &4_u32.to_le_bytes()].concat();
    let at = values.windows(whole.len()).position(|window| window == whole).unwrap() + key.len();
    let mut array = Vec::new();
    array.extend([9_u32, 5].map(u32::to_le_bytes).concat());
    array.extend(2_u64.to_le_bytes());
    array.extend(heads.map(i32::to_le_bytes).concat());
    values.splice(at..at + 8, array);
    Parts { values, tensors: parts.tensors.clone() }.with(0, 0)
}

fn parts() -> Parts {
    // Rows of 256: as long as the longest block.
    let shape = Shape { layers: 2, embd: 256, ff: 256, heads: 4, kv_heads: 4, tied: false, ..Shape::default() };
    Parts::of(&gguf(&shape, 2))
}

/// Whether the model ran, or the error.
fn open(path: &Path) -> Result<(), ModelError> {
    let model = Model::load(path, &ModelOptions::default())?;
    let mut engine = Engine::new(&model, &EngineOptions { sequence_tokens: 32, ..EngineOptions::default() }).unwrap();
    for depth in [Depth::Full, Depth::Layers(1)] {
        // Weights like these may give logits that are no numbers, which is an error and no crash.
        if let Ok(prefilled) = engine.prefill(&[Request::greedy("What?", 2)], depth) {
            let _ = prefilled.decode(&AtomicBool::new(false));
        }
    }
    Ok(())
}

/// Everything of one tensor, in a process of its own.
fn sweep(name: &str) {
    let parts = parts();
    let place = parts.tensors.iter().position(|tensor| tensor.name == name).unwrap();
    let (zoo, vector) = (Zoo::new(), parts.tensors[place].dimensions.len() == 1);
    let path = zoo.path("typed.gguf");
    for kind in 0..TYPES {
        println!("TYPE {kind}");
        std::fs::write(&path, parts.with(place, kind)).unwrap();
        let runs = if vector { kind == 0 } else { MULTIPLIED.iter().any(|(number, ..)| *number == kind) };
        match open(&path) {
            Ok(()) => assert!(runs, "{name} runs as type {kind}"),
            Err(error @ ModelError::TensorType { .. }) if !runs => {
                let says = error.to_string();
                assert!(says.contains(name) && says.contains("type") && says.contains("convert"), "{says}");
            }
            Err(error) => panic!("{name} of type {kind}: {error}"),
        }
    }
}

#[test]
fn each_tensor_of_each_type_runs_or_is_refused() {
    if let Ok(name) = std::env::var(FILE) {
        return sweep(&name);
    }
    let parts = parts();
    // The second layer has nothing that the first has not.
    for Tensor { name, .. } in parts.tensors.iter().filter(|tensor| !tensor.name.starts_with("blk.1.")) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "each_tensor_of_each_type_runs_or_is_refused", "--nocapture"]).env(FILE, name);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().rfind(|line| line.contains("TYPE ")).unwrap_or_default();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, {last}: {:?}: {words}", output.status);
        assert!(last.ends_with(&format!("TYPE {}", TYPES - 1)), "{name}: {said}");
    }
}

/// llama.cpp aborts when it builds the graph of such a layer.
#[test]
fn a_layer_without_heads_is_refused() {
    let (zoo, parts) = (Zoo::new(), parts());
    let path = zoo.path("heads.gguf");
    for key in ["llama.attention.head_count_kv", "llama.attention.head_count"] {
        for (heads, sound) in [([4, 4], true), ([4, 0], false), ([-1, 4], false)] {
            std::fs::write(&path, with_heads(&parts, key, heads)).unwrap();
            match Model::load(&path, &ModelOptions::default()) {
                Ok(_) => assert!(sound, "{key} is {heads:?}"),
                Err(error) => {
                    let says = error.to_string();
                    assert!(!sound && says.contains(key) && says.contains("in layer"), "{says}");
                }
            }
        }
    }
}
