//! `energyllm llm depths`: which depths of a model are usable.

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::{DEFAULT_MODEL, DEFAULT_PROMPTS, STOP, file_name, progress_bar, questions};
use crate::atomic_file::AtomicFile;
use crate::env::quality::Quality;
use crate::llm::conformance::ConformanceError;
use crate::llm::depths::DepthQuality;
use crate::llm::{Engine, EngineOptions, Model, ModelOptions};
use crate::report::figure::{Figure, Line, Panel};
use crate::report::table::{Table, number};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Measure perplexity, entropy and accuracy of a model at every depth, on a prompt file.
///
/// Writes DIR/depths.json and DIR/depths.png. Put depths.json beside the model: `energyllm run` then knows which depths
/// keep enough of the model's accuracy. Accuracy is the share of answers that contain the expected phrase; without
/// phrases, the share of answers that are those of full depth. Perplexity is that of the full-depth answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm llm depths                                         the shipped model on the shipped prompts
  energyllm llm depths model.gguf --prompts my.jsonl --limit 50
  cp out/depths/depths.json path/of/the/model/")]
pub struct Arguments {
    /// Model: a GGUF file of a Llama architecture.
    #[arg(default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// Prompts: JSON lines with "prompt" and, if known, "answer"; or plain text, one per line.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROMPTS)]
    prompts: PathBuf,
    /// Use the first N prompts only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: u32,
    /// Tokens of one request, prompt and answer together.
    #[arg(long, default_value_t = 256)]
    context: u32,
    /// Share of full depth's accuracy that a usable depth keeps.
    #[arg(long, value_name = "SHARE", default_value_t = 0.98)]
    budget: f64,
    /// Folder for the files.
    #[arg(long, value_name = "DIR", default_value = "out/depths")]
    out: PathBuf,
    /// CPU threads of llama.cpp.
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        (0.0..=1.0).contains(&arguments.budget),
        "--budget must lie between 0 and 1, not {}",
        arguments.budget
    );
    let model = Model::load(&arguments.model, &ModelOptions::default())?;
    let questions = questions(&model, &arguments.prompts, arguments.limit, arguments.max_new_tokens)?;
    let phrases = questions.iter().filter(|question| question.phrase.is_some()).count();
    let path = arguments.out.join("depths.json");
    AtomicFile::check(&path)?;
    let options =
        EngineOptions { sequence_tokens: arguments.context, threads: arguments.threads, ..EngineOptions::default() };
    let mut engine = Engine::new(&model, &options)?;
    let bar = progress_bar(u64::from(model.n_layer()))?;
    let qualities = engine.depth_quality(&questions, &STOP, |quality| {
        bar.set_message(format!("{:.1} % at depth {}", quality.accuracy() * 100.0, quality.depth));
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let qualities = qualities.ok_or(ConformanceError::Stopped)?;
    let rows: Vec<_> = qualities.iter().map(row).collect();
    let file = json!({
        "model": file_name(&arguments.model),
        "questions": questions.len(),
        "accuracy_is": if phrases > 0 { "answers that contain the expected phrase" } else { "answers equal to those of full depth" },
        "perplexity_is": "of the full-depth answers",
        "depths": rows,
    });
    AtomicFile::write(&path, format!("{file:#}\n").as_bytes())?;
    figure(&arguments.model, &qualities).draw(&arguments.out.join("depths.png"))?;

    let full = u16::try_from(model.n_layer()).unwrap_or(u16::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie between 0 and 1")]
    let floor = (arguments.budget * 1000.0).round() as u16;
    let usable = match Quality::read(&path) {
        Ok(quality) => quality.floor(full, floor),
        Err(error) => {
            note(&format!("no depth is usable on these prompts: {error}"));
            full
        }
    };
    let mut object = Object::new("llm depths", None, false);
    object.figure("questions", questions.len());
    object.figure("usable_depth_layers", usable);
    if let Some(deepest) = qualities.last() {
        object.figure("full_depth_accuracy_share", deepest.accuracy());
    }
    object.rows = rows;
    object.wall("out", arguments.out.display().to_string());
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{}\n{} prompts, {phrases} with a phrase that tells whether an answer is right\n\
             depths from {usable} up keep {:.1} % of the accuracy of all {full} layers\n{}",
            table(&qualities),
            questions.len(),
            arguments.budget * 100.0,
            path.display()
        ))?,
    }
    Ok(Outcome::Passed)
}

fn row(quality: &DepthQuality) -> serde_json::Value {
    let round = |value: f64| (value * 1e4).round() / 1e4;
    json!({
        "depth": quality.depth,
        "accuracy": round(quality.accuracy()),
        "perplexity": round(quality.perplexity),
        "mean_entropy_nats": round(quality.entropy),
        "agreement": round(quality.agreement),
        "same_answers": round(quality.same_answers),
    })
}

fn table(qualities: &[DepthQuality]) -> Table {
    let mut table =
        Table::new(["depth", "right answers, %", "same answers, %", "same tokens, %", "perplexity", "entropy, nats"]);
    for quality in qualities {
        table.row([
            quality.depth.to_string(),
            number(quality.right_answers.map(|share| share * 100.0), 1),
            number(Some(quality.same_answers * 100.0), 1),
            number(Some(quality.agreement * 100.0), 1),
            number(Some(quality.perplexity), 3),
            number(Some(quality.entropy), 3),
        ]);
    }
    table
}

fn figure(model: &std::path::Path, qualities: &[DepthQuality]) -> Figure {
    let line = |name: &str, value: &dyn Fn(&DepthQuality) -> f64| Line {
        name: name.into(),
        points: qualities.iter().map(|quality| (f64::from(quality.depth), value(quality))).collect(),
    };
    let panel = |label: &str, lines| Panel { label: label.into(), lines, limit: None, steps: false };
    let share = vec![
        line("right, or as at full depth", &|quality| quality.accuracy() * 100.0),
        line("same tokens", &|quality| quality.agreement * 100.0),
    ];
    Figure {
        title: format!("{}: quality at each depth", file_name(model)),
        time_label: "layers".into(),
        panels: vec![
            panel("answers, %", share),
            panel("log perplexity", vec![line("log perplexity", &|quality| quality.perplexity.ln())]),
            panel("entropy, nats", vec![line("entropy", &|quality| quality.entropy)]),
        ],
        mark: None,
    }
}
