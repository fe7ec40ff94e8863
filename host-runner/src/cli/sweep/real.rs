//! `energyllm sweep --board jetson`.

use super::super::board::real::RealBoard;
use super::super::interrupt::STOP;
use super::super::output::{note, printable};
use super::super::{Format, Outcome};
use super::{Knobs, batches, plan, sweep};
use crate::atomic_file::AtomicFile;
use crate::llm::{Model, ModelOptions};
use crate::sweep::file::RealPlan;
use crate::sweep::real::{EqualRequests, RealRig};

pub fn run(options: &super::Arguments, format: Format) -> anyhow::Result<Outcome> {
    let real = &options.real;
    anyhow::ensure!(
        options.ambient.is_none() && options.interference.is_none(),
        "--ambient and --interference are for a simulated board; leave them away"
    );
    real.needs_apply("a sweep")?;
    // What cannot be written must not cost a board its clocks.
    AtomicFile::check(&options.out)?;
    let model = Model::load(&real.model, &ModelOptions::default())?;
    let board = RealBoard::open(&real.board, &real.profile)?;
    let profile = board.profile()?;
    let clocks_khz = board.clocks_khz();
    let place = |khz: &u32| clocks_khz.iter().position(|clock| clock == khz);
    let knobs = Knobs {
        clocks: clocks_khz.len(),
        usual_clocks: profile.actions.decode_khz.iter().filter_map(place).collect(),
        usual_batches: batches(&profile),
        layers: model.n_layer(),
    };
    let header = board.header();
    let about = RealPlan {
        clocks_khz: clocks_khz.clone(),
        power_mode: header.power_mode,
        power_rails: header.power_rails,
        model: model.name().to_owned(),
        model_sha256: model.sha256()?,
        threads: options.threads,
    };
    let plan = plan(options, &knobs, &real.profile, &printable(&board.name()), Some(about))?;
    let allowed = header.allowed_hz.1 / 1000;
    if let Some(index) = plan
        .grid
        .prefill
        .iter()
        .chain(&plan.grid.decode)
        .find(|index| clocks_khz.get(**index).is_some_and(|khz| u64::from(*khz) > allowed))
    {
        anyhow::bail!(
            "the clock {index} is above the {} MHz that the power mode allows; sweep lower ones, or set another mode",
            allowed / 1000
        );
    }
    if plan.grid.depth.iter().any(|depth| u32::from(*depth) < model.n_layer()) {
        model.require_exits()?;
    }
    let most = plan.grid.batch.iter().copied().max().unwrap_or(1);
    let lengths = (options.prompt_tokens, options.answer_tokens);
    let answers = EqualRequests::new(&model, lengths, most, options.threads, options.seed, &STOP)?;
    let jetson = board.board(profile.limits.temperature, &STOP)?;
    let mut rig = RealRig::new(jetson, answers, clocks_khz, profile.limits, options.gap, &STOP);
    let outcome = sweep(options, &plan, &mut rig, format);
    let incidents = rig.into_board().incidents().to_string();
    if !incidents.is_empty() {
        note(&format!("sweep: on the board: {incidents}"));
    }
    outcome
}
