//! `energyllm train resume`: go on where a checkpoint was written.

use super::super::output::note;
use super::super::{Format, Outcome};
use super::losses::COLUMNS;
use super::{Files, online, pretrain, within};
use crate::grpo::checkpoint::{Checkpoint, Training};
use crate::grpo::online::{OnlineTrainer, turn_log};
use crate::grpo::trainer::{Plan, Trainer};
use crate::report::csv_log::CsvLog;
use clap::Args;
use std::path::PathBuf;

/// Go on where a checkpoint was written, to the same result as without the interruption.
///
/// Plan, board, seed and random streams are in the checkpoint. Its logs are cut back to the moment of the
/// checkpoint and go on. A training on logged grids needs its grids where they were.
#[derive(Debug, Args)]
#[command(after_help = "Example: energyllm train resume out/policy.ckpt")]
pub struct Arguments {
    /// The checkpoint; it is replaced by later ones.
    checkpoint: PathBuf,
    /// Threads for rollouts; they do not change the result.
    #[arg(long, default_value_t = Plan::default().threads)]
    threads: usize,
    /// A checkpoint is written every so many rounds or updates, and at the end.
    #[arg(long, value_name = "ROUNDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let path = &options.checkpoint;
    let checkpoint = Checkpoint::read(path)?;
    let files = Files::beside(path);
    match &checkpoint.content.training {
        Some(Training::Pretrain(_)) => {
            let mut trainer = Trainer::resume(checkpoint).expect("it holds the state of a pretraining");
            within("--threads", options.threads, 1, 256)?;
            trainer.set_threads(options.threads);
            let rows = trainer.iteration() as usize;
            let log = CsvLog::resume(&files.losses(), &COLUMNS, rows)?;
            tell_of_missing(&log, rows, &files);
            pretrain::go_on(trainer, &files, log, options.checkpoint_every, format)
        }
        Some(Training::Online(_)) => {
            let trainer = OnlineTrainer::resume(checkpoint)?;
            let (_, updates, turns, _) = trainer.counts();
            let losses = CsvLog::resume(&files.losses(), &COLUMNS, updates as usize)?;
            let episodes = CsvLog::resume(&files.episodes(), &turn_log::COLUMNS, usize::try_from(turns)?)?;
            tell_of_missing(&losses, updates as usize, &files);
            online::go_on(trainer, &files, (losses, episodes), options.checkpoint_every, format)
        }
        None => anyhow::bail!(
            "{} holds a policy, but not where its training stood; start a new one from it with `train pretrain --from` \
             or `train online --from`",
            path.display()
        ),
    }
}

fn tell_of_missing(log: &CsvLog, rows: usize, files: &Files) {
    if log.rows() < rows {
        note(&format!(
            "{} lacks {} of {rows} rows; the training goes on, the log and its figure stay incomplete",
            files.losses().display(),
            rows - log.rows()
        ));
    }
}
