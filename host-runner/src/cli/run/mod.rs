//! `energyllm run`: the main job.

mod job;
mod present;

use super::board::place::{DEFAULT_PROFILE, board_or_profile, is_jetson};
use super::board::real;
use super::interrupt::{self, STOP};
use super::output::{note, print};
use super::{Format, Outcome};
use crate::run::Ending;
use crate::run::choice::{self, Choice, ChoiceError, PUBLISHED_BEST};
use crate::run::control::Place;
use crate::run::decoding::{Decoding, DraftChoice, GateChoice};
use clap::Args;
use job::Job;
use std::path::PathBuf;
use std::str::FromStr;

/// Answer prompts in batches under a governor, on the simulated board or on a real one.
///
/// llama.cpp really answers every prompt, at the depth and batch that the governor chose; the
/// simulated board turns clocks, batch and depth into time, energy and heat. Half way the fan
/// fails, and the governor has to cope.
///
/// With `--board jetson` clocks and fan are those of this machine, time, power and temperature
/// are measured, and the fan fails only when `--fan-off-at` says so. Nothing is written to the
/// board without `--apply`; whatever was written is given back, however the run ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm run                                    the shipped prompts under the shipped policy
  energyllm run --compare                          beside the published best static setting and max
  energyllm run --compare ondemand two-rule        beside these two
  energyllm run --compare all                      beside every governor there is
  energyllm run --prompts my.txt --fan-off-at never    your own prompts, one per line
  energyllm run --governor fixed:7,6,32,16         prefill clock 7, decode clock 6, batch 32, 16 layers
  energyllm run --draft 4                          the same texts, with drafts
  energyllm run --gate 0.1                         a token leaves early where the model is sure of it
  energyllm run --controller firmware              the microcontroller's program decides
  energyllm run --controller serial:/dev/ttyACM0   a microcontroller decides (docs/firmware.md)
  energyllm run --board jetson                     this Jetson, measured and left alone
  sudo energyllm run --board jetson --apply        this Jetson, controlled")]
pub struct Arguments {
    /// Language model: a GGUF file of a Llama architecture.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// Prompts: JSON lines with "prompt" and, if known, "answer"; or plain text, one per line.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROMPTS)]
    prompts: PathBuf,
    /// Board: a profile to simulate (`sim` is the shipped one), or `jetson` for the real one.
    #[arg(long, value_name = "FILE|sim|jetson", default_value = DEFAULT_PROFILE, value_parser = board_or_profile)]
    board: PathBuf,
    /// Policy image for the governor `learned`.
    #[arg(long, value_name = "FILE", default_value = "models/policies/service.elp")]
    policy: PathBuf,
    /// Who chooses the clocks, batch, layers and fan of every batch.
    ///
    /// learned: the policy image.
    /// max, min: highest clocks and largest batch; lowest clocks and batch 1.
    /// ondemand: clocks by load, as Linux does it for GPUs.
    /// race-to-idle: max with the fan full.
    /// two-rule: fixed:7,6,32,16, from 80 °C until 76 °C the lowest clocks and the fan full.
    /// capped:MHZ: max with both clocks at most MHZ; 816, 612 and 408 are those of the power modes
    /// 50W, 30W and 15W (their gated cores and their CPU and memory caps are not simulated).
    /// fixed:P,D,B,L[,FAN]: index of prefill and decode clock from 0, batch, layers, fan duty.
    #[arg(long, default_value = "learned", value_parser = Choice::from_str, verbatim_doc_comment)]
    governor: Choice,
    /// Where `learned` decides. All decide the same.
    ///
    /// inproc: in this process.
    /// firmware: the microcontroller's program, in this process, spoken with in frames.
    /// qemu: the same on an emulated Cortex-M4.
    /// serial:PATH[@BAUD]: on the microcontroller behind a serial port; 115200 baud unless given.
    /// tcp:HOST:PORT: on one behind a network, or an emulated one.
    /// When a link is lost, this program's own supervisor decides until the firmware is back.
    #[arg(long, value_name = "PLACE", default_value = "inproc", value_parser = Place::from_str, verbatim_doc_comment)]
    controller: Place,
    /// Seconds without a turn after which this program counts as hanging: it stops telling the
    /// microcontroller that it is alive, whose safety outputs then become active.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    longest_batch: u64,
    /// Firmware for `--controller qemu`.
    #[arg(long, value_name = "FILE", default_value = "target/thumbv7em-none-eabihf/firmware/controller")]
    firmware: PathBuf,
    /// Run other governors on the same requests and show all side by side: names as above, or
    /// `all`. Without a name: fixed:7,6,32,16 and max.
    #[arg(long, value_name = "GOVERNOR", num_args = 0.., value_parser = Rival::from_str)]
    compare: Option<Vec<Rival>>,
    /// Folder for the record, answers included, and the figure.
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
    /// The fan fails when this request arrives: a number, or `never`. Default: half way; on a real board never.
    #[arg(long, value_name = "N", value_parser = parse_fan_off)]
    fan_off_at: Option<FanOff>,
    /// Air around the simulated board, °C. Default: 42, a kiosk in the sun.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true)]
    ambient: Option<f64>,
    /// Temperature of the simulated board at the start, °C. Default: 20 above ambient.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true)]
    start: Option<f64>,
    /// Temperature that must never be reached, °C. Default: the board profile's.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true)]
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
    /// Draft so many tokens with half of the model's layers and check them with all layers of the setting:
    /// 1 to 64, `auto` (4, while that costs less than plain decoding on the board), or `off`. The texts stay.
    #[arg(long, value_name = "N", default_value = "off", value_parser = DraftChoice::from_str, allow_negative_numbers = true)]
    draft: DraftChoice,
    /// Let a token leave at half or three quarters of the model's layers where its entropy is below so many
    /// nats, or `off`. Texts may change; the share of right answers says how much.
    #[arg(long, value_name = "NATS", default_value = "off", value_parser = GateChoice::from_str, allow_negative_numbers = true)]
    gate: GateChoice,
    /// The static setting that `learned` must not do worse than: what `search live` found (its .json). Default: the board
    /// profile's.
    #[arg(long, value_name = "FILE", conflicts_with = "no_fallback")]
    fallback: Option<PathBuf>,
    /// Let `learned` alone decide, even while it does worse than the board profile's static setting.
    #[arg(long)]
    no_fallback: bool,
    /// Let the governor choose depths below the model's quality floor.
    #[arg(long)]
    any_depth: bool,
    /// Knobs, limits and reward. Clocks that the board does not have are replaced by its own.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PROFILE, help_heading = "With --board jetson")]
    profile: PathBuf,
    #[command(flatten)]
    real: real::Options,
}

const DEFAULT_MODEL: &str = "models/tiny-llama/tiny-llama-f16.gguf";
const DEFAULT_PROMPTS: &str = "models/prompts/questions.jsonl";
const SHIPPED_REQUESTS: usize = 4800;
/// Around the simulated board, °C.
const USUAL_AIR_C: f64 = 42.0;

/// Whom to compare with.
#[derive(Clone, Debug)]
enum Rival {
    All,
    One(Choice),
}

impl FromStr for Rival {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::One) }
    }
}

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

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    if options.controller != Place::InProcess && options.governor != Choice::Learned {
        anyhow::bail!("the firmware decides by a policy; leave --governor at learned, or --controller at inproc");
    }
    if !options.is_real() {
        options.real.check_simulated()?;
    }
    if options.is_real() && (options.ambient.is_some() || options.start.is_some()) {
        anyhow::bail!(
            "--ambient and --start are for a simulated board; a real one has the air and the temperature that it has: leave \
             them away"
        );
    }
    let job = Job::prepare(options)?;
    interrupt::watch()?;
    let governors = options.governors();
    // Every governor is made before the first batch, so that a bad one costs no time.
    for governor in &governors {
        governor.build(&job.profile.actions, &options.policy, &job.image)?;
    }
    let mut results = Vec::new();
    let mut interrupted = false;
    for governor in governors {
        let result = job.serve(governor)?;
        interrupted = result.summary.ending == Ending::Interrupted;
        results.push(result);
        if interrupted {
            note("stopped by the user; what was answered so far is recorded");
            break;
        }
    }
    job.draw(&results)?;
    match format {
        Format::Json => job.object(&results).print()?,
        Format::Text => print(&job.describe(&results))?,
    }
    Ok(Outcome::of(!job.failed(&results), interrupted))
}

impl Arguments {
    /// `--board jetson`; a file of that name is `./jetson`.
    fn is_real(&self) -> bool {
        is_jetson(&self.board)
    }

    /// The governor asked for, then those to compare it with, each once.
    fn governors(&self) -> Vec<Choice> {
        let others = match self.compare.as_deref() {
            None => Vec::new(),
            Some([]) => vec![PUBLISHED_BEST, Choice::Max],
            Some(rivals) => rivals
                .iter()
                .flat_map(|rival| match rival {
                    Rival::All => choice::all(),
                    Rival::One(choice) => vec![choice.clone()],
                })
                .collect(),
        };
        let mut governors = vec![self.governor.clone()];
        for other in others {
            if !governors.contains(&other) {
                governors.push(other);
            }
        }
        governors
    }

    /// How answers are decoded; `Job::prepare` refuses drafts and a gate together.
    fn decoding(&self) -> Decoding {
        match (self.draft.0, self.gate.0) {
            (Some(drafts), _) => Decoding::Draft(drafts),
            (None, Some(nats)) => Decoding::Gate(nats),
            (None, None) => Decoding::Plain,
        }
    }

    fn ambient(&self) -> f64 {
        self.ambient.unwrap_or(USUAL_AIR_C)
    }

    fn start(&self) -> f64 {
        self.start.unwrap_or(self.ambient() + 20.0)
    }
}
