//! `energyllm train pretrain`: from scratch or from a policy, in the simulator.

use super::super::interrupt;
use super::super::output::{Object, note, print};
use super::super::world::WorldArguments;
use super::super::{Format, Outcome};
use super::losses::{COLUMNS, Row, draw};
use super::{Files, within};
use crate::atomic_file::AtomicFile;
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::group::Grouping;
use crate::grpo::trainer::{Plan, Progress, Trainer};
use crate::report::csv_log::CsvLog;
use crate::report::manifest::Manifest;
use clap::Args;
use controller_core::action::Knob;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Instant;

/// From scratch, in the simulator.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm train pretrain --seed 1 --out policy.ckpt
  energyllm freeze policy.ckpt --out policy.elp
  energyllm train pretrain --from policy.ckpt --iterations 40 --quantized 40 --learning-rate 3e-4 --out tuned.ckpt")]
pub struct Arguments {
    #[command(flatten)]
    world: WorldArguments,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start from the policy of this checkpoint instead of a random one.
    #[arg(long, value_name = "CHECKPOINT")]
    from: Option<PathBuf>,
    /// Rounds of rollouts and updates.
    #[arg(long, default_value_t = Plan::default().iterations)]
    iterations: u32,
    /// The last so many rounds are quantization-aware: the policy decides and learns as its image will.
    #[arg(long, value_name = "ROUNDS", default_value_t = 0)]
    quantized: u32,
    /// Contexts side by side.
    #[arg(long, default_value_t = Plan::default().contexts)]
    contexts: usize,
    /// Try so many actions drawn from the policy per context, instead of one knob over its likely values.
    #[arg(long, value_name = "ACTIONS")]
    group: Option<usize>,
    /// Try this knob alone, and let nothing else learn: the last step of a training, for a knob that matters so little that
    /// the others drown it.
    #[arg(long, value_name = "KNOB", requires = "from", conflicts_with = "group", value_parser = knob)]
    only: Option<Knob>,
    /// Learning rate at the start; it falls linearly to a fiftieth.
    #[arg(long, value_name = "RATE", default_value_t = Plan::default().learning_rate)]
    learning_rate: f64,
    /// Threads for rollouts; they do not change the result.
    #[arg(long, default_value_t = Plan::default().threads)]
    threads: usize,
    /// A checkpoint is written every so many rounds, and at the end.
    #[arg(long, value_name = "ROUNDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,
    /// Where the checkpoint goes; log, figure and manifest lie beside it.
    #[arg(long, value_name = "FILE", default_value = "out/policy.ckpt")]
    out: PathBuf,
}

/// A knob by the first word of its name.
fn knob(name: &str) -> Result<Knob, String> {
    let word = |knob: &Knob| knob.to_string().split(' ').next().is_some_and(|word| word == name);
    let unknown = || format!("{name:?} is no knob; there are prefill, decode, batch, depth and fan");
    Knob::ALL.into_iter().find(word).ok_or_else(unknown)
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    within("--contexts", options.contexts, 1, 4096)?;
    within("--group", options.group.unwrap_or(2), 2, 256)?;
    within("--threads", options.threads, 1, 256)?;
    anyhow::ensure!(
        options.learning_rate > 0.0 && options.learning_rate <= 1.0,
        "--learning-rate must lie above 0 and at most at 1, not {}",
        options.learning_rate
    );
    // A place that cannot be written must not cost a whole training.
    AtomicFile::check(&options.out)?;
    let plan = Plan {
        seed: options.seed,
        iterations: options.iterations,
        quantized: options.quantized.min(options.iterations),
        contexts: options.contexts,
        grouping: match (options.only, options.group) {
            (Some(knob), _) => Grouping::Only(knob),
            (None, Some(size)) => Grouping::Drawn(size),
            (None, None) => Grouping::Knob,
        },
        // A policy that has been trained is sure for good reason.
        entropy: if options.only.is_some() { 0.0 } else { Plan::default().entropy },
        learning_rate: options.learning_rate,
        threads: options.threads,
        ..Plan::default()
    };
    let world = options.world.world()?;
    let board = world.profile.plant.name.to_string();
    let mut inputs = vec![options.world.board.as_path(), options.world.depths.as_path()];
    let trainer = match &options.from {
        None => Trainer::new(world, plan),
        Some(path) => {
            inputs.push(path);
            let policy = Checkpoint::read(path)?;
            anyhow::ensure!(
                policy.content.actions == world.profile.actions,
                "{} was trained for other knobs than {} has; give the board it was trained for",
                path.display(),
                options.world.board.display()
            );
            anyhow::ensure!(
                options.group.is_some() || !policy.is_joint(),
                "{} has one distribution over all actions and no knobs to vary one by one; say how many actions to draw, \
                 for instance --group 16",
                path.display()
            );
            Trainer::from_policy(world, plan, policy)
        }
    };
    let files = Files::beside(&options.out);
    Manifest::of("train pretrain", options.seed, &inputs)?.on_simulated(&board).write(&files.manifest())?;
    let log = CsvLog::create(&files.losses(), &COLUMNS)?;
    go_on(trainer, &files, log, options.checkpoint_every, format)
}

/// Trains to the end of the plan.
pub fn go_on(
    mut trainer: Trainer,
    files: &Files,
    mut log: CsvLog,
    checkpoint_every: u32,
    format: Format,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    interrupt::watch()?;
    let bar = ProgressBar::new(u64::from(trainer.plan().iterations));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({per_sec}, eta {eta})")?);
    bar.set_position(u64::from(trainer.iteration()));
    bar.reset_eta();
    // From the first moment on there is something to go on with.
    trainer.checkpoint().write(&files.checkpoint)?;
    let mut last = None;
    while !trainer.is_done() && !interrupt::is_wanted() {
        let progress = trainer.iterate()?;
        row(&progress).write(&mut log)?;
        if progress.iteration.is_multiple_of(checkpoint_every) {
            log.sync()?;
            trainer.checkpoint().write(&files.checkpoint)?;
        }
        tell(&bar, &progress);
        last = Some(progress);
    }
    bar.finish_and_clear();
    let checkpoint = trainer.checkpoint();
    log.sync()?;
    checkpoint.write(&files.checkpoint)?;
    let title = format!("energyllm train pretrain, seed {} (simulated board)", trainer.plan().seed);
    draw(&files.losses(), &title, &files.figure())?;
    let complete = trainer.is_done();
    let mut object = Object::new("train pretrain", Some(trainer.plan().seed), true);
    object.figure("rounds", trainer.iteration());
    object.figure("updates", checkpoint.content.updates);
    object.figure("evaluations", checkpoint.content.evaluations);
    if let Some(progress) = last {
        object.figure("final_mean_reward", progress.mean_reward);
        object.figure("final_policy_entropy_nats", progress.entropy);
    }
    object.wall("seconds", started.elapsed().as_secs_f64());
    object.wall("complete", complete);
    object.wall("checkpoint", files.checkpoint.display().to_string());
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{} on the simulated board: {} rounds, {} updates, {} evaluated actions\ncheckpoint: {}\nlosses: {}, {}",
            if complete { "trained" } else { "interrupted; `energyllm train resume` goes on" },
            trainer.iteration(),
            checkpoint.content.updates,
            checkpoint.content.evaluations,
            files.checkpoint.display(),
            files.losses().display(),
            files.figure().display()
        ))?,
    }
    Ok(Outcome::of(true, !complete))
}

fn row(progress: &Progress) -> Row {
    Row {
        update_step: progress.iteration - 1,
        losses: progress.losses,
        reward: progress.mean_reward,
        best_reward: progress.best_reward,
        violations: progress.violations,
        learning_rate: progress.learning_rate,
        evaluations: progress.evaluations,
    }
}

fn tell(bar: &ProgressBar, progress: &Progress) {
    if bar.is_hidden() && progress.iteration.is_multiple_of(20) {
        note(&format!(
            "round {}: reward {:.4} (best of group {:.4}), entropy {:.2} nats, KL {:.4}, gradient {:.3}",
            progress.iteration,
            progress.mean_reward,
            progress.best_reward,
            progress.entropy,
            progress.kl,
            progress.losses.gradient_norm
        ));
    }
    bar.set_message(format!("reward {:.4}, entropy {:.2} nats", progress.mean_reward, progress.entropy));
    bar.set_position(u64::from(progress.iteration));
}
