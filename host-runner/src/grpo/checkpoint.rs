//! What training saves: the network with everything that freezing and resuming need.
//!
//! The file is in the safetensors format, which numerical tools read. Tensors, all f64: `policy.N.weight` (outputs x inputs)
//! and `policy.N.bias` of each layer, the optimizer's moments as `adam.first.N.*` and `adam.second.N.*`, of a training
//! with a fixed reference policy `reference.N.*`, and of one that averages its last rounds `mean.N.*`. Everything else is JSON in the one metadata entry `energyllm`:
//! `version`, `content`, and `sha256` over content and tensors.

use super::heads::is_joint;
use super::network::{Layer, Network};
use super::online::OnlineState;
use super::optimizer::Adam;
use super::trainer::PretrainState;
use crate::atomic_file::{AtomicFile, AtomicFileError};
use crate::input_file;
use controller_core::action::ActionSpace;
use controller_core::observation::{FeatureRange, check_layout};
use controller_core::reward::Variant;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Version of the file's content.
pub const VERSION: u32 = 7;

/// The metadata entry. There is one alone: the order of several would not be the same in every file.
const ENTRY: &str = "energyllm";

/// What the metadata entry holds.
#[derive(Debug, Serialize, Deserialize)]
struct Seal<C> {
    version: u32,
    sha256: String,
    content: C,
}

/// The version alone, of any version.
#[derive(Debug, Deserialize)]
struct Age {
    version: u32,
}

/// A trained policy in floating point.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What stands beside the tensors.
    pub content: Content,
    /// The network.
    pub network: Network,
    /// The optimizer's moments.
    pub optimizer: Adam,
    /// The policy that a training must stay close to, where it is not the one of the round before.
    pub reference: Option<Network>,
    /// Of a training in its last rounds: the mean of their parameters so far.
    pub mean: Option<Network>,
}

/// What stands beside the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Features and ranges of the inputs.
    pub observation: Vec<FeatureRange>,
    /// Values of every knob.
    pub actions: ActionSpace,
    /// Reward trained for.
    pub reward: Variant,
    /// What it was trained in.
    pub environment: String,
    /// Seed of the training.
    pub seed: u64,
    /// Policy updates made.
    pub updates: u32,
    /// Actions that were tried.
    pub evaluations: u64,
    /// Steps of the optimizer.
    pub optimizer_steps: i32,
    /// Of quantization-aware training: the peak of every hidden layer's activations, which decides their scales.
    pub activation_peaks: Option<Vec<f64>>,
    /// Where the training stands; `None` for policies from elsewhere.
    pub training: Option<Training>,
}

impl Content {
    /// What a policy sees, sets and is for, before any training.
    #[must_use]
    pub const fn untrained(observation: Vec<FeatureRange>, actions: ActionSpace, reward: Variant) -> Self {
        Self {
            observation,
            actions,
            reward,
            environment: String::new(),
            seed: 0,
            updates: 0,
            evaluations: 0,
            optimizer_steps: 0,
            activation_peaks: None,
            training: None,
        }
    }
}

/// Where a training stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Training {
    /// `train pretrain`.
    Pretrain(Box<PretrainState>),
    /// `train online`.
    Online(Box<OnlineState>),
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading failed.
    #[error("cannot read the checkpoint {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// Not a checkpoint.
    #[error("{path} is not a checkpoint of this program: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Changed since it was written.
    #[error("{path} has been changed or damaged since it was written: its digest differs; take an earlier checkpoint")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// From another version.
    #[error(
        "{path} has checkpoint version {found}, this build reads {VERSION}; train again or use the build that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Checkpoint {
    /// A policy that was not trained here: no moments, no state.
    #[must_use]
    pub fn untrained(content: Content, network: Network) -> Self {
        Self { content, optimizer: Adam::new(&network), network, reference: None, mean: None }
    }

    /// The policy has one distribution over all actions, not one per knob.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        let logits = self.network.layers.last().map_or(0, |layer| layer.biases.len());
        is_joint(logits, &self.content.actions) == Some(true)
    }

    /// Reads a checkpoint.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = input_file::read(path).map_err(|source| CheckpointError::Read { path: path.into(), source })?;
        let refused = |reason: String| CheckpointError::Content { path: path.into(), reason };
        if bytes.starts_with(b"{\"version\":1,") {
            return Err(CheckpointError::Version { path: path.into(), found: 1 });
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| refused(error.to_string()))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| refused(error.to_string()))?;
        let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        let entry = entry.ok_or_else(|| refused("these are tensors of another program".into()))?;
        let Age { version } = serde_json::from_str(entry).map_err(|error| refused(error.to_string()))?;
        if version != VERSION {
            return Err(CheckpointError::Version { path: path.into(), found: version });
        }
        let seal: Seal<Content> = serde_json::from_str(entry).map_err(|error| refused(error.to_string()))?;
        let Seal { content, sha256, .. } = seal;
        let text = serde_json::to_string(&content).map_err(|error| refused(error.to_string()))?;
        let mut named: Vec<(String, TensorView<'_>)> = tensors.tensors();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        if sha256 != digest(&text, named.iter().map(|(name, view)| (name.as_str(), view.data()))) {
            return Err(CheckpointError::Damaged { path: path.into() });
        }
        let network = |prefix: &str| network(&tensors, prefix).map_err(&refused);
        let policy = network("policy")?;
        let (first, second) = (network("adam.first")?, network("adam.second")?);
        let optional = |prefix: &str| {
            let is_there =
                named.iter().any(|(name, _)| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')));
            is_there.then(|| network(prefix)).transpose()
        };
        let (reference, mean) = (optional("reference")?, optional("mean")?);
        let optimizer = Adam { first, second, steps: content.optimizer_steps };
        let checkpoint = Self { content, network: policy, optimizer, reference, mean };
        checkpoint.check().map_err(|reason| refused(reason.into()))?;
        Ok(checkpoint)
    }

    /// Sizes that fit together; a file that anybody may have made must not make the network panic.
    fn check(&self) -> Result<(), &'static str> {
        let Content { observation, actions, activation_peaks, .. } = &self.content;
        check_layout(observation).map_err(|_| "its observation is unusable")?;
        actions.check().map_err(|_| "its action space is unusable")?;
        let mut inputs = observation.len();
        for layer in &self.network.layers {
            if layer.inputs != inputs || layer.biases.is_empty() {
                return Err("its layers do not fit together");
            }
            inputs = layer.biases.len();
        }
        is_joint(inputs, actions).ok_or("its logits do not fit its action space")?;
        let shape = |network: &Network| network.layers.iter().map(|l| (l.inputs, l.biases.len())).collect::<Vec<_>>();
        let like = |other: &Network| shape(other) == shape(&self.network);
        let moments = [&self.optimizer.first, &self.optimizer.second];
        if !moments.into_iter().chain(&self.reference).chain(&self.mean).all(like) {
            return Err("its moments, its reference or its mean have other shapes than its policy");
        }
        if activation_peaks.as_ref().is_some_and(|peaks| peaks.len() + 1 != self.network.layers.len()) {
            return Err("its activation peaks do not fit its layers");
        }
        Ok(())
    }

    /// Writes a checkpoint; the file exists whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let refused = |reason: String| CheckpointError::Content { path: path.into(), reason };
        let content = Content { optimizer_steps: self.optimizer.steps, ..self.content.clone() };
        let text = serde_json::to_string(&content).map_err(|error| refused(error.to_string()))?;
        let networks = [
            ("policy", Some(&self.network)),
            ("adam.first", Some(&self.optimizer.first)),
            ("adam.second", Some(&self.optimizer.second)),
            ("reference", self.reference.as_ref()),
            ("mean", self.mean.as_ref()),
        ];
        let networks = networks.into_iter().filter_map(|(prefix, network)| Some((prefix, network?)));
        let mut tensors: Vec<Tensor> = networks.flat_map(|(prefix, network)| tensors(prefix, network)).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let sha256 = digest(&text, tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes.as_slice())));
        let seal = serde_json::to_string(&Seal { version: VERSION, sha256, content });
        let seal = seal.map_err(|error| refused(error.to_string()))?;
        let metadata = HashMap::from([(ENTRY.to_owned(), seal)]);
        let views = tensors.iter().map(|tensor| {
            TensorView::new(Dtype::F64, tensor.shape.clone(), &tensor.bytes).map(|view| (tensor.name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| refused(error.to_string()))?;
        let bytes = serialize(views, Some(metadata)).map_err(|error| refused(error.to_string()))?;
        Ok(AtomicFile::write(path, &bytes)?)
    }
}

/// A tensor on its way into the file.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn tensors(prefix: &str, network: &Network) -> Vec<Tensor> {
    let bytes = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let of_layer = |(number, layer): (usize, &Layer)| {
        let outputs = layer.biases.len();
        [("weight", vec![outputs, layer.inputs], &layer.weights), ("bias", vec![outputs], &layer.biases)].map(
            |(kind, shape, values)| Tensor { name: format!("{prefix}.{number}.{kind}"), shape, bytes: bytes(values) },
        )
    };
    network.layers.iter().enumerate().flat_map(of_layer).collect()
}

/// The network whose tensors begin with `prefix`.
fn network(tensors: &SafeTensors<'_>, prefix: &str) -> Result<Network, String> {
    let values = |view: &TensorView<'_>| -> Vec<f64> {
        let (words, _) = view.data().as_chunks::<8>();
        words.iter().map(|word| f64::from_le_bytes(*word)).collect()
    };
    let mut layers = Vec::new();
    while let Ok(weight) = tensors.tensor(&format!("{prefix}.{}.weight", layers.len())) {
        let name = format!("{prefix}.{}", layers.len());
        let bias = tensors.tensor(&format!("{name}.bias")).map_err(|error| error.to_string())?;
        let (&[outputs, inputs], &[biases]) = (weight.shape(), bias.shape()) else {
            return Err(format!("{name} is no matrix with a vector of biases"));
        };
        if weight.dtype() != Dtype::F64 || bias.dtype() != Dtype::F64 || outputs != biases {
            return Err(format!("{name} is not f64 or has {outputs} rows and {biases} biases"));
        }
        layers.push(Layer { inputs, weights: values(&weight), biases: values(&bias) });
    }
    if layers.is_empty() { Err(format!("it has no tensors {prefix}.N.weight")) } else { Ok(Network { layers }) }
}

/// SHA-256 over the content and all tensors in the order of their names.
fn digest<'a>(text: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sha = Sha256::new();
    sha.update(text);
    for (name, bytes) in tensors {
        sha.update(name);
        sha.update(bytes);
    }
    format!("{:x}", sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::tests::checkpoint;

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.ckpt");
        let mut before = checkpoint(3);
        before.optimizer.first.parameters_mut().zip(1..).for_each(|(m, i)| *m = 1.0 / f64::from(i));
        before.optimizer.steps = 17;
        before.content.optimizer_steps = 17;
        before.content.activation_peaks = Some(vec![0.1 + 0.2, 1e-300]);
        before.reference = Some(before.network.clone());
        before.mean = Some(before.optimizer.first.clone());
        before.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), before);
        // Equal checkpoints are equal files.
        let bytes = std::fs::read(&path).unwrap();
        Checkpoint::read(&path).unwrap().write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn no_byte_can_change_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.ckpt");
        checkpoint(1).write(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for place in (0..good.len()).step_by(997) {
            let mut bad = good.clone();
            bad[place] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert!(Checkpoint::read(&path).is_err(), "byte {place} of {}", good.len());
        }
        for length in [0, 7, 8, 100, good.len() / 2, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(Checkpoint::read(&path).is_err(), "{length} bytes");
        }
        std::fs::write(&path, b"{\"version\":1,\"observation\":[]}").unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(CheckpointError::Version { .. })));
    }
}
