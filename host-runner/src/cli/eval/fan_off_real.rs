//! `energyllm eval --suite fan-off --board jetson`.

use super::super::board::real::RealBoard;
use super::super::board::work::quality_of;
use super::super::interrupt::{self, STOP};
use super::super::output::{note, printable};
use super::super::{Format, Outcome};
use super::Arguments;
use super::fan_off::{file_name, plan, players, progress_bar, report, trace_path};
use crate::atomic_file::AtomicFile;
use crate::eval::fan_off::real::RealRig;
use crate::eval::fan_off::trace::Trace;
use crate::eval::fan_off::{Ending, Played, Player, Run, Setup, play};
use crate::input_file;
use crate::llm::{Model, ModelOptions};
use crate::report::kept;
use crate::report::manifest::Manifest;
use crate::run::choice::{Choice, ChoiceError};
use crate::sweep::real::EqualRequests;
use anyhow::Context as _;
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use serde_json::json;
use std::time::Instant;

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let real = &options.real;
    anyhow::ensure!(options.ambient.is_none(), "--ambient is for a simulated board; leave it away");
    real.needs_apply("the test")?;
    let plan = plan(options)?;
    let players = players(options);
    // What cannot be written must not cost a board its clocks.
    AtomicFile::check(&options.out.join("FAN_OFF_RESULTS.csv"))?;
    let policy = options.policy.clone();
    let learned = players.contains(&Player::Supervised(Choice::Learned));
    let image = if learned {
        input_file::read(&policy).map_err(|source| ChoiceError::Read { path: policy.clone(), source })?
    } else {
        vec![]
    };
    let model = Model::load(&real.model, &ModelOptions::default())?;
    let board = RealBoard::open(&real.board, &real.profile)?;
    let profile = board.profile()?;
    let full = profile.actions.depth.last().copied().unwrap_or(1);
    let quality = quality_of(&model, &real.model, full)?;
    let reward = Service { quality: quality.table(&profile.actions.depth, full), ..profile.service.clone() };
    let limits = Limits { min_depth: quality.floor(full, reward.quality_floor), ..profile.limits };
    let setup = Setup { actions: profile.actions, limits, reward, policy: (policy.clone(), image), plan };
    // One that this board does not have is told before the first batch, not an hour later.
    for player in &players {
        setup.check(player)?;
    }
    let most = setup.actions.batch.last().copied().unwrap_or(1);
    let threads = u32::try_from(options.threads).context("more threads than there can be")?;
    let lengths = (plan.prompt_tokens, plan.answer_tokens);
    let answers = EqualRequests::new(&model, lengths, most, threads, options.seed, &STOP)?;
    let mut answers = answers.full_from(full);
    let (name, header) = (printable(&board.name()), board.header());
    let mut inputs = vec![real.profile.as_path()];
    inputs.extend(learned.then_some(policy.as_path()));
    let manifest = Manifest::of("eval fan-off", options.seed, &inputs)?.on_real(&name);
    let conditions = json!({
        "version": env!("CARGO_PKG_VERSION"), "plan": plan, "board": name, "power_mode": header.power_mode,
        "allowed_hz": header.allowed_hz, "power_rails": header.power_rails, "model_sha256": model.sha256()?,
        "threads": threads, "seed": options.seed, "inputs_sha256": manifest.inputs_sha256,
    });

    let started = Instant::now();
    let bar = progress_bar(options, &players)?;
    let (mut runs, mut interrupted, mut begin_c) = (Vec::new(), false, None);
    for player in &players {
        let record = options.out.join(format!("FAN_OFF_RUN_{}.json", file_name(player)));
        if let Some((run, start_c)) = kept::read::<(Run, Option<f64>)>(&record, &conditions)? {
            note(&format!("{player} is done already"));
            bar.inc(u64::from(options.requests));
            bar.reset_eta();
            begin_c = begin_c.or(start_c);
            runs.push(run);
            continue;
        }
        bar.set_message(player.to_string());
        let jetson = board.board(limits.temperature, &STOP)?;
        let trace = trace_path(options, player);
        let trace = Trace::start(jetson.sampler(), player.to_string(), &trace, options.sample_s)?;
        let mut rig = RealRig::new(plan, jetson, &mut answers, trace, begin_c, &STOP)?;
        let start_c = rig.start_c();
        let Played { ending, batches } = play(&setup, player, &mut rig, || {
            bar.inc(1);
            !interrupt::is_wanted()
        })?;
        let (samples, whole, incidents) = rig.finish()?;
        if !incidents.is_empty() {
            note(&format!("{player}: on the board: {incidents}"));
        }
        begin_c = begin_c.or(start_c);
        let run = Run { player: player.clone(), ending, batches, samples, whole };
        interrupted = ending == Ending::Interrupted;
        if !interrupted {
            kept::write(&record, &conditions, &(&run, start_c))?;
        }
        runs.push(run);
        if interrupted {
            note("stopped by the user; what was run so far is written, and the same command goes on from here");
            break;
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let pass = report(options, &runs, &manifest, Some(&name), seconds, format)?;
    Ok(Outcome::of(pass, interrupted))
}
