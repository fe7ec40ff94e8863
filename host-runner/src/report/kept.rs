//! Parts of a long command on a real board that are done stay done: each one's record lies beside its files, and the same
//! command goes on with the next.

use crate::atomic_file::{AtomicFile, AtomicFileError};
use crate::input_file;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read.
    #[error("cannot go on behind {}: {cause}; move it away to do this part anew", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// It is of another command.
    #[error(
        "{} was made under other conditions, it differs in {what}; give the same options to go on, or another --out",
        path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Conditions that differ.
        what: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
}

/// The record of a part under these conditions (an object); `None` when there is none yet.
///
/// # Errors
/// A file that is no record, or was made under other conditions.
pub fn read<T: DeserializeOwned>(path: &Path, conditions: &Value) -> Result<Option<T>, KeptError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |cause: String| KeptError::Read { path: path.into(), cause };
    let text = input_file::read_text(path).map_err(|error| failed(error.to_string()))?;
    let mut kept: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let theirs = kept["conditions"].take();
    if theirs != *conditions {
        let names = conditions.as_object().into_iter().flat_map(|fields| fields.keys());
        let differ: Vec<&str> = names.filter(|name| theirs[*name] != conditions[*name]).map(String::as_str).collect();
        return Err(KeptError::Other { path: path.into(), what: differ.join(", ") });
    }
    serde_json::from_value(kept["content"].take()).map(Some).map_err(|error| failed(error.to_string()))
}

/// Keeps the record of a part.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, conditions: &Value, content: &impl Serialize) -> Result<(), KeptError> {
    let text = serde_json::to_vec(&json!({ "conditions": conditions, "content": content }));
    let text = text.map_err(|error| KeptError::Read { path: path.into(), cause: error.to_string() })?;
    Ok(AtomicFile::write(path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_under_the_same_conditions_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.json");
        let here = json!({ "board": "a", "seed": 1 });
        assert_eq!(read::<Vec<u32>>(&path, &here).unwrap(), None);
        write(&path, &here, &vec![1, 2]).unwrap();
        assert_eq!(read(&path, &here).unwrap(), Some(vec![1u32, 2]));
        let there = read::<Vec<u32>>(&path, &json!({ "board": "a", "seed": 2 })).unwrap_err().to_string();
        assert!(there.contains("differs in seed;"), "{there}");
        assert!(matches!(read::<Vec<String>>(&path, &here), Err(KeptError::Read { .. })));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read::<Vec<u32>>(&path, &here), Err(KeptError::Read { .. })));
    }
}
