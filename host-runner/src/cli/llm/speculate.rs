//! `energyllm llm speculate`: does self-speculation give the same text, and does it pay?

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::{
    DEFAULT_MODEL, DEFAULT_PROMPTS, STOP, file_name, go_on, parse_numbers, progress_bar, questions, temporary_folder,
};
use crate::llm::random::Shape;
use crate::llm::{
    Depth, Drafter, Engine, EngineOptions, Model, ModelOptions, Precision, Prompt, Request, Sampling, Speculation,
};
use crate::measure::percentile::median;
use crate::report::table::{Table, number};
use crate::resources::cpu_seconds;
use clap::Args;
use controller_core::rng::Pcg32;
use serde_json::json;
use std::path::PathBuf;

/// Draft with the first layers, check with all, and compare every text with plain greedy decoding.
///
/// Every prompt is answered plainly and with drafts, for each batch size and draft length. Exit code 1 when a text
/// differs. With --while-it-pays the engine stops drafting where that takes longer than plain decoding. With --draft-model
/// another model drafts, with the same tokenizer: classic speculation.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm llm speculate                                   the shipped model, 320 prompts, 6 settings: 1920 texts
  energyllm llm speculate --make-random                     a random model, whose drafts are mostly wrong
  energyllm llm speculate large.gguf --draft-model small.gguf
  energyllm llm speculate model.gguf --draft-layers 9 --drafts 4 --while-it-pays")]
pub struct Arguments {
    /// Model: a GGUF file of a Llama architecture.
    #[arg(default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// Use a random model and random prompts instead.
    #[arg(long, conflicts_with = "model")]
    make_random: bool,
    /// Prompts: JSON lines with "prompt"; or plain text, one per line.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROMPTS)]
    prompts: PathBuf,
    /// Use the first N prompts only; of random ones 170 unless told otherwise.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Another model that drafts: a GGUF file with the same vocabulary.
    #[arg(long, value_name = "FILE", conflicts_with = "make_random")]
    draft_model: Option<PathBuf>,
    /// Layers that draft. Default: half of them; of another model all.
    #[arg(long, value_name = "LAYERS")]
    draft_layers: Option<u32>,
    /// Tokens drafted before a check.
    #[arg(long, value_name = "LIST", default_value = "2,4,8", value_parser = parse_numbers)]
    drafts: std::vec::Vec<u32>,
    /// Requests answered together.
    #[arg(long, value_name = "LIST", default_value = "1,4", value_parser = parse_numbers)]
    batches: std::vec::Vec<u32>,
    /// Stop drafting where it does not pay.
    #[arg(long)]
    while_it_pays: bool,
    /// Keys and values in 16 bits, as in `run`. Sums of another order then show more often in near ties.
    #[arg(long)]
    half_cache: bool,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 48)]
    max_new_tokens: u32,
    /// Tokens of one request, prompt and answer together.
    #[arg(long, default_value_t = 256)]
    context: u32,
    /// Seed of random prompts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// CPU threads of llama.cpp.
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let folder = temporary_folder()?;
    let path = if arguments.make_random {
        let path = folder.path().join("random.gguf");
        super::write_random(&Shape::untied(), &path)?;
        path
    } else {
        arguments.model.clone()
    };
    let model = Model::load(&path, &ModelOptions::default())?;
    anyhow::ensure!(arguments.limit != Some(0), "--limit must be at least 1");
    anyhow::ensure!(
        !arguments.make_random || arguments.limit.is_none_or(|limit| limit <= MOST_RANDOM),
        "--limit must be at most {MOST_RANDOM} where prompts are random"
    );
    let requests = if arguments.make_random { random_requests(arguments) } else { real_requests(arguments, &model)? };
    let small = arguments.draft_model.as_ref().map(|path| Model::load(path, &ModelOptions::default())).transpose()?;
    let usual_layers = small.as_ref().map_or(model.n_layer() / 2, Model::n_layer);
    let draft_layers = arguments.draft_layers.unwrap_or(usual_layers.max(1));
    let bar = progress_bar((requests.len() * arguments.batches.len() * arguments.drafts.len()) as u64)?;
    let mut table = Table::new([
        "batch",
        "drafts",
        "texts",
        "identical",
        "accepted, %",
        "tokens/round",
        "speed-up",
        "stopped after",
    ]);
    let mut object = Object::new("llm speculate", Some(arguments.seed), false);
    let (mut texts, mut identical) = (0_usize, 0_usize);
    let mut wall = Vec::new();
    for &batch in &arguments.batches {
        let options = EngineOptions {
            max_batch: batch,
            sequence_tokens: arguments.context,
            threads: arguments.threads,
            precision: if arguments.half_cache { Precision::Half } else { Precision::Single },
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(&model, &options)?;
        let mut small = small.as_ref().map(|small| Engine::new(small, &options)).transpose()?;
        for &drafts in &arguments.drafts {
            let speculation = Speculation { draft_layers, draft_tokens: drafts, always: !arguments.while_it_pays };
            let mut drafter = Drafter::new(speculation);
            let (same, speed_up) = compare(&mut engine, small.as_mut(), &requests, &mut drafter, |done| bar.inc(done))?;
            let statistics = drafter.statistics();
            let per_round = statistics.round_tokens as f64 / (statistics.rounds as f64).max(1.0) / f64::from(batch);
            texts += requests.len();
            identical += same;
            table.row([
                batch.to_string(),
                drafts.to_string(),
                requests.len().to_string(),
                same.to_string(),
                number(Some(statistics.acceptance() * 100.0), 1),
                number(Some(per_round), 2),
                number(speed_up, 3),
                drafter.stopped_after().map_or_else(|| "-".into(), |rounds| format!("{rounds} rounds")),
            ]);
            let row = json!({
                "batch": batch, "drafts": drafts, "texts": requests.len(), "identical": same,
            });
            object.rows.push(row);
            wall.push(json!({
                "batch": batch, "drafts": drafts, "accepted_share": statistics.acceptance(), "drafted": statistics.drafted,
                "accepted": statistics.accepted, "rounds": statistics.rounds, "plain_steps": statistics.plain_steps,
                "repeated_rounds": statistics.repeated, "speed_up": speed_up, "stopped_after_rounds": drafter.stopped_after(),
            }));
        }
    }
    bar.finish_and_clear();
    object.figure("texts", texts);
    object.figure("identical", identical);
    object.figure("draft_layers", draft_layers);
    object.figure("draft_model", arguments.draft_model.is_some());
    object.wall("settings", wall);
    object.pass = texts == identical;
    if identical < texts {
        note(
            "texts differ: several tokens at once are summed in another order than one by one, which decides near ties",
        );
    }
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{table}\n{}: {identical} of {texts} texts identical to plain decoding; {draft_layers} of {} layers {}draft\n\
             speed-up: CPU time of decoding, plain over drafted, median of the batches",
            file_name(&path),
            small.as_ref().unwrap_or(&model).n_layer(),
            arguments.draft_model.as_ref().map_or_else(String::new, |path| format!("of {} ", file_name(path)))
        ))?,
    }
    Ok(if object.pass { Outcome::Passed } else { Outcome::Failed })
}

/// Most random prompts.
const MOST_RANDOM: usize = 100_000;

/// Answers everything plainly and with drafts, in turns. Returns the number of identical answers and the median over the
/// batches of CPU time, plain over drafted.
fn compare(
    engine: &mut Engine,
    mut small: Option<&mut Engine>,
    requests: &[Request],
    drafter: &mut Drafter,
    done: impl Fn(u64),
) -> anyhow::Result<(usize, Option<f64>)> {
    let (mut same, mut ratios) = (0_usize, Vec::new());
    for group in requests.chunks(engine.options().max_batch as usize) {
        let prefilled = engine.prefill(group, Depth::Full)?;
        let started = cpu_seconds();
        let plain = prefilled.decode(&STOP)?;
        let plain_seconds = cpu_seconds() - started;
        let prefilled = engine.prefill(group, Depth::Full)?;
        let started = cpu_seconds();
        let outcome = match &mut small {
            Some(small) => prefilled.speculate_with(small, drafter, &STOP)?,
            None => prefilled.speculate(drafter, &STOP)?,
        };
        ratios.push(plain_seconds / (cpu_seconds() - started));
        let pairs = plain.answers.iter().zip(&outcome.answers);
        same += pairs.filter(|(a, b)| a.tokens == b.tokens && a.stop == b.stop).count();
        go_on()?;
        done(group.len() as u64);
    }
    Ok((same, median(ratios)))
}

fn real_requests(arguments: &Arguments, model: &Model) -> anyhow::Result<Vec<Request>> {
    let questions = questions(model, &arguments.prompts, arguments.limit, arguments.max_new_tokens)?;
    Ok(questions.into_iter().map(|question| question.request).collect())
}

/// Prompts of 4 to 35 random bytes.
fn random_requests(arguments: &Arguments) -> Vec<Request> {
    let mut random = Pcg32::new(arguments.seed);
    let mut request = || Request {
        prompt: Prompt::Tokens((0..4 + random.below(32)).map(|_| 3 + random.below(256).cast_signed()).collect()),
        // Random text ends nowhere.
        max_new_tokens: arguments.max_new_tokens.clamp(1, 24),
        sampling: Sampling::Greedy,
        stop: Vec::new(),
        full_length: false,
    };
    (0..arguments.limit.unwrap_or(170)).map(|_| request()).collect()
}
