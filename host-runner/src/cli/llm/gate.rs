//! `energyllm llm gate`: depth per token, and what it does to the answers.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::{DEFAULT_MODEL, DEFAULT_PROMPTS, STOP, file_name, go_on, progress_bar, questions};
use crate::llm::depths::Question;
use crate::llm::{Answer, Deeper, Depth, Engine, EngineOptions, Gate, GateReport, Model, ModelOptions, Request};
use crate::report::table::{Table, number};
use crate::resources::cpu_seconds;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Let each token leave where the model is sure of it, and compare the answers with those of full depth.
///
/// Tokens leave behind the first or the second probe layer if the entropy there is below a threshold. Keys and values
/// stay exact: what has left early is finished as soon as a later token needs it. With --propagate they are also
/// tried the other way: made at once from the hidden state with which the token left, which is approximate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm llm gate                                        the shipped model, probes at 8 and 12 of 16 layers
  energyllm llm gate --first 6 --one-probe --thresholds 0.02,0.1
  energyllm llm gate --propagate                            exact and propagated keys and values side by side
  energyllm llm gate model.gguf --prompts my.txt --batch 4")]
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
    /// First probe, layers. Default: half of them.
    #[arg(long, value_name = "LAYERS")]
    first: Option<u32>,
    /// Second probe, layers. Default: three quarters of them.
    #[arg(long, value_name = "LAYERS", conflicts_with = "one_probe")]
    second: Option<u32>,
    /// No second probe.
    #[arg(long)]
    one_probe: bool,
    /// Entropies below which a token leaves, nats.
    #[arg(long, value_name = "LIST", default_value = "0.01,0.03,0.1,0.3,1", value_delimiter = ',')]
    thresholds: Vec<f32>,
    /// Tokens of a sequence that may wait to be finished.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    max_pending: u32,
    /// Try each threshold with propagated keys and values too.
    #[arg(long)]
    propagate: bool,
    /// Requests answered together.
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: u32,
    /// Tokens of one request, prompt and answer together.
    #[arg(long, default_value_t = 256)]
    context: u32,
    /// CPU threads of llama.cpp.
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

/// All answers at one threshold, or at full depth.
#[derive(Default)]
struct Course {
    threshold: f32,
    deeper: Deeper,
    propagated: u64,
    answers: Vec<Answer>,
    chosen: [u64; 3],
    layer_runs: u64,
    head_runs: u64,
    seconds: f64,
}

impl Course {
    fn add(&mut self, report: GateReport) {
        self.chosen.iter_mut().zip(report.chosen).for_each(|(sum, chosen)| *sum += chosen);
        self.layer_runs += report.decode.layer_runs();
        self.propagated += report.propagated;
        self.head_runs += report.head_runs;
        self.answers.extend(report.decode.answers);
    }

    /// Share of the questions with a phrase whose answer contains it.
    fn right(&self, questions: &[Question]) -> Option<f64> {
        let known = questions.iter().zip(&self.answers).filter_map(|(q, a)| Some(a.text.contains(q.phrase.as_ref()?)));
        let (right, all) = known.fold((0_u64, 0_u64), |(right, all), is| (right + u64::from(is), all + 1));
        (all > 0).then(|| right as f64 / all as f64)
    }
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!((1..=256).contains(&arguments.batch), "--batch must lie between 1 and 256");
    let model = Model::load(&arguments.model, &ModelOptions::default())?;
    let questions = questions(&model, &arguments.prompts, arguments.limit, arguments.max_new_tokens)?;
    let requests: Vec<Request> = questions.iter().map(|question| question.request.clone()).collect();
    let layers = model.n_layer();
    let first = arguments.first.unwrap_or((layers / 2).max(1));
    let usual_second = (layers * 3 / 4).max(first + 1);
    let second = (!arguments.one_probe && (arguments.second.is_some() || usual_second < layers))
        .then(|| arguments.second.unwrap_or(usual_second));
    let options = EngineOptions {
        max_batch: arguments.batch,
        sequence_tokens: arguments.context,
        threads: arguments.threads,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(&model, &options)?;
    let ways = if arguments.propagate { &[Deeper::Resumed, Deeper::Propagated][..] } else { &[Deeper::Resumed] };
    let settings =
        arguments.thresholds.iter().flat_map(|&threshold| ways.iter().map(move |&deeper| (threshold, deeper)));
    let course = |(threshold, deeper)| Course { threshold, deeper, ..Course::default() };
    let mut courses: Vec<Course> = settings.map(course).collect();
    let bar = progress_bar((requests.len() * (1 + courses.len())) as u64)?;
    let probes = Gate { first, second, threshold: 0.0, max_pending: arguments.max_pending, deeper: Deeper::Resumed };
    let full = answer(&mut engine, &requests, probes, &mut courses, |done| bar.inc(done))?;
    bar.finish_and_clear();

    let mut object = Object::new("llm gate", None, false);
    object.figure("questions", questions.len());
    object.figure("first_probe_layers", first);
    if let Some(second) = second {
        object.figure("second_probe_layers", second);
    }
    let right = full.right(&questions);
    if let Some(right) = right {
        object.figure("full_depth_right_answers_share", right);
    }
    let percent = |share: f64| number(Some(share * 100.0), 1);
    let mut table = Table::new([
        "threshold, nats",
        "keys, values",
        "leave first, %",
        "second, %",
        "layers/token",
        "heads/token",
        "same answers, %",
        "right answers, %",
        "CPU time",
    ]);
    let full_right = right.map_or_else(|| "-".into(), percent);
    table.row(["full depth", "exact", "0.0", "0.0", &format!("{layers}.00"), "1.00", "100.0", &full_right, "1.000"]);
    let mut ratios = Vec::new();
    for course in &courses {
        let (threshold, deeper) = (course.threshold, deeper_name(course.deeper));
        let tokens = (course.chosen.iter().sum::<u64>() as f64).max(1.0);
        let pairs = course.answers.iter().zip(&full.answers);
        let same = pairs.filter(|(a, b)| a.tokens == b.tokens).count() as f64 / (full.answers.len() as f64).max(1.0);
        let [leave_first, leave_second] = [0, 1].map(|place| course.chosen[place] as f64 / tokens);
        let (mean_layers, heads) = (course.layer_runs as f64 / tokens, course.head_runs as f64 / tokens);
        let right = course.right(&questions);
        let ratio = course.seconds / full.seconds;
        table.row([
            format!("{threshold}"),
            deeper.to_owned(),
            percent(leave_first),
            percent(leave_second),
            number(Some(mean_layers), 2),
            number(Some(heads), 2),
            percent(same),
            right.map_or_else(|| "-".into(), percent),
            number(Some(ratio), 3),
        ]);
        object.rows.push(json!({
            "threshold_nats": f64::from(threshold), "deeper": deeper, "propagated_tokens": course.propagated,
            "leave_first_share": leave_first, "leave_second_share": leave_second,
            "mean_layers": mean_layers, "mean_heads": heads, "same_answers_share": same, "right_answers_share": right,
        }));
        ratios.push(json!({"threshold_nats": f64::from(threshold), "deeper": deeper, "cpu_time_to_full_depth": ratio}));
    }
    object.wall("cpu_time", ratios);
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{table}\n{}: {} prompts, batch {}; probes at {first}{} of {layers} layers; CPU time of decoding over that \
             at full depth",
            file_name(&arguments.model),
            questions.len(),
            arguments.batch,
            second.map_or_else(String::new, |second| format!(" and {second}"))
        ))?,
    }
    Ok(Outcome::Passed)
}

/// Answers everything at full depth and in all `courses`, in turns on the same prompts. Returns full depth's.
fn answer(
    engine: &mut Engine,
    requests: &[Request],
    probes: Gate,
    courses: &mut [Course],
    done: impl Fn(u64),
) -> anyhow::Result<Course> {
    let mut full = Course::default();
    for group in requests.chunks(engine.options().max_batch as usize) {
        let prefilled = engine.prefill(group, Depth::Full)?;
        let started = cpu_seconds();
        full.answers.extend(prefilled.decode(&STOP)?.answers);
        full.seconds += cpu_seconds() - started;
        for course in &mut *courses {
            let gate = Gate { threshold: course.threshold, deeper: course.deeper, ..probes };
            let prefilled = engine.prefill(group, Depth::Full)?;
            let started = cpu_seconds();
            course.add(prefilled.decode_gated(&gate, &STOP)?);
            course.seconds += cpu_seconds() - started;
        }
        go_on()?;
        done((group.len() * (1 + courses.len())) as u64);
    }
    Ok(full)
}

/// Where deeper keys and values come from, as it stands in tables and in JSON.
const fn deeper_name(deeper: Deeper) -> &'static str {
    match deeper {
        Deeper::Resumed => "exact",
        Deeper::Propagated => "propagated",
    }
}
