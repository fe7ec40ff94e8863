//! The loop of an online training: episodes, logs and checkpoints to the end of the plan.

use super::super::Files;
use super::super::losses::{Row, draw};
use crate::cli::interrupt;
use crate::cli::output::{Object, note, print};
use crate::cli::{Format, Outcome};
use crate::env::living::LivingError;
use crate::grpo::online::place::Place;
use crate::grpo::online::turn_log::TurnLog;
use crate::grpo::online::{Episode, OnlineError, OnlineTrainer};
use crate::report::csv_log::CsvLog;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;

/// Trains to the end of the plan.
pub fn go_on(
    mut trainer: OnlineTrainer,
    files: &Files,
    (mut losses, mut episodes): (CsvLog, CsvLog),
    checkpoint_every: u32,
    format: Format,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    interrupt::watch()?;
    let bar = ProgressBar::new(u64::from(trainer.plan().episodes));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes {msg} ({per_sec}, eta {eta})")?);
    bar.set_position(u64::from(trainer.counts().0));
    bar.reset_eta();
    trainer.checkpoint().write(&files.checkpoint)?;
    let mut stop = None;
    while !trainer.is_done() && !interrupt::is_wanted() {
        let episode = match trainer.episode() {
            // What was tried of the group is not enough to learn from.
            Err(OnlineError::Board(LivingError::Stopped)) => break,
            episode => episode?,
        };
        let log =
            TurnLog { actions: &trainer.content().actions, limits: trainer.place().limits(), rule: trainer.rule() };
        log.rows(&episode).iter().try_for_each(|row| episodes.row(row))?;
        if let Some(row) = row(&episode, &trainer) {
            row.write(&mut losses)?;
            if (row.update_step + 1).is_multiple_of(checkpoint_every) {
                losses.sync()?;
                episodes.sync()?;
                trainer.checkpoint().write(&files.checkpoint)?;
            }
        }
        tell(&bar, &episode, &trainer);
        stop = episode.stop;
    }
    bar.finish_and_clear();
    let checkpoint = trainer.checkpoint();
    losses.sync()?;
    episodes.sync()?;
    checkpoint.write(&files.checkpoint)?;
    let simulated = trainer.place().is_simulated();
    let source = trainer.place().kind();
    let seed = trainer.plan().seed;
    let figure = trainer.counts().1 > 0;
    if figure {
        draw(&files.losses(), &format!("energyllm train online, seed {seed} ({source})"), &files.figure())?;
    }
    let (done, updates, turns, requests) = trainer.counts();
    let complete = trainer.is_done();
    let mut object = Object::new("train online", Some(seed), simulated);
    object.figure("episodes", done);
    object.figure("policy_updates", updates);
    object.figure("updates", checkpoint.content.updates);
    object.figure("turns", turns);
    object.figure("requests", requests);
    if let Some(reward) = trainer.convergence().mean_reward() {
        object.figure("final_greedy_reward", reward);
    }
    object.figure("action_confidence", trainer.convergence().action_confidence());
    object.figure("stopped_by_rule", serde_json::to_value(stop)?);
    object.wall("seconds", started.elapsed().as_secs_f64());
    object.wall("complete", complete);
    object.wall("checkpoint", files.checkpoint.display().to_string());
    match format {
        Format::Json => object.print()?,
        Format::Text => print(&format!(
            "{} on the {source}: {done} episodes, {turns} turns, {requests} requests, {updates} updates{}\n\
             mean reward of the last greedy turns: {}\ncheckpoint: {}\nturns: {}\nlosses: {}{}",
            match (complete, trainer.place()) {
                (true, _) => "trained",
                (false, Place::Real { .. }) => "interrupted; `--from` with its checkpoint goes on",
                (false, _) => "interrupted; `energyllm train resume` goes on",
            },
            stop.map_or_else(String::new, |rule| format!("; stopped by the rule {rule:?}").to_lowercase()),
            trainer.convergence().mean_reward().map_or_else(|| "none".into(), |reward| format!("{reward:.4}")),
            files.checkpoint.display(),
            files.episodes().display(),
            files.losses().display(),
            if figure { format!(", {}", files.figure().display()) } else { String::new() }
        ))?,
    }
    Ok(Outcome::of(true, !complete))
}

fn row(episode: &Episode, trainer: &OnlineTrainer) -> Option<Row> {
    let update = episode.update?;
    Some(Row {
        update_step: update.number,
        losses: update.losses,
        reward: update.mean_reward,
        best_reward: update.best_reward,
        violations: update.violations,
        learning_rate: update.learning_rate,
        evaluations: trainer.content().evaluations,
    })
}

fn tell(bar: &ProgressBar, episode: &Episode, trainer: &OnlineTrainer) {
    let greedy = trainer.convergence().mean_reward().unwrap_or(f64::NAN);
    if bar.is_hidden() && (episode.number + 1).is_multiple_of(20) {
        let loss = trainer.convergence().last_loss().0.unwrap_or(f64::NAN);
        note(&format!(
            "episode {}: greedy reward {greedy:.4}, loss {loss:.4}, noise {:.4}, drift {:+.5} a turn",
            episode.number + 1,
            episode.noise,
            episode.drift
        ));
    }
    bar.set_message(format!("greedy reward {greedy:.4}"));
    bar.set_position(u64::from(episode.number) + 1);
}
