//! `energyllm overhead --board jetson`.

use super::super::board::real::RealBoard;
use super::super::board::work::quality_of;
use super::super::interrupt::{self, STOP};
use super::super::output::{note, printable};
use super::super::{Format, Outcome};
use super::{Arguments, progress_bar, report};
use crate::atomic_file::AtomicFile;
use crate::env::profile::BoardProfile;
use crate::input_file;
use crate::llm::{Model, ModelOptions};
use crate::overhead::ledger::Ledger;
use crate::overhead::methods::{Comparison, Start};
use crate::overhead::real::RealRig;
use crate::overhead::{Account, Step};
use crate::report::kept;
use crate::report::manifest::Manifest;
use crate::run::choice::{AnyGovernor, Choice, ChoiceError};
use crate::sweep::real::EqualRequests;
use controller_core::action::ActionSpace;
use controller_core::supervisor::Limits;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Prompt tokens of a sequence, as in the published runs.
const PROMPT_TOKENS: u32 = 17;

/// What was run is kept so often while a method is under way.
const KEEP_PERIOD: Duration = Duration::from_secs(20);

/// A method as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    steps: Vec<Step>,
    ledger: Ledger,
    group: usize,
    groups: u32,
    updates: u32,
    complete: bool,
}

/// The methods, in the order of the table. Those that learn cannot be gone on with: what they know dies with them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Inference,
    Frozen,
    Learning,
    Pretrained,
    Grid,
}

impl Method {
    const ALL: [Self; 5] = [Self::Inference, Self::Frozen, Self::Learning, Self::Pretrained, Self::Grid];

    const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Frozen => "frozen policy",
            Self::Learning => "learning policy",
            Self::Pretrained => "pretrained policy",
            Self::Grid => "grid search",
        }
    }

    const fn goes_on(self) -> bool {
        matches!(self, Self::Inference | Self::Frozen | Self::Grid)
    }

    fn record(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.part.json", self.name().replace(' ', "-")))
    }
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let real = &options.real;
    real.needs_apply("the comparison")?;
    // What cannot be written must not cost a board its clocks.
    AtomicFile::check(&options.out.join("overhead.csv"))?;
    let image = input_file::read(&options.policy)
        .map_err(|source| ChoiceError::Read { path: options.policy.clone(), source })?;
    let model = Model::load(&real.model, &ModelOptions::default())?;
    let board = RealBoard::open(&real.board, &real.profile)?;
    let profile = board.profile()?;
    let full = profile.actions.depth.last().copied().unwrap_or(1);
    let quality = quality_of(&model, &real.model, full)?;
    let limits = Limits { min_depth: quality.floor(full, profile.service.quality_floor), ..profile.limits };
    // A policy for another board is told before the first batch.
    let AnyGovernor::Learned(_) = Choice::Learned.build(&profile.actions, &options.policy, &image)? else {
        anyhow::bail!("{} is no policy", options.policy.display());
    };
    let actions = searched(&profile, full);
    // A plant with other clocks says nothing about this board.
    let simulated = profile.plant.gpu_clock_khz[..] == actions.decode_khz[..];
    if !simulated {
        note("the profile's plant has other clocks than this board: no policy is pretrained on it");
    }
    let answers =
        EqualRequests::new(&model, (PROMPT_TOKENS, options.answer_tokens), 32, options.threads, options.seed, &STOP)?;
    let mut answers = answers.full_from(full);
    let (name, header) = (printable(&board.name()), board.header());
    let manifest = Manifest::of("overhead", options.seed, &[&real.profile, &options.policy])?.on_real(&name);
    let conditions = json!({
        "version": env!("CARGO_PKG_VERSION"), "evaluations": options.evaluations, "grid_stride": options.grid_stride,
        "group": options.group, "answer_tokens": options.answer_tokens, "board": name,
        "power_mode": header.power_mode, "allowed_hz": header.allowed_hz, "power_rails": header.power_rails,
        "model_sha256": model.sha256()?, "threads": options.threads, "seed": options.seed,
        "inputs_sha256": manifest.inputs_sha256,
    });
    let comparison = Comparison {
        profile,
        limits,
        actions,
        evaluations: options.evaluations,
        grid_stride: options.grid_stride,
        group: options.group,
    };
    let methods: Vec<Method> =
        Method::ALL.into_iter().filter(|method| simulated || *method != Method::Pretrained).collect();

    let started = Instant::now();
    let bar = progress_bar(options.evaluations * (methods.len() - 1) + comparison.grid_len())?;
    let mut accounts = Vec::new();
    for method in methods {
        let record = method.record(&options.out);
        let mut kept = kept::read::<Kept>(&record, &conditions)?;
        if let Some(done) = kept.take_if(|kept| kept.complete || interrupt::is_wanted()) {
            bar.inc(done.steps.len() as u64);
            bar.reset_eta();
            accounts.push(account(method, done));
            continue;
        }
        if interrupt::is_wanted() {
            accounts.push(account(method, Kept::nothing()));
            continue;
        }
        let before = kept.filter(|_| method.goes_on()).unwrap_or_else(Kept::nothing);
        if !before.steps.is_empty() {
            note(&format!("{}: going on behind {} batches", method.name(), before.steps.len()));
            bar.inc(before.steps.len() as u64);
            bar.reset_eta();
        }
        let earlier = before.ledger.clone();
        let rig = RealRig::new(board.board(limits.temperature, &STOP)?, &mut answers, limits, before.ledger, &STOP);
        let mut last_kept = Instant::now();
        let mut go_on = |steps: &[Step], ledger: &Ledger| {
            bar.inc(1);
            if method.goes_on() && last_kept.elapsed() >= KEEP_PERIOD {
                last_kept = Instant::now();
                let so_far = Kept { steps: steps.to_vec(), ledger: ledger.clone().and(&earlier), ..Kept::nothing() };
                if let Err(error) = kept::write(&record, &conditions, &so_far) {
                    note(&error.to_string());
                }
            }
            !interrupt::is_wanted()
        };
        let done = match method {
            Method::Inference => comparison.inference(rig, before.steps, &mut go_on)?,
            Method::Frozen => comparison.deployed(rig, &image, before.steps, &mut go_on)?,
            Method::Learning => comparison.learning(rig, Start::Nothing, options.seed, &mut go_on)?,
            Method::Pretrained => comparison.learning(rig, Start::Simulation, options.seed, &mut go_on)?,
            Method::Grid => comparison.grid_search(rig, before.steps, &mut go_on)?,
        };
        if done.complete || method.goes_on() {
            let Account { steps, ledger, group, groups, updates, complete, .. } = done.clone();
            kept::write(&record, &conditions, &Kept { steps, ledger, group, groups, updates, complete })?;
        }
        accounts.push(done);
    }
    bar.finish_and_clear();
    if interrupt::is_wanted() {
        note("the same command goes on from here");
    }
    report(options, accounts, &manifest, Some(&name), started.elapsed().as_secs_f64(), format)
}

/// What is searched: every pair of clocks and every batch, at full depth, with the fan as the vendor has it.
fn searched(profile: &BoardProfile, full: u16) -> ActionSpace {
    ActionSpace {
        prefill_khz: profile.actions.prefill_khz.clone(),
        decode_khz: profile.actions.decode_khz.clone(),
        batch: (1..=32).collect(),
        depth: [full].into_iter().collect(),
        fan_pwm: [0].into_iter().collect(),
    }
}

impl Kept {
    fn nothing() -> Self {
        Self { steps: Vec::new(), ledger: Ledger::default(), group: 0, groups: 0, updates: 0, complete: false }
    }
}

fn account(method: Method, kept: Kept) -> Account {
    let Kept { steps, ledger, group, groups, updates, complete } = kept;
    Account { method: method.name(), steps, ledger, group, groups, updates, complete }
}
