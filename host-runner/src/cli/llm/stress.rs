//! `energyllm llm stress`: thousands of requests that come, go and are cancelled.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::{DEFAULT_PROMPTS, STOP, file_name, go_on, progress_bar, questions};
use crate::llm::{
    Answer, Depth, Engine, EngineOptions, Model, ModelOptions, Precision, Request, Rows, Sampling, StopReason, Ticket,
    TokenId,
};
use crate::resources::anonymous_bytes;
use clap::Args;
use controller_core::rng::Pcg32;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

/// Run many requests of mixed depth, length and sampling through one session, cancel some, and look for what is lost.
///
/// Exit code 1 when memory grows by more than 2 % (what no file holds; the weights are read from one), when a place in the
/// batch is lost, or when an answer differs from that of the same request alone. The default model is in `Q8_0`: on x86
/// CPUs llama.cpp then sums a row of a batch as it sums one alone. With F32, F16 and BF16 weights it does not, and draws at
/// high temperatures differ now and then: the command says how far logits are apart. With --exact every request runs by
/// itself and nothing differs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm llm stress                          10,000 requests to the shipped model
  energyllm llm stress models/tiny-llama/tiny-llama-f16.gguf --exact
  energyllm llm stress model.gguf --requests 500 --batch 16 --seed 3")]
pub struct Arguments {
    /// Model: a GGUF file of a Llama architecture.
    #[arg(default_value = "models/tiny-llama/tiny-llama-q8_0.gguf")]
    model: PathBuf,
    /// Prompts: JSON lines with "prompt"; or plain text, one per line.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROMPTS)]
    prompts: PathBuf,
    /// Requests.
    #[arg(long, default_value_t = 10_000)]
    requests: u32,
    /// Most requests together.
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Run each request by itself, so that its answer does not depend on its neighbours, whatever the weights.
    #[arg(long)]
    exact: bool,
    /// Tokens of one request, prompt and answer together.
    #[arg(long, default_value_t = 128)]
    context: u32,
    /// Seed of depths, lengths, sampling and cancellations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// CPU threads of llama.cpp.
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

/// All requests are made before the first runs, so that its memory is not mistaken for a leak.
const MOST_REQUESTS: u32 = 1_000_000;
/// Growth of memory that counts as flat.
const GROWTH_LIMIT: f64 = 1.02;

/// One request, and the step at which it is cancelled, counted from its start.
struct Case {
    request: Request,
    depth: u32,
    cancel_after: Option<u32>,
}

fn cases(arguments: &Arguments, prompts: &[Request], layers: u32) -> Vec<Case> {
    let mut random = Pcg32::new(arguments.seed);
    let mut case = |number: u32| {
        let mut request = prompts[random.below(u32::try_from(prompts.len()).unwrap_or(1)) as usize].clone();
        request.max_new_tokens = 1 + random.below(40);
        if random.below(3) == 0 {
            let temperature = 0.5 + random.below(30) as f32 / 10.0;
            request.sampling = Sampling::Nucleus { temperature, top_p: 0.95, seed: number };
        }
        // One request in eight is given up early, some before their first step.
        let cancel_after = (random.below(8) == 0).then(|| random.below(12));
        Case { request, depth: 1 + random.below(layers), cancel_after }
    };
    (0..arguments.requests).map(&mut case).collect()
}

/// What is kept of an answer: as much for a long one as for a short one, so that the memory of the engine can be seen.
#[derive(Clone, Copy)]
struct Kept {
    stop: StopReason,
    tokens: usize,
    digest: u64,
}

impl Kept {
    fn of(answer: &Answer) -> Self {
        Self { stop: answer.stop, tokens: answer.tokens.len(), digest: digest(&answer.tokens) }
    }

    /// Whether it is `alone`, or the beginning of it where the request was cancelled.
    fn agrees_with(&self, alone: &Answer) -> bool {
        let whole = self.stop == alone.stop && self.tokens == alone.tokens.len();
        let begun = alone.tokens.get(..self.tokens).is_some_and(|tokens| digest(tokens) == self.digest);
        begun && (whole || self.stop == StopReason::Cancelled)
    }
}

fn digest(tokens: &[TokenId]) -> u64 {
    let mut hasher = DefaultHasher::new();
    tokens.hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
struct Findings {
    cancelled: usize,
    tokens: usize,
    steps: u64,
    lost_places: usize,
    early_bytes: Option<u64>,
    late_bytes: Option<u64>,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        (1..=MOST_REQUESTS).contains(&arguments.requests),
        "--requests must lie between 1 and {MOST_REQUESTS}"
    );
    let model = Model::load(&arguments.model, &ModelOptions::default())?;
    let prompts = questions(&model, &arguments.prompts, None, 1)?;
    let prompts: Vec<Request> = prompts.into_iter().map(|question| question.request).collect();
    let cases = cases(arguments, &prompts, model.n_layer());
    let options = EngineOptions {
        max_batch: arguments.batch,
        sequence_tokens: arguments.context,
        threads: arguments.threads,
        precision: Precision::Single,
        rows: if arguments.exact { Rows::Alone } else { Rows::Together },
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(&model, &options)?;
    let bar = progress_bar(u64::from(arguments.requests) * 2)?;
    let row_difference = engine.row_difference()?;
    let (answers, findings) = together(&mut engine, &cases, &bar)?;
    let mut different = 0_usize;
    for (case, answer) in cases.iter().zip(&answers) {
        let prefilled = engine.prefill(std::slice::from_ref(&case.request), Depth::Layers(case.depth))?;
        let alone = prefilled.decode(&STOP)?.answers;
        go_on()?;
        let same = alone.first().is_some_and(|alone| answer.is_some_and(|answer| answer.agrees_with(alone)));
        different += usize::from(!same);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let growth = findings.early_bytes.zip(findings.late_bytes).map(|(early, late)| late as f64 / early as f64);
    let pass = different == 0 && findings.lost_places == 0 && growth.is_none_or(|growth| growth <= GROWTH_LIMIT);
    let mut object = Object::new("llm stress", Some(arguments.seed), false);
    object.figure("requests", cases.len());
    object.figure("cancelled", findings.cancelled);
    object.figure("generated_tokens", findings.tokens);
    object.figure("steps", findings.steps);
    object.figure("lost_places", findings.lost_places);
    object.figure("different_answers", different);
    object.figure("exact", arguments.exact);
    object.figure("largest_row_difference", row_difference);
    object.pass = pass;
    object.wall("memory_growth", growth);
    object.wall("memory_bytes", findings.late_bytes);
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{}: {} requests, {} cancelled, {} tokens in {} steps{}\nplaces lost: {}\nanswers that differ from the same \
             request alone: {different}\nlargest difference of a logit, in a batch and alone: {row_difference:.1e}{}\n\
             memory at the end over memory after a tenth: {}",
            file_name(&arguments.model),
            cases.len(),
            findings.cancelled,
            findings.tokens,
            findings.steps,
            if arguments.exact { ", each request by itself" } else { "" },
            findings.lost_places,
            if row_difference > 0.0 { " (--exact runs each request by itself)" } else { "" },
            growth.map_or_else(|| "unknown".into(), |growth| format!("{growth:.4} (limit {GROWTH_LIMIT})"))
        ))?,
    }
    Ok(if pass { Outcome::Passed } else { Outcome::Failed })
}

/// All cases through one session. Answers in the order of the cases.
fn together(
    engine: &mut Engine,
    cases: &[Case],
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<(Vec<Option<Kept>>, Findings)> {
    let mut session = engine.session();
    let places = session.free();
    let mut findings = Findings::default();
    let mut answers = vec![None; cases.len()];
    let mut running: HashMap<Ticket, (usize, u32)> = HashMap::new();
    let (mut next, mut ended) = (0, 0);
    while ended < cases.len() {
        go_on()?;
        while session.free() > 0 && next < cases.len() {
            let ticket = session.submit(&cases[next].request, Depth::Layers(cases[next].depth))?;
            running.insert(ticket, (next, 0));
            next += 1;
        }
        for (&ticket, (number, age)) in &mut running {
            if cases[*number].cancel_after.is_some_and(|after| *age >= after) {
                session.cancel(ticket);
            }
            *age += 1;
        }
        for (ticket, answer) in session.step()? {
            let Some((number, _)) = running.remove(&ticket) else { anyhow::bail!("an answer to nobody: {ticket:?}") };
            findings.cancelled += usize::from(answer.stop == StopReason::Cancelled);
            findings.tokens += answer.tokens.len();
            answers[number] = Some(Kept::of(&answer));
            ended += 1;
            bar.inc(1);
            if ended == cases.len().div_ceil(10) {
                findings.early_bytes = anonymous_bytes();
            }
        }
        findings.steps += 1;
    }
    findings.late_bytes = anonymous_bytes();
    findings.lost_places = places - session.free();
    Ok((answers, findings))
}
