//! `energyllm dataset convert`.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::keep;
use crate::atomic_file::AtomicFile;
use crate::dataset::convert::{Wanted, convert};
use clap::Args;
use std::path::PathBuf;

/// Prompts out of a data set, as JSON lines that `energyllm run --prompts` reads.
#[derive(Debug, Args)]
#[command(after_help = "\
Understood: a folder written by Hugging Face `save_to_disk`, .arrow, .parquet (plain, Snappy, gzip), .jsonl, .txt.
A field with points leads into a structure; of a list the first entry counts.

Examples:
  energyllm dataset convert nq_subset -o prompts.jsonl
  energyllm dataset convert train.parquet --field question --answer answer --limit 1000 -o prompts.jsonl
  energyllm dataset convert natural_questions --split validation -o prompts.jsonl")]
pub struct Arguments {
    /// The data set.
    #[arg(value_name = "PATH")]
    input: PathBuf,
    /// The prompt file.
    #[arg(short, long, value_name = "FILE", default_value = "out/prompts.jsonl")]
    out: PathBuf,
    /// Field with the prompt. Default: question.text, question, prompt, text, query or instruction, whichever is there.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Field with a phrase that a right answer contains. Default: no answers.
    #[arg(long, value_name = "NAME")]
    answer: Option<String>,
    /// Split of a folder with several.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Most prompts.
    #[arg(long, value_name = "N")]
    limit: Option<std::num::NonZeroUsize>,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    keep(&options.input, &options.out)?;
    let Arguments { field, answer, split, limit, .. } = options;
    let wanted = Wanted {
        field: field.clone(),
        answer: answer.clone(),
        split: split.clone(),
        limit: limit.map(std::num::NonZeroUsize::get),
    };
    let converted = convert(&options.input, &wanted)?;
    let mut lines = String::new();
    for prompt in &converted.prompts {
        lines.push_str(&serde_json::to_string(prompt)?);
        lines.push('\n');
    }
    AtomicFile::write(&options.out, lines.as_bytes())?;
    let with_answer = converted.prompts.iter().filter(|prompt| prompt.answer.is_some()).count();
    match format {
        Format::Json => {
            let mut object = Object::new("dataset convert", None, false);
            object.figure("prompts", converted.prompts.len());
            object.figure("prompts_with_answer", with_answer);
            object.figure("rows_without_prompt", converted.empty);
            object.wall("out", options.out.display().to_string());
            object.print()?;
        }
        Format::Text => print(&format!(
            "{} prompts, {with_answer} with an answer, {} rows without a prompt left out\n{}",
            converted.prompts.len(),
            converted.empty,
            options.out.display()
        ))?,
    }
    Ok(Outcome::Passed)
}
