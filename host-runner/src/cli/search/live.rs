//! `energyllm search live`: commission a board.

use super::super::commissioned::Commissioned;
use super::super::output::{Object, note, print};
use super::super::world::WorldArguments;
use super::super::{Format, Outcome};
use crate::atomic_file::AtomicFile;
use crate::env::commission::{ANSWER_TOKENS, Trials, arms};
use crate::env::replay::{Arm, Replay};
use crate::report::manifest::Manifest;
use crate::run::choice::Choice;
use crate::search::boards::{full_batch, vary};
use crate::search::commissioning::{Found, Plan, search};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use controller_core::action::{Action, ActionSpace, Knob};
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::noise::Generator;
use firmware_sim::plant::{Conditions, Profile};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Find a near-best setting of a board that nobody knows, in about a dozen evaluations.
///
/// First the reference is measured (highest clock, largest batch), then the energy budget is stated, then the search
/// pulls settings under the supervisor, and at the end found setting and reference take turns for the confidence interval of
/// the saving. Cost: half energy per request, half response at the offered load, as in `search replay`. The search knows
/// nothing of the board: its prior is `model_generic`. With --board-seed the simulated board has
/// another engine and silicon than its profile says.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm search live                            the simulated board of the shipped profile
  energyllm search live --board-seed 3 --json      a simulated board that no profile describes
  energyllm run --fallback out/commissioned.json   the policy is never worse than what was found
  energyllm train online --from out/commissioned.json   training starts from it and stays near it")]
pub struct Arguments {
    #[command(flatten)]
    world: WorldArguments,
    /// Which kind of board; others are not supported yet.
    #[arg(long, value_enum, default_value = "sim")]
    on: Kind,
    /// Draw another board: every number of decode time and power off by some 15 to 100 percent.
    #[arg(long, value_name = "SEED")]
    board_seed: Option<u64>,
    /// Evaluations of the search.
    #[arg(long, default_value_t = 12)]
    evaluations: usize,
    /// Batches per evaluation.
    #[arg(long, default_value_t = 2)]
    batches: u32,
    /// Pairs of batches in the final comparison.
    #[arg(long, default_value_t = 8)]
    pairs: u32,
    /// Offered load that the setting is for, requests per second.
    #[arg(long, value_name = "RATE", default_value_t = 4.0)]
    lambda: f64,
    /// Air around the board, °C.
    #[arg(long, value_name = "CELSIUS", default_value_t = 25.0, allow_negative_numbers = true)]
    ambient: f64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the found setting goes, as JSON.
    #[arg(long, value_name = "FILE", default_value = "out/commissioned.json")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The simulated board.
    Sim,
}

fn check(options: &Arguments) -> anyhow::Result<()> {
    let within = |name: &str, value: usize, low: usize, high: usize| {
        anyhow::ensure!((low..=high).contains(&value), "{name} must lie between {low} and {high}, not {value}");
        Ok(())
    };
    within("--evaluations", options.evaluations, 1, 1000)?;
    within("--batches", options.batches as usize, 1, 100)?;
    within("--pairs", options.pairs as usize, 2, 1000)?;
    anyhow::ensure!(
        (0.001..=1000.0).contains(&options.lambda),
        "--lambda must lie between 0.001 and 1000 requests per second, not {}",
        options.lambda
    );
    anyhow::ensure!(
        (-40.0..=60.0).contains(&options.ambient),
        "--ambient must lie between -40 and 60 °C, not {}",
        options.ambient
    );
    Ok(())
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    check(options)?;
    let Kind::Sim = options.on;
    let world = options.world.world()?;
    AtomicFile::check(&options.out)?;
    Manifest::of("search live", options.seed, &[&options.world.board, &options.world.depths])?
        .write(&options.out.with_extension("manifest.json"))?;
    let plant = match options.board_seed {
        Some(seed) => vary(&world.profile.plant, ANOTHER_BOARD, &mut Generator::new(seed)),
        None => world.profile.plant.clone(),
    };
    let started = Instant::now();
    let conditions = Conditions {
        ambient_c: options.ambient,
        start_c: options.ambient + 20.0,
        seed: options.seed,
        limit_c: f64::from(world.limits.temperature.0) / 1000.0,
        ..Conditions::default()
    };
    let actions = world.profile.actions.clone();
    let (settings, choices) = arms(&actions, world.limits.min_depth);
    anyhow::ensure!(
        settings.len() > 1,
        "the board has no two settings with equal prefill and decode clocks to choose from"
    );
    let board = SimulatedBoard::new(&plant, conditions);
    let mut trials = Trials::new(board, actions.clone(), world.limits, world.reward.clone())?;
    let plan = Plan {
        evaluations: options.evaluations,
        batches: options.batches,
        pairs: options.pairs,
        requests_per_s: options.lambda,
        seed: options.seed,
    };
    let found = search(&mut trials, &settings, &choices, &plan, |announced| {
        note(&format!(
            "reference measured with {:.0} J; search and comparison will take at most {:.0} J (simulated)",
            announced.reference_j, announced.budget_j
        ));
    })
    .context("the board cannot be commissioned")?;
    let result = Judged::of(&found, &settings, &choices, &actions, &plant, options);
    let mut file = serde_json::to_string_pretty(&result.handed_over(&found, options))?;
    file.push('\n');
    AtomicFile::write(&options.out, file.as_bytes())?;
    let pass =
        trials.peak_c() <= f64::from(world.limits.temperature.0) / 1000.0 && found.spent_j <= found.announced.budget_j;
    match format {
        Format::Text => print(&describe(&found, &result, &trials, options))?,
        Format::Json => {
            let mut object = object(&found, &result, &trials, &settings, options);
            object.pass = pass;
            object.wall("seconds", started.elapsed().as_secs_f64());
            object.wall("out", options.out.display().to_string());
            object.print()?;
        }
    }
    Ok(if pass { Outcome::Passed } else { Outcome::Failed })
}

/// How much wider than between two sessions of one board the numbers of another board lie.
const ANOTHER_BOARD: f64 = 5.0;

/// The found setting, and what only the simulator knows: how far it is from the best.
struct Judged {
    setting: String,
    above_best: f64,
    best: Arm,
}

impl Judged {
    fn of(
        found: &Found,
        settings: &[Arm],
        choices: &[Action],
        actions: &ActionSpace,
        plant: &Profile,
        options: &Arguments,
    ) -> Self {
        let action = choices[found.arm];
        let value = |knob| usize::from(action.get(knob));
        let depth = actions.depth[value(Knob::Depth)];
        let truth: Vec<_> = settings.iter().map(|arm| (*arm, full_batch(plant, *arm, u32::from(depth)))).collect();
        let replay = Replay::of_outcomes(&truth, options.lambda, 0.0).expect("two arms or more");
        let choice = Choice::Fixed {
            prefill: action.prefill,
            decode: action.decode,
            batch: actions.batch[value(Knob::Batch)],
            depth,
            fan_pwm: actions.fan_pwm[value(Knob::Fan)],
        };
        Self {
            setting: choice.to_string(),
            above_best: replay.true_cost(found.arm) / replay.true_cost(replay.best()) - 1.0,
            best: settings[replay.best()],
        }
    }

    /// What later commands start from: the static fallback of a run and the reference of a training.
    fn handed_over(&self, found: &Found, options: &Arguments) -> Commissioned {
        Commissioned {
            governor: self.setting.clone(),
            simulated: true,
            requests_per_s: options.lambda,
            evaluations: found.evaluations,
            energy_saved_share: found.energy_saved.mean,
            energy_saved_half_width_share: found.energy_saved.half_width,
            cost_saved_share: found.cost_saved.mean,
            cost_saved_half_width_share: found.cost_saved.half_width,
        }
    }
}

fn object(found: &Found, result: &Judged, trials: &Trials, settings: &[Arm], options: &Arguments) -> Object {
    let mut object = Object::new("search live", Some(options.seed), true);
    object.figure("evaluations", found.evaluations);
    object.figure("batches", trials.batches());
    object.figure("budget_j", found.announced.budget_j);
    object.figure("spent_j", found.spent_j);
    object.figure("reference_j", found.announced.reference_j);
    object.figure("noise_sd", found.announced.noise_sd);
    object.figure("clock_ghz", settings[found.arm].clock_ghz);
    object.figure("batch", settings[found.arm].batch);
    object.figure("expected_cost", found.expected.0);
    object.figure("expected_cost_sd", found.expected.1);
    object.figure("energy_saved_share", found.energy_saved.mean);
    object.figure("energy_saved_half_width_share", found.energy_saved.half_width);
    object.figure("cost_saved_share", found.cost_saved.mean);
    object.figure("cost_saved_half_width_share", found.cost_saved.half_width);
    object.figure("true_cost_above_best_share", result.above_best);
    object.figure("best_clock_ghz", result.best.clock_ghz);
    object.figure("best_batch", result.best.batch);
    object.figure("max_temperature_c", trials.peak_c());
    object.figure("overruled", trials.overruled());
    let row = |(arm, cost): &(usize, f64)| json!({ "clock_ghz": settings[*arm].clock_ghz, "batch": settings[*arm].batch, "cost": cost });
    object.rows = found.history.iter().map(row).collect();
    object
}

fn describe(found: &Found, result: &Judged, trials: &Trials, options: &Arguments) -> String {
    let percent = |share: f64| share * 100.0;
    format!(
        "simulated board, {} requests/s: {} after {} evaluations\n\
         energy per request {:.1} ± {:.1} % below the reference's (95 %), cost {:.1} ± {:.1} %; answers of {ANSWER_TOKENS} tokens\n\
         energy: {:.0} J of a budget of {:.0} J, and {:.0} J for the reference; highest {:.1} °C; {} trials refused by the supervisor\n\
         what only the simulator knows: cost {:.2} % above the best setting's ({:.0} MHz, batch {:.0})\n{}",
        options.lambda,
        result.setting,
        found.evaluations,
        percent(found.energy_saved.mean),
        percent(found.energy_saved.half_width),
        percent(found.cost_saved.mean),
        percent(found.cost_saved.half_width),
        found.spent_j,
        found.announced.budget_j,
        found.announced.reference_j,
        trials.peak_c(),
        trials.overruled(),
        percent(result.above_best),
        result.best.clock_ghz * 1000.0,
        result.best.batch,
        options.out.display()
    )
}
