//! A model file in memory.

use super::fence::{self, rms_epsilon};
use super::ffi;
use super::gguf::{GgufError, Header};
use super::request::TokenId;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The only architecture whose graph the engine knows: with it depth is a choice. Others run as a whole.
const ARCHITECTURE: &str = "llama";
/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelOptions {
    /// Layers to put on the GPU, from the last one down. Without effect in a build for the CPU.
    pub gpu_layers: u32,
}

impl Default for ModelOptions {
    /// As much on the GPU as there is.
    fn default() -> Self {
        Self { gpu_layers: u32::MAX }
    }
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is not a sound GGUF file.
    #[error("{} {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// llama.cpp takes paths as UTF-8.
    #[error("{} is not a UTF-8 path; rename the file or its folder", path.display())]
    Path {
        /// The file.
        path: PathBuf,
    },
    /// A model that does not write text token by token over a KV cache.
    #[error(
        "{} has architecture {found:?} and {flaw}; only models that write text token by token over a cache of keys and values \
         run here, Llama models at any depth (Llama 2 and 3, TinyLlama, SmolLM, Mistral 7B), others at full depth",
        path.display()
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What the file says, empty if nothing.
        found: String,
        /// What it is instead.
        flaw: &'static str,
    },
    /// No layers, or more than llama.cpp takes.
    #[error("{} says it has {found} layers; 1 to 512 are possible, convert the model again", path.display())]
    LayerCount {
        /// The file.
        path: PathBuf,
        /// `block_count` of the architecture, 0 if missing.
        found: u64,
    },
    /// Only a vocabulary.
    #[error("{} holds a vocabulary but no weights; give the file with the weights", path.display())]
    VocabularyOnly {
        /// The file.
        path: PathBuf,
    },
    /// Weights without a vocabulary.
    #[error("{} holds no tokenizer; convert the model again, together with its tokenizer", path.display())]
    NoTokenizer {
        /// The file.
        path: PathBuf,
    },
    /// A vocabulary that llama.cpp would stumble over.
    #[error("the vocabulary in {} {flaw}; convert the model again, together with its tokenizer", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: String,
    },
    /// A tensor that llama.cpp would crash on.
    #[error(
        "tensor {tensor} in {} {flaw}; convert the model again, its matrices as F16 or a quantized type and all else as F32 \
         (convert_hf_to_gguf.py of llama.cpp does), or fetch it again",
        path.display()
    )]
    TensorType {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// What is wrong with its type.
        flaw: String,
    },
    /// llama.cpp refused.
    #[error("{} was refused by llama.cpp: {reason}; convert it again or fetch it again", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The first error in llama.cpp's log: the cause; the others are its consequences.
        reason: String,
    },
}

/// Depth was asked of a model whose graph is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model has architecture {architecture:?}; depths below full, drafts and gates are known for \"{ARCHITECTURE}\" only, \
     and this model runs at full depth, {layers} layers"
)]
pub struct NoExits {
    /// What the file says.
    pub architecture: String,
    /// All layers.
    pub layers: u32,
}

/// llama.cpp itself, initialized once and for the life of the process, with its log routed.
pub(super) fn backend() -> &'static LlamaBackend {
    static BACKEND: LazyLock<LlamaBackend> = LazyLock::new(|| {
        ffi::route_logs();
        LlamaBackend::init().expect("nothing else initializes llama.cpp")
    });
    &BACKEND
}

/// A loaded model. Engines borrow it; several may share one.
#[derive(Debug)]
pub struct Model {
    llama: LlamaModel,
    path: PathBuf,
    architecture: String,
    name: String,
    norm_epsilon: f64,
    context_train: u32,
    cell_numbers: u64,
}

impl Model {
    /// Loads the GGUF file at `path`, after checking it (llama.cpp aborts the process on some damaged files).
    pub fn load(path: &Path, options: &ModelOptions) -> Result<Self, ModelError> {
        if path.to_str().is_none() {
            return Err(ModelError::Path { path: path.into() });
        }
        let header = Header::open(path).map_err(|source| ModelError::File { path: path.into(), source })?;
        fence::check(&header, path)?;
        if cfg!(feature = "cuda") && options.gpu_layers > 0 && !backend().supports_gpu_offload() {
            tracing::warn!(
                "this build is for NVIDIA GPUs, but CUDA finds none, so everything runs on the CPU; if there is one, \
                 look whether `nvidia-smi` shows it and a driver that is new enough"
            );
        }
        let params = LlamaModelParams::default().with_n_gpu_layers(options.gpu_layers);
        // Before, or what llama.cpp finds wrong with this machine would pass for the cause.
        let backend = backend();
        let llama = ffi::or_first_error(|| LlamaModel::load_from_file(backend, path, &params))
            .map_err(|reason| ModelError::Refused { path: path.into(), reason })?;
        let architecture = header.text("general.architecture").unwrap_or_default().to_owned();
        if llama.is_recurrent() || llama.is_hybrid() {
            let flaw = "keeps a recurrent state";
            return Err(ModelError::Architecture { path: path.into(), found: architecture, flaw });
        }
        let name = header.text("general.name").unwrap_or("unnamed").to_owned();
        let norm_epsilon = header.float(&rms_epsilon(&architecture)).unwrap_or_default();
        // From the header: llama-cpp-2 panics on a length beyond i32.
        let context_train = header.count(&format!("{architecture}.context_length")).unwrap_or_default();
        let context_train = u32::try_from(context_train).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs());
        let cell_numbers = cell_numbers(&header, &architecture);
        Ok(Self { llama, path: path.into(), architecture, name, norm_epsilon, context_train, cell_numbers })
    }

    /// `general.architecture` of the file.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Whether depths below full, drafts and gates are possible; the error says what still is.
    pub fn require_exits(&self) -> Result<(), NoExits> {
        if self.architecture == ARCHITECTURE {
            return Ok(());
        }
        Err(NoExits { architecture: self.architecture.clone(), layers: self.n_layer() })
    }

    /// The file it came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `general.name` of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of layers: the greatest depth.
    #[must_use]
    pub fn n_layer(&self) -> u32 {
        self.llama.n_layer()
    }

    /// Width of the hidden state.
    #[must_use]
    pub fn n_embd(&self) -> u32 {
        self.llama.n_embd().unsigned_abs()
    }

    /// Number of tokens in the vocabulary.
    #[must_use]
    pub fn n_vocab(&self) -> u32 {
        self.llama.n_vocab().unsigned_abs()
    }

    /// Number of weights.
    #[must_use]
    pub fn n_params(&self) -> u64 {
        self.llama.n_params()
    }

    /// Bytes of all weights.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.llama.size()
    }

    /// Tokens per sequence that the model was trained for.
    #[must_use]
    pub fn context_train(&self) -> u32 {
        self.context_train
    }

    /// One line for people: name, layers, width, vocabulary, weights.
    #[must_use]
    pub fn description(&self) -> String {
        format!(
            "{}: {} layers, width {}, vocabulary {}, {:.1} M weights",
            self.name,
            self.n_layer(),
            self.n_embd(),
            self.n_vocab(),
            self.n_params() as f64 / 1e6
        )
    }

    /// SHA-256 of the file in lower-case hex. Reads the whole file: about a second per gigabyte.
    pub fn sha256(&self) -> io::Result<String> {
        let mut hasher = Sha256::new();
        io::copy(&mut File::open(&self.path)?, &mut hasher)?;
        let mut hex = String::new();
        for byte in hasher.finalize() {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Ok(hex)
    }

    /// Tokens of `text`, with the begin-of-text token if the model wants one. Special tokens in the text count as such.
    #[must_use]
    pub fn tokenize(&self, text: &str) -> Vec<TokenId> {
        self.llama.vocab().tokenize(text.as_bytes(), true, true).into_iter().map(|token| token.0).collect()
    }

    /// The first control token, such as the end of a turn, that `text` would be read as containing; as it is written.
    #[must_use]
    pub fn control_in(&self, text: &str) -> Option<String> {
        let vocabulary = self.llama.vocab();
        // Read as plain text it gives no such token.
        let plain = vocabulary.tokenize(text.as_bytes(), false, false);
        let read = vocabulary.tokenize(text.as_bytes(), false, true);
        let control = read.into_iter().find(|token| vocabulary.is_control(*token) && !plain.contains(token))?;
        Some(vocabulary.text(control).map_or_else(String::new, |text| text.to_string_lossy().into_owned()))
    }

    /// Text of `tokens`. A character may span tokens, so it is put together from bytes; what is no UTF-8 then becomes
    /// the replacement character. Special tokens, and numbers that are no token, have no text.
    #[must_use]
    pub fn text(&self, tokens: &[TokenId]) -> String {
        String::from_utf8_lossy(&self.bytes(tokens)).into_owned()
    }

    /// Like [`Model::text`], without a character at the end whose last bytes have not come yet.
    #[must_use]
    pub fn whole_text(&self, tokens: &[TokenId]) -> String {
        let mut bytes = self.bytes(tokens);
        // A character has at most four bytes; those of one that is cut off are an error without a length.
        let tail = bytes.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
        let cut = bytes.len() - tail;
        if std::str::from_utf8(&bytes[cut..]).is_err_and(|error| error.error_len().is_none()) {
            bytes.truncate(cut);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn bytes(&self, tokens: &[TokenId]) -> Vec<u8> {
        // llama.cpp throws through C at a number that is no token.
        let known = |token: &&TokenId| u32::try_from(**token).is_ok_and(|token| token < self.n_vocab());
        let tokens: Vec<_> = tokens.iter().filter(known).map(|&token| LlamaToken::new(token)).collect();
        if tokens.is_empty() { Vec::new() } else { self.llama.vocab().detokenize(&tokens, false, false) }
    }

    /// A token as it stands in the vocabulary, in bytes.
    pub(super) fn token_text(&self, token: TokenId) -> Vec<u8> {
        self.llama.vocab().text(LlamaToken::new(token)).map_or_else(Vec::new, |text| text.to_bytes().to_vec())
    }

    /// The token that ends an answer, as the file says.
    pub(super) fn end_of_text(&self) -> Option<TokenId> {
        Some(self.llama.vocab().eos().0).filter(|token| *token >= 0)
    }

    /// Whether `token` ends an answer.
    #[must_use]
    pub fn ends_text(&self, token: TokenId) -> bool {
        u32::try_from(token).is_ok_and(|token| token < self.n_vocab())
            && self.llama.vocab().is_eog(LlamaToken::new(token))
    }

    /// Added to the mean square in the norms, as the file says.
    pub(super) fn norm_epsilon(&self) -> f64 {
        self.norm_epsilon
    }

    /// Numbers that the KV cache keeps for a token in the memory of this machine, all layers together; at least.
    pub(super) fn cell_numbers(&self) -> u64 {
        // A GPU has its own, and knows what fits.
        if backend().supports_gpu_offload() { 0 } else { self.cell_numbers }
    }

    pub(super) fn llama(&self) -> &LlamaModel {
        &self.llama
    }
}

/// Keys and values of a token in all layers, as the header says; 0 where it does not say so in one number.
fn cell_numbers(header: &Header, architecture: &str) -> u64 {
    let count = |name: &str| header.count(&format!("{architecture}.{name}"));
    let heads = count("attention.head_count");
    let even = count("embedding_length").zip(heads).and_then(|(width, heads)| width.checked_div(heads));
    let length = |name: &str| count(name).or(even).unwrap_or(0);
    let kv_heads = if header.has(&format!("{architecture}.attention.head_count_kv")) {
        count("attention.head_count_kv")
    } else {
        heads
    };
    let each = length("attention.key_length").saturating_add(length("attention.value_length"));
    each.saturating_mul(kv_heads.unwrap_or(0)).saturating_mul(count("block_count").unwrap_or(0))
}
