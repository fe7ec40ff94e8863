//! The prompt file: JSON lines with an optional expected phrase, or plain text, one prompt a line.

use crate::input_file;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// What is asked.
    #[serde(rename = "prompt")]
    pub text: String,
    /// A phrase that a right answer contains.
    #[serde(default)]
    pub answer: Option<String>,
}

/// Why a prompt file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptFileError {
    /// It cannot be read.
    #[error("cannot read the prompt file {path}: {source}; name a UTF-8 text file with one prompt a line")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not a prompt.
    #[error("{path}, line {line}: {source}; each line looks like {{\"prompt\": \"...\", \"answer\": \"...\"}}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// A line asks nothing.
    #[error("{path}, line {line}: the prompt is empty; write a question or remove the line")]
    EmptyPrompt {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The expected phrase is empty, so every answer would be right.
    #[error("{path}, line {line}: the expected answer is empty; write a phrase or leave the field out")]
    EmptyAnswer {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// It has no prompts.
    #[error("the prompt file {path} holds no prompts; write one per line")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a prompt file: JSON lines when its name ends in `.jsonl`, else one prompt per line.
/// Empty lines are skipped.
pub fn read(path: &Path) -> Result<Vec<Prompt>, PromptFileError> {
    let text = input_file::read_text(path).map_err(|source| PromptFileError::Read { path: path.into(), source })?;
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"));
    let mut prompts = Vec::new();
    for (line, content) in (1..).zip(text.lines()).filter(|(_, content)| !content.trim().is_empty()) {
        let prompt = if json {
            from_json(content).map_err(|source| PromptFileError::Line { path: path.into(), line, source })?
        } else {
            Prompt { text: content.trim().to_owned(), answer: None }
        };
        if prompt.text.trim().is_empty() {
            return Err(PromptFileError::EmptyPrompt { path: path.into(), line });
        }
        if prompt.answer.as_ref().is_some_and(|phrase| phrase.trim().is_empty()) {
            return Err(PromptFileError::EmptyAnswer { path: path.into(), line });
        }
        prompts.push(prompt);
    }
    if prompts.is_empty() { Err(PromptFileError::Empty { path: path.into() }) } else { Ok(prompts) }
}

/// A JSON object. (A list would pass as one, field by field, so it is asked for by name.)
fn from_json(line: &str) -> Result<Prompt, serde_json::Error> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)?;
    serde_json::from_value(serde_json::Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(name: &str, bytes: &[u8]) -> Result<Vec<Prompt>, PromptFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn both_formats_are_read() {
        let lines =
            read_bytes("a.jsonl", b"{\"prompt\": \"1+1?\", \"answer\": \"2\"}\n\n{\"prompt\": \"Hi\"}\n").unwrap();
        assert_eq!(lines[0].answer.as_deref(), Some("2"));
        assert_eq!(lines[1], Prompt { text: "Hi".into(), answer: None });
        let plain = read_bytes("a.txt", b"  What now? \r\n\r\nAnd then?").unwrap();
        assert_eq!(plain[0].text, "What now?");
        assert_eq!(plain.len(), 2);
    }

    #[test]
    fn bad_files_are_named() {
        use PromptFileError as E;
        assert!(matches!(read(Path::new("/nowhere/at/all")), Err(E::Read { .. })));
        assert!(matches!(read_bytes("a.txt", b"ab\xff"), Err(E::Read { .. })));
        assert!(matches!(read_bytes("a.txt", b" \n\n"), Err(E::Empty { .. })));
        assert!(matches!(read_bytes("a.jsonl", b"{}\n"), Err(E::Line { line: 1, .. })));
        assert!(matches!(read_bytes("a.jsonl", b"[\"a\"]\n"), Err(E::Line { line: 1, .. })));
        let typo = b"{\"prompt\": \"a\", \"anwser\": \"b\"}\n";
        assert!(matches!(read_bytes("a.jsonl", typo), Err(E::Line { line: 1, .. })));
        let nothing = b"{\"prompt\": \"a\", \"answer\": \"\"}\n";
        assert!(matches!(read_bytes("a.jsonl", nothing), Err(E::EmptyAnswer { line: 1, .. })));
        assert!(matches!(read_bytes("a.jsonl", b"\n{\"prompt\": \" \"}"), Err(E::EmptyPrompt { line: 2, .. })));
    }
}
