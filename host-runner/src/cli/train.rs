//! `energyllm train`: teach a policy.

use super::output::{Object, note, print};
use super::world::WorldArguments;
use super::{Format, Outcome};
use crate::atomic_file::AtomicFile;
use crate::grpo::rollout::Grouping;
use crate::grpo::trainer::{Plan, Trainer};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Instant;

/// Train a policy with GRPO.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    Pretrain(Pretrain),
}

/// From scratch, in the simulator.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm train pretrain --seed 1 --out policy.ckpt\n         \
                        energyllm freeze policy.ckpt --out policy.elp")]
struct Pretrain {
    #[command(flatten)]
    world: WorldArguments,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds of rollouts and updates.
    #[arg(long, default_value_t = Plan::default().iterations)]
    iterations: u32,
    /// Contexts side by side.
    #[arg(long, default_value_t = Plan::default().contexts)]
    contexts: usize,
    /// Try so many actions drawn from the policy per context, instead of one knob over its likely values.
    #[arg(long, value_name = "ACTIONS")]
    group: Option<usize>,
    /// Threads for rollouts; they do not change the result.
    #[arg(long, default_value_t = Plan::default().threads)]
    threads: usize,
    /// Where the checkpoint goes.
    #[arg(long, value_name = "FILE", default_value = "out/policy.ckpt")]
    out: PathBuf,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    match &arguments.how {
        How::Pretrain(pretrain) => run_pretrain(pretrain, format),
    }
}

fn run_pretrain(options: &Pretrain, format: Format) -> anyhow::Result<Outcome> {
    let within = |name: &str, value: usize, low: usize, high: usize| {
        anyhow::ensure!((low..=high).contains(&value), "{name} must lie between {low} and {high}, not {value}");
        Ok(())
    };
    within("--contexts", options.contexts, 1, 4096)?;
    within("--group", options.group.unwrap_or(2), 2, 256)?;
    within("--threads", options.threads, 1, 256)?;
    // A place that cannot be written must not cost a whole training.
    drop(AtomicFile::create(&options.out)?);
    let plan = Plan {
        seed: options.seed,
        iterations: options.iterations,
        contexts: options.contexts,
        grouping: options.group.map_or(Grouping::Knob, |size| Grouping::Drawn { size }),
        threads: options.threads,
        ..Plan::default()
    };
    let started = Instant::now();
    let mut trainer = Trainer::new(options.world.world()?, plan);
    let bar = ProgressBar::new(u64::from(options.iterations));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} (eta {eta})")?);
    let mut last = None;
    for _ in 0..options.iterations {
        let progress = trainer.iterate();
        if bar.is_hidden() && progress.iteration.is_multiple_of(20) {
            note(&format!(
                "round {}: reward {:.4} (best of group {:.4}), entropy {:.2} nats, KL {:.4}, gradient {:.3}",
                progress.iteration,
                progress.mean_reward,
                progress.best_reward,
                progress.entropy,
                progress.kl,
                progress.gradient_norm
            ));
        }
        bar.set_message(format!("reward {:.4}, entropy {:.2} nats", progress.mean_reward, progress.entropy));
        bar.inc(1);
        last = Some(progress);
    }
    bar.finish_and_clear();
    let checkpoint = trainer.checkpoint();
    checkpoint.write(&options.out)?;
    let mut object = Object::new("train pretrain", Some(options.seed), true);
    object.figure("updates", checkpoint.updates);
    object.figure("evaluations", checkpoint.evaluations);
    if let Some(progress) = last {
        object.figure("final_mean_reward", progress.mean_reward);
        object.figure("final_policy_entropy_nats", progress.entropy);
    }
    object.wall("seconds", started.elapsed().as_secs_f64());
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "trained on the simulated board: {} updates, {} evaluated actions
checkpoint: {}",
            checkpoint.updates,
            checkpoint.evaluations,
            options.out.display()
        ))?,
    }
    Ok(Outcome::Passed)
}
