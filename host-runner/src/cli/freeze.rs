//! `energyllm freeze`: make a policy image of a checkpoint.

use super::output::{Object, note, print};
use super::world::WorldArguments;
use super::{Format, Outcome};
use crate::atomic_file::AtomicFile;
use crate::eval::freezing::{Cost, compare, loss};
use crate::grpo::checkpoint::Checkpoint;
use crate::grpo::rollout::{Context, World};
use crate::import::prototype::Prototype;
use crate::import::torch;
use crate::input_file;
use crate::quantize::{Fidelity, freeze, trained_policy};
use crate::report::table::Table;
use anyhow::Context as _;
use clap::Args;
use controller_core::action::Knob;
use controller_core::rng::Pcg32;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Quantize a trained policy to integers and write its image.
///
/// Takes a checkpoint of `train`, or a `PyTorch` checkpoint (.pth) of the published prototype, whose
/// sizes tell what it looks at and chooses from. The report says how faithful the image is: on
/// situations met on the simulated board, or, for the prototype, on random states; and what freezing
/// costs in closed loop. It is kept as `*.fidelity.json` beside the image.
#[derive(Debug, Args)]
#[command(after_help = "Examples: energyllm freeze out/policy.ckpt --out models/policies/service.elp
          energyllm freeze grpo_model_FINAL.pth --name prototype -o out/prototype.elp")]
pub struct Arguments {
    /// The checkpoint.
    checkpoint: PathBuf,
    #[command(flatten)]
    world: WorldArguments,
    /// Name written into the image.
    #[arg(long, default_value = "service")]
    name: String,
    /// Where the image goes.
    #[arg(short, long, value_name = "FILE", default_value = "out/policy.elp")]
    out: PathBuf,
    /// Observations to calibrate on and to compare with.
    #[arg(long, default_value_t = 4096)]
    observations: usize,
    /// Seed of the situations that the observations come from, and of the first episode.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Episodes per scenario in which the policy plays before and after freezing; 0 for none.
    #[arg(long, value_name = "EPISODES", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=1000))]
    closed_loop: u64,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        (1..=1_000_000).contains(&arguments.observations),
        "--observations must lie between 1 and 1000000, not {}",
        arguments.observations
    );
    anyhow::ensure!(
        !arguments.name.is_empty() && arguments.name.chars().all(|c| !c.is_control()),
        "--name must be printable text, and not empty"
    );
    let imported = is_torch(&arguments.checkpoint);
    let (checkpoint, observations) = if imported { prototype(arguments)? } else { trained(arguments)? };
    let (bytes, fidelity) = freeze(&checkpoint, &arguments.name, &observations)
        .with_context(|| format!("cannot freeze {}", arguments.checkpoint.display()))?;
    let seeds = arguments.seed..arguments.seed + arguments.closed_loop;
    let costs = match arguments.world.world() {
        _ if seeds.is_empty() => Vec::new(),
        // The policy of somebody else was not made for a board of ours: without one it is frozen all the same.
        Err(error) if imported => {
            note(&format!("not played in closed loop: {error:#}"));
            Vec::new()
        }
        world => {
            let world = world?;
            compare(&checkpoint, &bytes, &world.profile, (&world.reward, world.limits), &seeds)
                .with_context(|| format!("{} cannot play in closed loop", arguments.checkpoint.display()))?
        }
    };
    let loss = (!costs.is_empty()).then(|| loss(&costs));
    let passed = loss.is_none_or(|loss| loss <= ENERGY_LOSS);
    AtomicFile::write(&arguments.out, &bytes)?;
    let report = arguments.out.with_extension("fidelity.json");
    let text =
        serde_json::to_string_pretty(&Report { fidelity: &fidelity, energy_loss_share: loss, closed_loop: &costs })?;
    AtomicFile::write(&report, format!("{text}\n").as_bytes())?;
    let mut object = Object::new("freeze", Some(arguments.seed), !imported || loss.is_some());
    object.pass = passed;
    if let Some(loss) = loss {
        object.figure("closed_loop_energy_loss_share", loss);
    }
    object.rows = costs.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    object.figure("image_bytes", bytes.len());
    object.figure("observations", fidelity.observations);
    object.figure("same_action_share", fidelity.same_action);
    for (knob, share) in Knob::ALL.into_iter().zip(fidelity.same_choice) {
        object.figure(&format!("same_{}_share", knob.to_string().replace(' ', "_")), share);
    }
    object.figure("worst_probability_lost", fidelity.worst_loss);
    object.figure("mean_probability_distance", fidelity.mean_distance);
    object.figure("worst_probability_distance", fidelity.worst_distance);
    object.figure("saturated_activations_share", fidelity.saturated);
    match format {
        Format::Json => {
            object.wall("report", report.display().to_string());
            object.print()?;
        }
        Format::Text => {
            print(&describe(arguments, bytes.len(), &fidelity, imported))?;
            print(&describe_closed_loop(&costs, loss))?;
        }
    }
    Ok(if passed { Outcome::Passed } else { Outcome::Failed })
}

/// What freezing may cost in closed loop, of the energy per token.
const ENERGY_LOSS: f64 = 0.002;

/// The report beside the image.
#[derive(Serialize)]
struct Report<'a> {
    fidelity: &'a Fidelity,
    energy_loss_share: Option<f64>,
    closed_loop: &'a [Cost],
}

fn describe_closed_loop(costs: &[Cost], loss: Option<f64>) -> String {
    let Some(loss) = loss else { return "not played in closed loop".to_owned() };
    let mut table =
        Table::new(["closed loop (simulated)", "trained J/token", "frozen J/token", "reward before", "after"]);
    for cost in costs {
        let [before, after] = [cost.trained_j_per_token, cost.frozen_j_per_token].map(|joule| format!("{joule:.5}"));
        let [was, is] = [cost.trained_reward, cost.frozen_reward].map(|reward| format!("{reward:.5}"));
        table.row([cost.scenario.clone(), before, after, was, is]);
    }
    let verdict = if loss <= ENERGY_LOSS { "within" } else { "above" };
    format!(
        "{table}energy per token after freezing: {:+.3} %, {verdict} the limit of {} %",
        loss * 100.0,
        ENERGY_LOSS * 100.0
    )
}

/// The file begins as a `PyTorch` checkpoint does. What cannot be read is for the readers to say.
fn is_torch(path: &Path) -> bool {
    input_file::read(path).is_ok_and(|bytes| bytes.starts_with(&torch::MAGIC))
}

/// A policy of the published prototype, and random states of its own.
fn prototype(arguments: &Arguments) -> anyhow::Result<(Checkpoint, Vec<Vec<i16>>)> {
    let prototype = Prototype::read(&arguments.checkpoint)
        .with_context(|| format!("cannot import {}", arguments.checkpoint.display()))?;
    let observations = prototype.form.sample(arguments.observations, arguments.seed);
    Ok((prototype.checkpoint(), observations))
}

/// A policy of `train`, and what it meets on its board.
fn trained(arguments: &Arguments) -> anyhow::Result<(Checkpoint, Vec<Vec<i16>>)> {
    let checkpoint = Checkpoint::read(&arguments.checkpoint)?;
    let world = arguments.world.world()?;
    anyhow::ensure!(
        world.profile.actions == checkpoint.content.actions,
        "{} was trained for other knobs than {} has; give the board it was trained for",
        arguments.checkpoint.display(),
        arguments.world.board.display()
    );
    let observations = meet(&world, &checkpoint, arguments.observations, arguments.seed)?;
    Ok((checkpoint, observations))
}

fn describe(arguments: &Arguments, length: usize, fidelity: &Fidelity, imported: bool) -> String {
    let states = if imported { "random states" } else { "situations met on the simulated board" };
    let mut lines = vec![
        format!("{}: {length} bytes", arguments.out.display()),
        format!(
            "same action as the trained policy on {:.2} % of {} {states}",
            fidelity.same_action * 100.0,
            fidelity.observations
        ),
    ];
    let shares = Knob::ALL.into_iter().zip(fidelity.same_choice);
    lines.extend(shares.map(|(knob, share)| format!("  same {:<14} {:.2} %", knob.to_string(), share * 100.0)));
    let Fidelity { mean_distance, worst_distance, .. } = fidelity;
    lines.push(format!(
        "probability moved to other choices: {mean_distance:.5} in the mean, {worst_distance:.4} at worst"
    ));
    lines.push(format!("probability lost at worst by a changed choice: {:.4}", fidelity.worst_loss));
    lines.join("\n")
}

/// Observations that the policy itself runs into, over random situations.
fn meet(world: &World, checkpoint: &Checkpoint, count: usize, seed: u64) -> anyhow::Result<Vec<Vec<i16>>> {
    let policy = trained_policy(checkpoint)?;
    let mut rng = Pcg32::new(seed);
    let mut observations = Vec::with_capacity(count);
    let mut context = Context::random(world, &mut rng);
    while observations.len() < count {
        let (telemetry, observation) = context.observe(world);
        let heads = policy.heads(&observation, &checkpoint.content.actions);
        context.act(world, &telemetry, heads.greedy());
        observations.push(observation);
        // Short visits to many situations: neighbours in time look alike.
        if observations.len() % 16 == 0 || context.is_over() {
            context = Context::random(world, &mut rng);
        }
    }
    Ok(observations)
}
