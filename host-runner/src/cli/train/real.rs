//! `energyllm train online --board jetson`.

use super::super::board::real::{Options, RealBoard};
use super::super::interrupt::{self, STOP};
use super::super::output::{note, printable};
use super::super::{Format, Outcome};
use super::online::{self, Arguments as Online, RewardName};
use crate::env::queue::Queue;
use crate::env::service::Service;
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::online::place::Place;
use crate::grpo::online::{OnlineTrainer, Plan};
use crate::grpo::rollout::World;
use crate::llm::{Model, ModelOptions};
use crate::run::decoding::Decoding;
use crate::run::living::RealLiving;
use crate::run::llama::{Llama, LlamaOptions};
use crate::run::prompts;
use clap::Args;
use controller_core::action::ActionSpace;
use controller_core::supervisor::Supervisor;
use std::path::PathBuf;

/// Options of a training on a real board.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --board jetson")]
pub struct Arguments {
    /// Language model: a GGUF file of a Llama architecture.
    #[arg(long, value_name = "FILE", default_value = "models/tiny-llama/tiny-llama-f16.gguf")]
    model: PathBuf,
    /// Prompts, over and over again.
    #[arg(long, value_name = "FILE", default_value = "models/prompts/questions.jsonl")]
    prompts: PathBuf,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Tokens of one request, prompt and answer together.
    #[arg(long, default_value_t = 256)]
    context: u32,
    /// CPU threads of llama.cpp. They spin: never more than free cores.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    #[command(flatten)]
    board: Options,
}

impl Arguments {
    /// Refuses what only a real board can do.
    pub fn check_simulated(&self) -> anyhow::Result<()> {
        self.board.check_simulated()
    }
}

pub fn run(
    options: &Online,
    world: &World,
    from: Option<Checkpoint>,
    reward: RewardName,
    plan: Plan,
    format: Format,
) -> anyhow::Result<Outcome> {
    let real = &options.real;
    anyhow::ensure!(
        real.board.applies(),
        "training tries one setting after the other, and without --apply nothing is written to a board; add --apply. \
         `energyllm board doctor` says first what is in the way"
    );
    anyhow::ensure!(
        !plan.fan.is_scheduled(),
        "--fan is for simulated and logged boards; the fan of a real one is left to its work"
    );
    let prompts = prompts::read(&real.prompts)?;
    // Lives as long as the program: the training holds it until the end.
    let model: &'static Model = Box::leak(Box::new(Model::load(&real.model, &ModelOptions::default())?));
    let board = RealBoard::open(&real.board, &options.profile)?;
    let profile = board.profile()?;
    let policy = from.unwrap_or_else(|| online::random(&profile.actions, options.seed));
    let actions = policy.content.actions.clone();
    fits(&actions, &board.clocks_khz(), board.header().allowed_hz.1 / 1000)?;
    let full_depth = profile.actions.depth.last().copied().unwrap_or(1);
    let limits = controller_core::supervisor::Limits { min_depth: world.limits.min_depth, ..profile.limits };
    let limits = online::for_trials(limits);
    let answers = Llama::new(
        model,
        &prompts,
        &LlamaOptions {
            max_batch: actions.batch.last().copied().unwrap_or(1),
            context: real.context,
            max_new_tokens: real.max_new_tokens,
            threads: real.threads,
            full_depth,
            decoding: Decoding::Plain,
            price: None,
        },
        &STOP,
    )?;
    let queue = Queue::new(options.rate(reward), usize::MAX, options.seed);
    let service = Service::new(board.board(limits.temperature, &STOP)?, queue, answers);
    let layout = policy.content.observation.clone();
    let living = RealLiving::new(service, Supervisor::new(limits)?, actions, layout, &STOP);
    let name = printable(&board.name());
    let place = Place::Real { name: name.clone(), limits };
    let rule = online::rule(reward, &world.reward);
    let trainer = OnlineTrainer::on(Box::new(living), policy, place, rule, plan);
    let outcome = online::begin(trainer, options, &online::manifest(options)?.on_real(&name), format);
    if interrupt::is_wanted() {
        note("stopped by the user; the board has been given back");
    }
    outcome
}

/// The policy's clocks are the board's, and allowed.
fn fits(actions: &ActionSpace, clocks_khz: &[u32], most_khz: u64) -> anyhow::Result<()> {
    let wanted = actions.prefill_khz.iter().chain(&actions.decode_khz);
    for khz in wanted {
        anyhow::ensure!(
            clocks_khz.contains(khz) && u64::from(*khz) <= most_khz,
            "the policy asks for {} MHz, which this board does not have or its power mode ({} MHz) does not allow; start \
             without --from, or from a policy that was trained for these clocks",
            khz / 1000,
            most_khz / 1000
        );
    }
    Ok(())
}
