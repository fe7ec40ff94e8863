//! What a result was made of, as a file beside it: program, seed, options, and digests of every file that went in.

use crate::atomic_file::AtomicFile;
use crate::input_file;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// The manifest of one command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Name of the command.
    pub command: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Seed of everything random.
    pub seed: u64,
    /// True when a simulated board made the result, false for a real one or a log; absent where the command does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// Name of the board's profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// The arguments as they were given.
    pub arguments: Vec<String>,
    /// SHA-256 by file, as the file was named.
    pub inputs_sha256: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of these inputs, read now.
    pub fn of(command: &'static str, seed: u64, inputs: &[&Path]) -> std::io::Result<Self> {
        let digest = |path: &&Path| -> std::io::Result<(String, String)> {
            Ok((path.display().to_string(), format!("{:x}", Sha256::digest(input_file::read(path)?))))
        };
        Ok(Self {
            command,
            version: env!("CARGO_PKG_VERSION"),
            seed,
            simulated: None,
            board: None,
            arguments: std::env::args().skip(1).collect(),
            inputs_sha256: inputs.iter().map(digest).collect::<Result<_, _>>()?,
        })
    }

    /// The same for a result of a simulated board.
    #[must_use]
    pub fn on_simulated(self, board: &str) -> Self {
        Self { simulated: Some(true), board: Some(board.to_owned()), ..self }
    }

    /// The same for a result of a real board.
    #[must_use]
    pub fn on_real(self, board: &str) -> Self {
        Self { simulated: Some(false), board: Some(board.to_owned()), ..self }
    }

    /// Writes it; the file exists whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(AtomicFile::write(path, text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let manifest = Manifest::of("test", 1, &[&path]).unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(manifest.inputs_sha256.values().collect::<Vec<_>>(), [expected]);
        assert!(Manifest::of("test", 1, &[Path::new("/nowhere")]).is_err());
    }
}
