//! The program as a process.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `energyllm` in the root of the workspace, where the shipped files are found.
pub fn energyllm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_energyllm"));
    command.current_dir(workspace()).args(arguments);
    command
}

pub fn output(arguments: &[&str]) -> Output {
    energyllm(arguments).output().unwrap()
}

/// Runs what must be refused: exit code 2, nothing on stdout, and a sentence with these words.
pub fn refused(arguments: &[&str], words: &[&str]) {
    let output = output(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?} said {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?} but said: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
