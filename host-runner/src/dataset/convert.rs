//! Prompts out of data sets: Natural Questions and others as Hugging Face publishes and saves them.
//!
//! Understood are a folder of `save_to_disk` (a data set, or several splits of one) with its Arrow files, single Arrow
//! files in both IPC formats, Parquet (plain, Snappy or gzip), JSON lines and text with one prompt a line.

use super::{arrow_lengths, foreign};
use crate::input_file;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Fields that hold a question, in the order in which they are tried; a point leads into a structure.
const QUESTIONS: [&str; 6] = ["question.text", "question", "prompt", "text", "query", "instruction"];
/// Largest Parquet or Arrow file, bytes. They are read piece by piece, not at once.
const MAX_BYTES: u64 = 64 << 30;

/// One prompt, as a line of a prompt file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Prompt {
    /// What is asked.
    pub prompt: String,
    /// A phrase that a right answer contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// What to take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Field with the prompt; `None`: the first of the usual names that is there.
    pub field: Option<String>,
    /// Field with the answer; a list gives its first entry. `None`: no answers.
    pub answer: Option<String>,
    /// Split of a folder with several.
    pub split: Option<String>,
    /// Most prompts.
    pub limit: Option<usize>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Converted {
    /// Prompts, in the order of the data set.
    pub prompts: Vec<Prompt>,
    /// Rows without a prompt, left out.
    pub empty: usize,
    /// The field that was taken; empty for plain text.
    pub field: String,
}

/// Why there are no prompts.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Neither its name nor its beginning is known.
    #[error("{0} is no data set that is known; give a save_to_disk folder, .arrow, .parquet, .jsonl or .txt")]
    Kind(PathBuf),
    /// A folder without what `save_to_disk` writes.
    #[error("{0} is no save_to_disk folder: it has neither state.json nor dataset_dict.json")]
    NotSaved(PathBuf),
    /// One of those files is broken.
    #[error("{path} is not what save_to_disk writes: {cause}")]
    State {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// Several splits, or another one.
    #[error("{path} holds the splits {splits}; name one of them with --split")]
    Split {
        /// The folder.
        path: PathBuf,
        /// Those there are.
        splits: String,
    },
    /// Arrow is broken.
    #[error("{path} is not an Arrow file that can be read: {source}")]
    Arrow {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ArrowError,
    },
    /// Parquet is broken, or packed in a way that is not understood.
    #[error("{path} is not a Parquet file that can be read (compression: none, Snappy or gzip): {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: parquet::errors::ParquetError,
    },
    /// The decoder stumbled over it.
    #[error("{0} is damaged, or not what its name says; fetch or write it again")]
    Damaged(PathBuf),
    /// A line is no JSON object.
    #[error("{path}, line {line}: {cause}")]
    Json {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The cause.
        cause: String,
    },
    /// The field is not there.
    #[error("{path} has no field {wanted}; it has {there}; name one with --field or --answer")]
    Field {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// Nothing came out.
    #[error("{0} holds no prompts")]
    Empty(PathBuf),
}

/// Reads a data set.
pub fn convert(path: &Path, wanted: &Wanted) -> Result<Converted, ConvertError> {
    let mut taking = Taking { wanted, out: Converted::default() };
    let metadata = std::fs::metadata(path).map_err(|source| ConvertError::Read { path: path.into(), source })?;
    if metadata.is_dir() {
        for file in saved_files(path, wanted.split.as_deref())? {
            guarded(&file, || arrow(&file, &mut taking))?;
        }
    } else {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
        match extension.as_deref() {
            Some("arrow" | "ipc" | "feather") => guarded(path, || arrow(path, &mut taking))?,
            Some("parquet") => guarded(path, || parquet(path, &mut taking))?,
            Some("jsonl" | "ndjson" | "json") => json_lines(path, &mut taking)?,
            Some("txt" | "text") => text(path, &mut taking)?,
            _ => return Err(ConvertError::Kind(path.into())),
        }
    }
    if taking.out.prompts.is_empty() { Err(ConvertError::Empty(path.into())) } else { Ok(taking.out) }
}

/// A damaged file is an error, also where its decoder panics.
fn guarded(path: &Path, act: impl FnOnce() -> Result<(), ConvertError>) -> Result<(), ConvertError> {
    foreign::decode(act).unwrap_or_else(|| Err(ConvertError::Damaged(path.into())))
}

/// What has been taken so far.
struct Taking<'a> {
    wanted: &'a Wanted,
    out: Converted,
}

impl Taking<'_> {
    fn is_full(&self) -> bool {
        self.wanted.limit.is_some_and(|limit| self.out.prompts.len() >= limit)
    }

    /// Takes a row; white space at the ends is dropped.
    fn take(&mut self, prompt: Option<String>, answer: Option<String>) {
        let filled = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        match filled(prompt) {
            _ if self.is_full() => {}
            Some(prompt) => self.out.prompts.push(Prompt { prompt, answer: filled(answer) }),
            None => self.out.empty += 1,
        }
    }

    /// The field with the prompt: what was asked for, or the first usual name that `has`.
    fn field(&mut self, path: &Path, there: &str, has: impl Fn(&str) -> bool) -> Result<String, ConvertError> {
        let missing = |wanted: &str| ConvertError::Field {
            path: path.into(),
            wanted: wanted.to_owned(),
            there: there.to_owned(),
        };
        if let Some(answer) = self.wanted.answer.as_deref().filter(|answer| !has(answer)) {
            return Err(missing(answer));
        }
        let found = match &self.wanted.field {
            Some(field) => Some(field.clone()).filter(|field| has(field)).ok_or_else(|| missing(field))?,
            None => QUESTIONS
                .iter()
                .find(|name| has(name))
                .map(|name| (*name).to_owned())
                .ok_or_else(|| missing(&QUESTIONS.join(", ")))?,
        };
        self.out.field.clone_from(&found);
        Ok(found)
    }
}

/// The Arrow files of a folder that `save_to_disk` has written.
fn saved_files(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, ConvertError> {
    let parse = |path: &Path| -> Result<Value, ConvertError> {
        let text = input_file::read_text(path).map_err(|source| ConvertError::Read { path: path.into(), source })?;
        serde_json::from_str(&text).map_err(|error| ConvertError::State { path: path.into(), cause: error.to_string() })
    };
    let listed = folder.join("dataset_dict.json");
    if listed.is_file() {
        let names = |value: &Value| -> Option<Vec<String>> {
            value.get("splits")?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let splits = names(&parse(&listed)?)
            .ok_or_else(|| ConvertError::State { path: listed, cause: "it lists no splits".to_owned() })?;
        let chosen = match (split, splits.as_slice()) {
            (None, [only]) => only.clone(),
            (Some(split), splits) if splits.iter().any(|name| name == split) => split.to_owned(),
            _ => return Err(ConvertError::Split { path: folder.into(), splits: splits.join(", ") }),
        };
        return saved_files(&folder.join(chosen), None);
    }
    let state = folder.join("state.json");
    if !state.is_file() {
        return Err(ConvertError::NotSaved(folder.into()));
    }
    let files = parse(&state)?;
    let names = files.get("_data_files").and_then(Value::as_array).map(|files| {
        files.iter().filter_map(|file| file.get("filename")?.as_str()).map(|name| folder.join(name)).collect()
    });
    names
        .filter(|names: &Vec<PathBuf>| !names.is_empty())
        .ok_or_else(|| ConvertError::State { path: state, cause: "it names no data files".to_owned() })
}

/// One Arrow file: a stream, as `save_to_disk` writes it, or with a footer.
fn arrow(path: &Path, taking: &mut Taking) -> Result<(), ConvertError> {
    let read = |source| ConvertError::Read { path: path.into(), source };
    let broken = |source| ConvertError::Arrow { path: path.into(), source };
    input_file::check(path, MAX_BYTES).map_err(read)?;
    let open = || File::open(path).map(BufReader::new).map_err(read);
    let mut start = [0; 6];
    let with_footer = std::io::Read::read_exact(&mut open()?, &mut start).is_ok() && start == *b"ARROW1";
    let lengths = if with_footer { arrow_lengths::of_footer } else { arrow_lengths::of_stream };
    if !lengths(&mut open()?).map_err(read)? {
        return Err(ConvertError::Damaged(path.into()));
    }
    if with_footer {
        for batch in arrow_ipc::reader::FileReader::try_new(open()?, None).map_err(broken)? {
            take_batch(path, &batch.map_err(broken)?, taking)?;
        }
    } else {
        for batch in arrow_ipc::reader::StreamReader::try_new(open()?, None).map_err(broken)? {
            take_batch(path, &batch.map_err(broken)?, taking)?;
        }
    }
    Ok(())
}

fn take_batch(path: &Path, batch: &RecordBatch, taking: &mut Taking) -> Result<(), ConvertError> {
    let schema = batch.schema();
    let there: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let path_of = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
    let holds =
        |name: &str| column(batch, &path_of(name)).is_some_and(|(column, inner)| holds_text(column.data_type(), inner));
    let field = taking.field(path, &there.join(", "), holds)?;
    let (field, answer) = (path_of(&field), taking.wanted.answer.as_deref().map(path_of));
    let prompts = column(batch, &field);
    let answers = answer.as_deref().and_then(|answer| column(batch, answer));
    for row in 0..batch.num_rows() {
        let text = |found: Option<(&ArrayRef, &[String])>| found.and_then(|(column, inner)| cell(column, row, inner));
        taking.take(text(prompts), text(answers));
    }
    Ok(())
}

/// A column, and the way into it.
fn column<'a, 'b>(batch: &'a RecordBatch, field: &'b [String]) -> Option<(&'a ArrayRef, &'b [String])> {
    let (name, inner) = field.split_first()?;
    Some((batch.column_by_name(name)?, inner))
}

/// There is text at the end of this way; lists have no name of their own.
fn holds_text(kind: &DataType, field: &[String]) -> bool {
    match (kind, field) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, []) => true,
        (DataType::List(inner) | DataType::LargeList(inner), _) => holds_text(inner.data_type(), field),
        (DataType::Struct(members), [name, rest @ ..]) => {
            members.find(name).is_some_and(|(_, member)| holds_text(member.data_type(), rest))
        }
        _ => false,
    }
}

/// The text at the end of a way; of a list the first entry counts.
fn cell(column: &ArrayRef, row: usize, field: &[String]) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let first = |list: ArrayRef| if list.is_empty() { None } else { cell(&list, 0, field) };
    match (column.data_type(), field) {
        (DataType::Utf8, []) => Some(column.as_string::<i32>().value(row).to_owned()),
        (DataType::LargeUtf8, []) => Some(column.as_string::<i64>().value(row).to_owned()),
        (DataType::Utf8View, []) => Some(column.as_string_view().value(row).to_owned()),
        (DataType::List(_), _) => first(column.as_list::<i32>().value(row)),
        (DataType::LargeList(_), _) => first(column.as_list::<i64>().value(row)),
        (DataType::Struct(_), [name, rest @ ..]) => cell(column.as_struct().column_by_name(name)?, row, rest),
        _ => None,
    }
}

fn parquet(path: &Path, taking: &mut Taking) -> Result<(), ConvertError> {
    let read = |source| ConvertError::Read { path: path.into(), source };
    let broken = |source| ConvertError::Parquet { path: path.into(), source };
    input_file::check(path, MAX_BYTES).map_err(read)?;
    let reader = SerializedFileReader::new(File::open(path).map_err(read)?).map_err(broken)?;
    let mut field = None;
    for row in reader.get_row_iter(None).map_err(broken)? {
        let row = Field::Group(row.map_err(broken)?);
        if field.is_none() {
            field = Some(taking.field(path, &names_of(&row), |name| may_hold(&row, name))?);
        }
        let text = |name: &str| member(&row, name).and_then(text_of);
        let answer = taking.wanted.answer.as_deref().and_then(text);
        taking.take(field.as_deref().and_then(text), answer);
        if taking.is_full() {
            break;
        }
    }
    Ok(())
}

fn names_of(row: &Field) -> String {
    let Field::Group(columns) = row else { return String::new() };
    columns.get_column_iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Text is at the end of this way, or may be in other rows: a field without a value and an empty list say nothing.
fn may_hold(field: &Field, name: &str) -> bool {
    match field {
        Field::Null => true,
        Field::Str(_) => name.is_empty(),
        Field::ListInternal(list) => list.elements().first().is_none_or(|first| may_hold(first, name)),
        Field::Group(_) if !name.is_empty() => {
            let (name, rest) = name.split_once('.').unwrap_or((name, ""));
            member(field, name).is_some_and(|member| may_hold(member, rest))
        }
        _ => false,
    }
}

/// What is at the end of a way; of a list the first entry counts.
fn member<'a>(field: &'a Field, name: &str) -> Option<&'a Field> {
    name.split('.').filter(|name| !name.is_empty()).try_fold(field, |mut field, name| {
        while let Field::ListInternal(list) = field {
            field = list.elements().first()?;
        }
        let Field::Group(columns) = field else { return None };
        columns.get_column_iter().find(|(other, _)| *other == name).map(|(_, member)| member)
    })
}

fn text_of(field: &Field) -> Option<String> {
    match field {
        Field::Str(text) => Some(text.clone()),
        Field::ListInternal(list) => list.elements().first().and_then(text_of),
        _ => None,
    }
}

fn json_lines(path: &Path, taking: &mut Taking) -> Result<(), ConvertError> {
    let text = input_file::read_text(path).map_err(|source| ConvertError::Read { path: path.into(), source })?;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |cause: String| ConvertError::Json { path: path.into(), line: number + 1, cause };
        let row: Value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if !row.is_object() {
            return Err(wrong("a line must be a JSON object".to_owned()));
        }
        rows.push(row);
    }
    let Some(columns) = rows.first().and_then(Value::as_object) else { return Ok(()) };
    let there: Vec<&str> = columns.keys().map(String::as_str).collect();
    // Rows need not be alike: one that lacks the field has no prompt.
    let may_be_text = |value: &Value| value.is_string() || value.is_array() || value.is_null();
    let holds = |name: &str| rows.iter().any(|row| at(row, name).is_some_and(may_be_text));
    let field = taking.field(path, &there.join(", "), holds)?;
    for row in &rows {
        let text = |name: &str| at(row, name).and_then(first_text);
        let answer = taking.wanted.answer.as_deref().and_then(text);
        taking.take(text(&field), answer);
    }
    Ok(())
}

/// What is at the end of a way; of a list the first entry counts.
fn at<'a>(row: &'a Value, field: &str) -> Option<&'a Value> {
    field.split('.').try_fold(row, |mut value, name| {
        while let Value::Array(list) = value {
            value = list.first()?;
        }
        value.get(name)
    })
}

fn first_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list.first().and_then(first_text),
        _ => None,
    }
}

fn text(path: &Path, taking: &mut Taking) -> Result<(), ConvertError> {
    let text = input_file::read_text(path).map_err(|source| ConvertError::Read { path: path.into(), source })?;
    text.lines().for_each(|line| taking.take(Some(line.to_owned()), None));
    Ok(())
}
