//! What would make llama.cpp abort the process, found in the head of a file before llama.cpp sees it.
//!
//! Its loader throws at most mistakes, which comes back as an error. These it asserts. The list grew by feeding it
//! thousands of damaged files (`tests/damaged_files.rs`) and by reading `llama-model.cpp` of the pinned version.

use super::gguf::tensor_type::{self, F32};
use super::gguf::{GgufError, Header};
use super::model::ModelError;
use std::collections::HashSet;
use std::path::Path;

/// llama.cpp's `LLAMA_MAX_LAYERS`.
const MAX_LAYERS: u64 = 512;
/// llama.cpp's `LLAMA_MAX_EXPERTS`.
const MAX_EXPERTS: u64 = 1024;
/// Architectures with an encoder, and those that write no text.
const NO_DECODER: [&str; 3] = ["t5", "t5encoder", "wavtokenizer-dec"];
/// Architectures that rotate a part of each head. All others rotate the whole, and assert it.
const PARTIAL_ROTATION: [&str; 9] =
    ["gptneox", "phi2", "phi3", "phimoe", "stablelm", "chatglm", "glm4", "glm4moe", "nemotron"];
/// Architectures whose keys and values are compressed together and so differ in length.
const LATENT_ATTENTION: [&str; 5] = ["deepseek2", "minicpm3", "plm", "glm-dsa", "mistral4"];
/// Kinds of tokenizer that write any text: `SentencePiece`, byte pairs (two spellings), and T5's unigrams.
const TOKENIZERS: [&str; 4] = ["llama", "gpt2", "gemma4", "t5"];
/// `LLAMA_TOKEN_TYPE_BYTE`.
const BYTE_TOKEN: i64 = 6;
/// What `rope.scaling.type` may say.
const SCALINGS: [&str; 4] = ["none", "linear", "yarn", "longrope"];

/// Architectures in which some layers have no attention, and so no heads. The engine refuses most as recurrent, later.
const LAYERS_WITHOUT_HEADS: [&str; 12] = [
    "bailingmoe3",
    "deci",
    "glm5-next",
    "granitehybrid",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
];

/// What would abort the process, or load and be of no use.
pub(super) fn check(header: &Header, path: &Path) -> Result<(), ModelError> {
    let path = || path.to_path_buf();
    let architecture = header.text("general.architecture").unwrap_or_default();
    if let Some(flaw) = no_text(header, architecture) {
        return Err(ModelError::Architecture { path: path(), found: architecture.into(), flaw });
    }
    let layers = header.count(&format!("{architecture}.block_count")).unwrap_or(0);
    if !(1..=MAX_LAYERS).contains(&layers) {
        return Err(ModelError::LayerCount { path: path(), found: layers });
    }
    // The first file of a split model may hold no layer.
    let split = header.count("split.count").unwrap_or(1) > 1;
    if !split && !header.tensors().any(|name| name.starts_with("blk.")) {
        return Err(ModelError::VocabularyOnly { path: path() });
    }
    // Missing, it is refused; negative, it would abort.
    for key in [rms_epsilon(architecture), format!("{architecture}.attention.layer_norm_epsilon")] {
        let epsilon = header.float(&key).unwrap_or_default();
        if !(0.0..1.0).contains(&epsilon) {
            let source = GgufError::Damaged(format!("{key} is {epsilon}"));
            return Err(ModelError::File { path: path(), source });
        }
    }
    if let Some(flaw) = check_numbers(header, architecture) {
        return Err(ModelError::File { path: path(), source: GgufError::Damaged(flaw) });
    }
    if let Some((tensor, flaw)) = check_types(header) {
        return Err(ModelError::TensorType { path: path(), tensor, flaw });
    }
    let kind = header.text("tokenizer.ggml.model").filter(|kind| !matches!(*kind, "none" | "no_vocab"));
    match kind.zip(header.texts("tokenizer.ggml.tokens")) {
        None => Err(ModelError::NoTokenizer { path: path() }),
        Some((kind, tokens)) => {
            let types = header.integers("tokenizer.ggml.token_type").unwrap_or_default();
            check_vocabulary(kind, tokens, types).map_err(|flaw| ModelError::Vocabulary { path: path(), flaw })
        }
    }
}

/// Key of the constant in the norms.
pub(super) fn rms_epsilon(architecture: &str) -> String {
    format!("{architecture}.attention.layer_norm_rms_epsilon")
}

/// Why a model of this header writes no text token by token, if it does not.
fn no_text(header: &Header, architecture: &str) -> Option<&'static str> {
    let key = |name: &str| format!("{architecture}.{name}");
    if architecture.is_empty() {
        Some("does not say what it is")
    } else if NO_DECODER.contains(&architecture) || header.has(&key("decoder_start_token_id")) {
        Some("has an encoder")
    } else if header.flag(&key("attention.causal")) == Some(false) || header.has(&key("pooling_type")) {
        Some("reads text without writing any")
    } else {
        None
    }
}

/// Numbers that do not go together.
fn check_numbers(header: &Header, architecture: &str) -> Option<String> {
    let key = |name: &str| format!("{architecture}.{name}");
    let count = |name: &str| header.count(&key(name));
    let says = |name: &str, value: &dyn std::fmt::Display| Some(format!("{} is {value}", key(name)));

    if let Some(kind) = header.text(&key("rope.scaling.type")).filter(|kind| !SCALINGS.contains(kind)) {
        return says("rope.scaling.type", &format!("{kind:?}"));
    }
    // Missing, it is refused by llama.cpp.
    if count("context_length") == Some(0) {
        return says("context_length", &0);
    }
    let layers = count("block_count").unwrap_or(0);
    if let Some(ahead) = count("nextn_predict_layers").filter(|&ahead| ahead >= layers) {
        return says("nextn_predict_layers", &ahead);
    }

    if !LAYERS_WITHOUT_HEADS.contains(&architecture) {
        for name in ["attention.head_count", "attention.head_count_kv"] {
            let each = header.integers(&key(name)).unwrap_or_default();
            if let Some((layer, heads)) = each.iter().enumerate().find(|(_, heads)| **heads < 1) {
                return says(name, &format!("{heads} in layer {layer}"));
            }
        }
    }

    let experts = count("expert_count").unwrap_or(0);
    if experts > MAX_EXPERTS {
        return says("expert_count", &experts);
    }
    // A number for each layer is an array, which llama.cpp takes too; its maximum is not known here.
    let used = count("expert_used_count");
    let used_right = used.map_or(experts > 0 || !header.has(&key("expert_used_count")), |used| {
        if experts == 0 { used == 0 } else { (1..=experts).contains(&used) }
    });
    if !used_right || (experts > 0 && !header.has(&key("expert_used_count"))) {
        return says("expert_used_count", &used.unwrap_or(0));
    }
    let groups = count("expert_group_count").unwrap_or(0);
    if groups > 0 && (groups >= experts || !experts.is_multiple_of(groups)) {
        return says("expert_group_count", &groups);
    }
    let groups_used = count("expert_group_used_count").unwrap_or(0);
    if groups > 1 && !(1..groups).contains(&groups_used) {
        return says("expert_group_used_count", &groups_used);
    }

    if LATENT_ATTENTION.contains(&architecture) {
        return None;
    }
    let even = count("embedding_length").zip(count("attention.head_count"));
    let even = even.and_then(|(width, heads)| width.checked_div(heads));
    let (keys, values) = (count("attention.key_length").or(even), count("attention.value_length").or(even));
    if keys != values {
        return says("attention.key_length", &keys.unwrap_or(0));
    }
    let rotated = count("rope.dimension_count").zip(keys);
    let part = PARTIAL_ROTATION.contains(&architecture);
    let sound =
        |(rotated, whole): &(u64, u64)| rotated == whole || (part && (1..*whole).contains(rotated) && rotated % 2 == 0);
    if let Some((rotated, _)) = rotated.filter(|rotated| !sound(rotated)) {
        return says("rope.dimension_count", &rotated);
    }
    None
}

/// A tensor of a type that ggml does not compute with where it stands, and what is wrong. It aborts, or calls a function
/// that is not there.
fn check_types(header: &Header) -> Option<(String, String)> {
    header.tensor_types().find_map(|(name, dimensions, number)| {
        let kind = tensor_type::of_number(number);
        let flaw = if is_vector(name, dimensions) {
            (number != F32).then_some("where llama.cpp computes with F32 only")
        } else {
            (!kind.is_some_and(|kind| kind.multiplies)).then_some("with which llama.cpp does not multiply")
        };
        let kind = kind.map_or_else(|| format!("unknown type {number}"), |kind| format!("type {}", kind.name));
        flaw.map(|flaw| (name.to_owned(), format!("is of {kind}, {flaw}")))
    })
}

/// Added to the activations or multiplied with them number by number: norms, biases, scales, and the factors of the
/// rotation. All else is a matrix. Some norms have a row for each head.
fn is_vector(name: &str, dimensions: &[u64]) -> bool {
    let rows = dimensions.get(1..).unwrap_or_default();
    rows.iter().all(|&rows| rows == 1)
        || name.rsplit('.').next() == Some("bias")
        || name.contains("norm")
        || name.starts_with("rope_")
}

/// llama.cpp aborts on a token that stands twice, and later on text that a `SentencePiece` vocabulary cannot write.
fn check_vocabulary(kind: &str, tokens: &[Box<[u8]>], types: &[i64]) -> Result<(), String> {
    if !TOKENIZERS.contains(&kind) {
        return Err(format!("is of kind {kind:?}, which does not write text"));
    }
    // It reads the byte from the fourth and fifth character.
    let byte_tokens = tokens.iter().zip(types).filter(|(_, kind)| **kind == BYTE_TOKEN);
    if let Some((short, _)) = byte_tokens.into_iter().find(|(token, _)| token.len() < 5 || token.contains(&0)) {
        return Err(format!("says that {:?} is a byte", String::from_utf8_lossy(short)));
    }
    let mut distinct = HashSet::with_capacity(tokens.len());
    // llama.cpp reads tokens as C strings: what follows a NUL does not tell two tokens apart.
    let read = tokens.iter().map(|token| token.split(|byte| *byte == 0).next().unwrap_or_default());
    if let Some(twice) = read.into_iter().find(|token| !distinct.insert(*token)) {
        return Err(format!("contains the token {:?} twice", String::from_utf8_lossy(twice)));
    }
    let writable =
        |byte: &u8| distinct.contains(&[*byte][..]) || distinct.contains(format!("<0x{byte:02X}>").as_bytes());
    match (0..=u8::MAX).find(|byte| !writable(byte)) {
        Some(byte) if kind == "llama" => Err(format!("has no token for byte {byte:#04x}")),
        _ => Ok(()),
    }
}
