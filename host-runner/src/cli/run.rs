//! `energyllm run`: the main job.

use super::output::Object;
use super::{Format, Outcome};
use crate::atomic_file::AtomicFile;
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::env::queue::Queue;
use crate::env::service::Service;
use crate::llm::{Model, ModelOptions};
use crate::report::table::{Table, number};
use crate::run::choice::{Choice, PUBLISHED_BEST};
use crate::run::llama::{Llama, LlamaOptions};
use crate::run::prompts::{self, Prompt};
use crate::run::record::{Header, RecordFile};
use crate::run::summary::{Collector, Summary, decision_cost_ns};
use crate::run::{AnswerRecord, Course, Ending, TurnRecord, figure, serve};
use anyhow::Context as _;
use clap::Args;
use controller_core::control::{Controller, RewardRule};
use controller_core::reward::service::Service as ServiceReward;
use controller_core::supervisor::Limits;
use controller_core::units::MilliCelsius;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Answer prompts in batches under a governor, on the simulated board.
///
/// llama.cpp really answers every prompt, at the depth and batch that the governor chose; the
/// simulated board turns clocks, batch and depth into time, energy and heat. Half way the fan
/// fails, and the governor has to cope.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm run                                    the shipped prompts under the shipped policy
  energyllm run --compare                          beside the published best static setting and max
  energyllm run --prompts my.txt --fan-off-at never    your own prompts, one per line
  energyllm run --governor fixed:7,6,32,16         prefill clock 7, decode clock 6, batch 32, 16 layers")]
pub struct Arguments {
    /// Language model: a GGUF file of a Llama architecture.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// Prompts: JSON lines with "prompt" and, if known, "answer"; or plain text, one per line.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROMPTS)]
    prompts: PathBuf,
    /// Board profile.
    #[arg(long, value_name = "FILE", default_value = "models/boards/agx-orin-hf.toml")]
    board: PathBuf,
    /// Policy image for the governor `learned`.
    #[arg(long, value_name = "FILE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    /// Who chooses: learned, max, min, two-rule, or fixed:P,D,B,L[,FAN].
    #[arg(long, default_value = "learned", value_parser = Choice::from_str)]
    governor: Choice,
    /// Run `fixed:7,6,32,16` and `max` on the same requests and show all side by side.
    #[arg(long)]
    compare: bool,
    /// Folder for record, answers and figure.
    #[arg(long, value_name = "DIR", default_value = "out/run")]
    out: PathBuf,
    /// Seed of arrivals and of the board's noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests to answer; prompts repeat when there are fewer. Default: every prompt once, or
    /// 4800 of the shipped ones.
    #[arg(long)]
    requests: Option<usize>,
    /// Offered load: mean arrivals per second.
    #[arg(long, default_value_t = 4.0)]
    rate: f64,
    /// The fan fails when this request arrives: a number, or `never`. Default: half way.
    #[arg(long, value_name = "N", value_parser = parse_fan_off)]
    fan_off_at: Option<FanOff>,
    /// Air around the board, °C. The default is a kiosk in the sun.
    #[arg(long, value_name = "CELSIUS", default_value_t = 45.0)]
    ambient: f64,
    /// Board temperature at the start, °C. Default: 20 above ambient.
    #[arg(long, value_name = "CELSIUS")]
    start: Option<f64>,
    /// Temperature that must never be reached, °C. Default: the board profile's.
    #[arg(long, value_name = "CELSIUS")]
    limit: Option<f64>,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: u32,
    /// Tokens of one request, prompt and answer together.
    #[arg(long, default_value_t = 256)]
    context: u32,
    /// CPU threads of llama.cpp. They spin: never more than free cores.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Let the governor choose depths below the model's quality floor.
    #[arg(long)]
    any_depth: bool,
}

const DEFAULT_MODEL: &str = "models/tiny-llama/tiny-llama-f16.gguf";
const DEFAULT_PROMPTS: &str = "models/prompts/questions.jsonl";
const SHIPPED_REQUESTS: usize = 4800;

#[derive(Clone, Copy, Debug)]
enum FanOff {
    At(usize),
    Never,
}

fn parse_fan_off(text: &str) -> Result<FanOff, String> {
    match text {
        "never" => Ok(FanOff::Never),
        _ => text.parse().map(FanOff::At).map_err(|_| "give the number of a request, or `never`".to_owned()),
    }
}

/// Set by Ctrl-C and SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// Everything read and checked before the first batch.
struct Job<'a> {
    options: &'a Arguments,
    profile: BoardProfile,
    quality: Quality,
    model: Model,
    prompts: Vec<Prompt>,
    image: Vec<u8>,
    requests: usize,
    fan_off_at: Option<usize>,
    limits: Limits,
}

/// One governor's run.
struct Result_ {
    governor: Choice,
    summary: Summary,
    turns: Vec<TurnRecord>,
    decision_ns: Option<(u64, u64)>,
    wall_s: f64,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let job = Job::prepare(options)?;
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")?;
    let mut governors = vec![options.governor.clone()];
    if options.compare {
        let others = [PUBLISHED_BEST, Choice::Max];
        governors.extend(others.into_iter().filter(|other| *other != options.governor));
    }
    // Every governor is made before the first batch, so that a bad one costs no time.
    for governor in &governors {
        governor.build(&job.profile.actions, &options.policy, &job.image)?;
    }
    let mut results = Vec::new();
    for governor in governors {
        let result = job.serve(governor)?;
        let interrupted = result.summary.ending == Ending::Interrupted;
        results.push(result);
        if interrupted {
            eprintln!("stopped by the user; what was answered so far is recorded");
            break;
        }
    }
    job.draw(&results)?;
    match format {
        Format::Json => job.object(&results).print()?,
        Format::Text => job.print(&results),
    }
    Ok(Outcome::Passed)
}

impl<'a> Job<'a> {
    fn prepare(options: &'a Arguments) -> anyhow::Result<Self> {
        let plausible = |what: &str, value: f64, low: f64, high: f64| {
            anyhow::ensure!((low..=high).contains(&value), "{what} must lie between {low} and {high}, not {value}");
            Ok(())
        };
        plausible("--ambient", options.ambient, -40.0, 70.0)?;
        plausible("--start", options.start(), -40.0, 100.0)?;
        plausible("--rate", options.rate, 1e-3, 1e3)?;
        anyhow::ensure!(options.requests != Some(0), "--requests must be at least 1");
        anyhow::ensure!(options.max_new_tokens > 0, "--max-new-tokens must be at least 1");
        let profile = BoardProfile::read(&options.board)?;
        let prompts = prompts::read(&options.prompts)?;
        let shipped = options.prompts == Path::new(DEFAULT_PROMPTS);
        let requests = options.requests.unwrap_or(if shipped { SHIPPED_REQUESTS } else { prompts.len() });
        let fan_off_at = match options.fan_off_at {
            None => Some(requests / 2),
            Some(FanOff::At(request)) => Some(request),
            Some(FanOff::Never) => None,
        };
        let image = if options.governor == Choice::Learned { read_policy(&options.policy)? } else { Vec::new() };
        let full = profile.actions.depth.last().copied().unwrap_or(1);
        let quality = quality_beside(&options.model, full)?;
        let min_depth = if options.any_depth { 1 } else { quality.floor(full, profile.service.quality_floor) };
        let temperature = match options.limit {
            None => profile.limits.temperature,
            Some(limit) => {
                plausible("--limit", limit, 40.0, 105.0)?;
                #[expect(clippy::cast_possible_truncation, reason = "checked above")]
                let limit = MilliCelsius((limit * 1000.0).round() as i32);
                limit
            }
        };
        let limits = Limits { min_depth, temperature, ..profile.limits };
        // An output folder that cannot be written must not cost a whole run.
        let probe = AtomicFile::create(&options.out.join("record.jsonl"))?;
        drop(probe);
        let model = Model::load(&options.model, &ModelOptions::default())?;
        Ok(Self { options, profile, quality, model, prompts, image, requests, fan_off_at, limits })
    }

    fn reward(&self) -> RewardRule {
        let depths = &self.profile.actions.depth;
        let full = depths.last().copied().unwrap_or(1);
        let quality = self.quality.table(depths, full);
        RewardRule::Service(ServiceReward { quality, ..self.profile.service.clone() })
    }

    /// Runs one governor from a fresh board over the same requests.
    fn serve(&self, choice: Choice) -> anyhow::Result<Result_> {
        let options = self.options;
        let governor = choice.build(&self.profile.actions, &options.policy, &self.image)?;
        let mut controller = Controller::new(governor, self.profile.actions.clone(), self.limits, self.reward())?;
        let full_depth = self.profile.actions.depth.last().copied().unwrap_or(1);
        let answers = Llama::new(
            &self.model,
            &self.prompts,
            &LlamaOptions {
                max_batch: self.profile.actions.batch.last().copied().unwrap_or(1),
                context: options.context,
                max_new_tokens: options.max_new_tokens,
                threads: options.threads,
                full_depth,
            },
            &STOP,
        )?;
        let conditions = Conditions {
            ambient_c: options.ambient,
            start_c: options.start(),
            seed: options.seed,
            limit_c: f64::from(self.limits.temperature.0) / 1000.0,
            ..Conditions::default()
        };
        let board = SimulatedBoard::new(&self.profile.plant, conditions);
        let mut service = Service::new(board, Queue::new(options.rate, self.requests, options.seed), answers);
        let course = Course { prompts: &self.prompts, fan_off_at: self.fan_off_at, stop: &STOP };
        let mut record =
            RecordFile::create(&options.out.join(file_name("record", &choice, "jsonl")), &self.header(&choice)?)?;
        let bar = progress_bar(self.requests, &choice)?;
        let started = Instant::now();
        let mut collector = Collector::default();
        let mut turns = Vec::new();
        let finished = serve(&mut service, &mut controller, &course, |turn| {
            record.turn(turn)?;
            collector.add(turn);
            show_progress(&bar, turn, &collector, self.requests);
            turns.push(turn.clone());
            Ok(())
        })?;
        bar.finish_and_clear();
        let summary = collector.finish(&finished);
        record.finish(&summary)?;
        let wall_s = started.elapsed().as_secs_f64();
        Ok(Result_ { governor: choice, summary, turns, decision_ns: decision_cost_ns(&finished.decision_ns), wall_s })
    }

    fn header(&self, governor: &Choice) -> anyhow::Result<Header> {
        let options = self.options;
        Ok(Header {
            record: "energyllm-run",
            format: 1,
            version: env!("CARGO_PKG_VERSION"),
            seed: options.seed,
            simulated: true,
            board: self.profile.plant.name.to_string(),
            board_sha256: sha256_of(&options.board)?,
            governor: governor.to_string(),
            policy_sha256: (*governor == Choice::Learned).then(|| hex(&self.image)),
            model: self.model.name().to_owned(),
            model_sha256: self.model.sha256()?,
            prompts_sha256: sha256_of(&options.prompts)?,
            requests: self.requests,
            rate_per_s: options.rate,
            fan_off_at: self.fan_off_at,
            ambient_c: options.ambient,
            start_c: options.start(),
            max_new_tokens: options.max_new_tokens,
            min_depth: self.limits.min_depth,
        })
    }

    fn draw(&self, results: &[Result_]) -> anyhow::Result<()> {
        let limit_c = f64::from(self.limits.temperature.0) / 1000.0;
        let runs: Vec<(String, &[TurnRecord])> =
            results.iter().map(|result| (result.governor.to_string(), result.turns.as_slice())).collect();
        let place = format!("{} °C ambient, {} requests/s", self.options.ambient, self.options.rate);
        figure::of_runs(&runs, limit_c, &place).draw(&self.options.out.join("run.png"))?;
        Ok(())
    }

    fn object(&self, results: &[Result_]) -> Object {
        let mut object = Object::new("run", Some(self.options.seed), true);
        let value = |summary: &Summary| serde_json::to_value(summary).expect("a summary is plain data");
        if let Some(serde_json::Value::Object(figures)) = results.first().map(|result| value(&result.summary)) {
            object.figures = figures;
        }
        object.rows = results
            .iter()
            .map(|result| serde_json::json!({ "governor": result.governor.to_string(), "figures": value(&result.summary) }))
            .collect();
        let wall = results.iter().map(|result| {
            let (p50, p95) = result.decision_ns.unzip();
            serde_json::json!({
                "governor": result.governor.to_string(), "run_s": result.wall_s,
                "decision_p50_ns": p50, "decision_p95_ns": p95,
            })
        });
        object.wall("runs", wall.collect::<Vec<_>>());
        object.wall("out", self.options.out.display().to_string());
        object
    }

    fn print(&self, results: &[Result_]) {
        println!(
            "{} prompts answered by {} ({}, {} layers) on the simulated board {}",
            self.prompts.len(),
            self.options.model.display(),
            self.model.description(),
            self.model.n_layer(),
            self.profile.plant.name
        );
        println!(
            "{} requests at {}/s, {} °C ambient, {}, depth floor {} layers, seed {}\n",
            self.requests,
            self.options.rate,
            self.options.ambient,
            self.fan_off_at.map_or("fan working".to_owned(), |request| format!("fan fails at request {request}")),
            self.limits.min_depth,
            self.options.seed
        );
        let answers = results.first().map(|result| result.turns.iter().flat_map(|turn| &turn.answers));
        for AnswerRecord { prompt, text, .. } in answers.into_iter().flatten().take(3) {
            println!("  {prompt}\n  > {text}\n");
        }
        print!("{}", summary_table(results));
        println!("\nall but the decision times: simulated board. record and figure: {}", self.options.out.display());
    }
}

impl Arguments {
    fn start(&self) -> f64 {
        self.start.unwrap_or(self.ambient + 20.0)
    }
}

/// The figures that people ask for first, one column per governor.
fn summary_table(results: &[Result_]) -> Table {
    let mut table = Table::new(
        std::iter::once("simulated board".to_owned()).chain(results.iter().map(|result| result.governor.to_string())),
    );
    let mut row = |name: &str, cell: &dyn Fn(&Summary) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(results.iter().map(|result| cell(&result.summary))));
    };
    row("energy per token, J", &|s| number(s.energy_per_token_j, 4));
    row("  of it while a batch runs, J", &|s| number(s.active_energy_per_token_j, 4));
    row("energy per request, J", &|s| number(s.energy_per_request_j, 2));
    row("mean power, W", &|s| number(Some(s.mean_power_w), 2));
    row("tokens per second", &|s| number(Some(s.throughput_tokens_per_s), 1));
    row("response p50, s", &|s| number(s.response_p50_s, 2));
    row("response p95, s", &|s| number(s.response_p95_s, 2));
    row("mean batch", &|s| number(s.mean_batch, 2));
    row("mean depth, layers", &|s| number(s.mean_depth_layers, 2));
    row("mean entropy, nats", &|s| number(s.mean_entropy_nats, 3));
    row("right answers, %", &|s| number(s.right_answers_share.map(|share| share * 100.0), 1));
    row("mean reward (service)", &|s| number(s.mean_reward, 4));
    row("highest temperature, °C", &|s| number(Some(s.max_temperature_c), 2));
    row("time above the limit, s", &|s| number(Some(s.above_limit_s), 1));
    row("requests answered", &|s| s.requests.to_string());
    row("decisions", &|s| s.decisions.to_string());
    row("  overruled by the supervisor", &|s| s.overruled.values().sum::<u64>().to_string());
    let reasons: std::collections::BTreeSet<&String> =
        results.iter().flat_map(|r| r.summary.overruled.keys()).collect();
    for reason in reasons {
        row(&format!("    {reason}"), &|s| s.overruled.get(reason).copied().unwrap_or(0).to_string());
    }
    row("length of the run, s", &|s| number(Some(s.duration_s), 0));
    row("ended", &|s| match s.ending {
        Ending::Complete => "complete".to_owned(),
        Ending::Interrupted => "stopped".to_owned(),
        Ending::BoardOff => "board shut down".to_owned(),
        Ending::CannotCool => "too hot to work".to_owned(),
    });
    let cost = |result: &Result_| result.decision_ns.map_or("-".to_owned(), |(p50, p95)| format!("{p50} / {p95}"));
    table.row(std::iter::once("decision p50 / p95, ns (this machine)".to_owned()).chain(results.iter().map(cost)));
    let wall = |result: &Result_| format!("{:.1}", result.wall_s);
    table.row(std::iter::once("took, s (this machine)".to_owned()).chain(results.iter().map(wall)));
    table
}

fn progress_bar(requests: usize, governor: &Choice) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(requests as u64);
    bar.set_style(ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} (eta {eta})")?);
    bar.set_prefix(governor.to_string());
    Ok(bar)
}

/// A moving line on a terminal, twenty plain lines otherwise.
fn show_progress(bar: &ProgressBar, turn: &TurnRecord, collector: &Collector, requests: usize) {
    let setting = &turn.step.setting;
    let line = format!(
        "{:.1} °C, {} MHz/{} MHz, batch {}, {} layers, {} J/token{}",
        turn.die_c,
        setting.prefill.0 / 1000,
        setting.decode.0 / 1000,
        turn.step.measurement.requests,
        setting.depth,
        number(collector.energy_per_token_j(), 4),
        if turn.fan_working { "" } else { ", fan dead" }
    );
    let before = bar.position();
    bar.set_position(collector.requests());
    let twentieth = |position: u64| position * 20 / (requests as u64).max(1);
    if !std::io::stderr().is_terminal() && twentieth(before) != twentieth(collector.requests()) {
        eprintln!("{} {}/{requests}: {line}", bar.prefix(), collector.requests());
    }
    bar.set_message(line);
}

/// `record.jsonl` for the main governor's sake of a stable name; others carry theirs.
fn file_name(stem: &str, governor: &Choice, extension: &str) -> String {
    match governor {
        Choice::Learned => format!("{stem}.{extension}"),
        other => format!("{stem}-{}.{extension}", other.to_string().replace([':', ','], "-")),
    }
}

fn read_policy(path: &Path) -> Result<Vec<u8>, crate::run::choice::ChoiceError> {
    std::fs::read(path).map_err(|source| crate::run::choice::ChoiceError::Read { path: path.into(), source })
}

/// The quality file beside the model; a model without one runs at full depth.
fn quality_beside(model: &Path, full: u16) -> anyhow::Result<Quality> {
    let path = model.with_file_name("depths.json");
    if path.exists() {
        return Ok(Quality::read(&path)?);
    }
    tracing::warn!(
        "no {} beside the model: nobody knows its quality at other depths, so it runs at full depth",
        path.display()
    );
    Ok(Quality::only_full_depth(full))
}

fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
