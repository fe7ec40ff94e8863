//! Small Llama models with random weights, in a folder of their own.
//!
//! The same weights can be written with any number of layers. A file with the first `k` layers, run to its end by
//! llama.cpp alone, is the ground truth for an exit behind layer `k` of the whole model.

#![allow(dead_code, unreachable_pub, reason = "a module of several test programs, each of which uses a part")]

pub mod decoding;
pub mod program;

pub use host_runner::llm::random::Shape;
use host_runner::llm::{Model, ModelOptions};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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
    let mut file = Vec::new();
    shape.write(depth, &mut file).unwrap();
    file
}
