//! One job: read and check everything, then run each governor over the same requests.

use super::super::board::real::RealBoard;
use super::super::board::work::quality_of;
use super::super::commissioned::with_fallback;
use super::super::output::note;
use super::present::{progress_bar, show_progress};
use super::{Arguments, DEFAULT_PROMPTS, FanOff, SHIPPED_REQUESTS, STOP};
use crate::atomic_file::AtomicFile;
use crate::board::actuator::incidents::Incidents;
use crate::env::board::Board;
use crate::env::profile::BoardProfile;
use crate::env::quality::Quality;
use crate::env::queue::Queue;
use crate::env::service::Service;
use crate::input_file;
use crate::link::events::LinkReport;
use crate::link::keeper::Assignment;
use crate::link::wire::in_process::InProcess;
use crate::link::wire::program::Program;
use crate::link::wire::{Opener, Wire};
use crate::llm::{Model, ModelOptions, Pass, Price};
use crate::run::choice::{AnyGovernor, Choice, ChoiceError};
use crate::run::control::{Control, Place};
use crate::run::decoding::Decoding;
use crate::run::firmware::Firmware;
use crate::run::llama::{Llama, LlamaOptions, board_layers};
use crate::run::prompts::{self, Prompt};
use crate::run::record::{Header, RecordFile};
use crate::run::summary::{Collector, DecisionCost, Summary};
use crate::run::{Course, TurnRecord, serve};
use anyhow::Context as _;
use controller_core::control::{Controller, RewardRule};
use controller_core::protocol::Configuration;
use controller_core::reward::service::Service as ServiceReward;
use controller_core::supervisor::{FallbackRule, Limits};
use controller_core::units::MilliCelsius;
use firmware_sim::board::SimulatedBoard;
use firmware_sim::plant::Conditions;
use firmware_sim::plant::latency::decode_step_seconds;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything read and checked before the first batch.
pub(super) struct Job<'a> {
    pub(super) options: &'a Arguments,
    pub(super) profile: BoardProfile,
    pub(super) quality: Quality,
    pub(super) model: Model,
    pub(super) prompts: Vec<Prompt>,
    pub(super) image: Vec<u8>,
    pub(super) requests: usize,
    pub(super) fan_off_at: Option<usize>,
    pub(super) limits: Limits,
    /// The real board, where one was asked for. Dropped, it is given back.
    pub(super) real: Option<RealBoard>,
}

/// One governor's run.
pub(super) struct Run {
    pub(super) governor: Choice,
    pub(super) summary: Summary,
    pub(super) turns: Vec<TurnRecord>,
    pub(super) decision_cost: Option<DecisionCost>,
    pub(super) wall_s: f64,
    /// What went otherwise than wished on a real board.
    pub(super) incidents: Option<Incidents>,
    pub(super) link: Option<LinkReport>,
}

impl<'a> Job<'a> {
    pub(super) fn prepare(options: &'a Arguments) -> anyhow::Result<Self> {
        let plausible = |what: &str, value: f64, low: f64, high: f64| {
            anyhow::ensure!((low..=high).contains(&value), "{what} must lie between {low} and {high}, not {value}");
            Ok(())
        };
        plausible("--ambient", options.ambient(), -40.0, 70.0)?;
        plausible("--start", options.start(), -40.0, 100.0)?;
        plausible("--rate", options.rate, 1e-3, 1e3)?;
        anyhow::ensure!(options.requests != Some(0), "--requests must be at least 1");
        anyhow::ensure!(
            options.draft.0.is_none() || options.gate.0.is_none(),
            "--draft and --gate exclude each other: drafts keep the texts of all layers, a gate changes them; leave one off"
        );
        anyhow::ensure!(options.max_new_tokens > 0, "--max-new-tokens must be at least 1");
        let profile = if options.is_real() { None } else { Some(BoardProfile::read(&options.board)?) };
        let prompts = prompts::read(&options.prompts)?;
        let shipped = same_file(&options.prompts, Path::new(DEFAULT_PROMPTS));
        let requests = options.requests.unwrap_or(if shipped { SHIPPED_REQUESTS } else { prompts.len() });
        let fan_off_at = match options.fan_off_at {
            None => Some(requests / 2).filter(|_| !options.is_real()),
            Some(FanOff::At(request)) => {
                anyhow::ensure!(
                    request < requests,
                    "--fan-off-at {request} lies behind the last of {requests} requests; write `--fan-off-at never` for a fan \
                     that works, or a lower number"
                );
                Some(request)
            }
            Some(FanOff::Never) => None,
        };
        let learned = options.governors().contains(&Choice::Learned);
        let image = if learned { read_policy(&options.policy)? } else { Vec::new() };
        let model = Model::load(&options.model, &ModelOptions::default())?;
        if let Err(no_exits) = model.require_exits() {
            let plain = options.draft.0.is_none() && options.gate.0.is_none() && !options.any_depth;
            anyhow::ensure!(plain, "{no_exits}; leave out --draft, --gate and --any-depth");
            note(&no_exits.to_string());
        }
        // An output that cannot be written must not cost a whole run.
        for name in ["record.jsonl", "run.png"] {
            let path = options.out.join(name);
            anyhow::ensure!(!path.is_dir(), "{} is a folder; choose another place with --out", path.display());
            AtomicFile::check(&path)?;
        }
        let real = if options.is_real() { Some(RealBoard::open(&options.real, &options.profile)?) } else { None };
        let profile = match (profile, &real) {
            (Some(profile), _) => profile,
            (None, Some(real)) => real.profile()?,
            (None, None) => unreachable!("a run is simulated or real"),
        };
        let profile = match &options.fallback {
            Some(path) => with_fallback(profile, path)?,
            None => profile,
        };
        let full = profile.actions.depth.last().copied().unwrap_or(1);
        let quality = quality_of(&model, &options.model, full)?;
        let min_depth = if options.any_depth { 1 } else { quality.floor(full, profile.service.quality_floor) };
        let temperature = match options.limit {
            None => profile.limits.temperature,
            Some(limit) => {
                plausible("--limit", limit, 40.0, 105.0)?;
                #[expect(clippy::cast_possible_truncation, reason = "checked above")]
                let limit = MilliCelsius((limit * 1000.0).round() as i32);
                limit
            }
        };
        let limits = Limits { min_depth, temperature, ..profile.limits };
        Ok(Self { options, profile, quality, model, prompts, image, requests, fan_off_at, limits, real })
    }

    fn reward(&self) -> RewardRule {
        let depths = &self.profile.actions.depth;
        let full = depths.last().copied().unwrap_or(1);
        let quality = self.quality.table(depths, full);
        RewardRule::Service(ServiceReward { quality, ..self.profile.service.clone() })
    }

    /// What the governor must not be worse than. A baseline is what it is, and stays so.
    pub(super) fn fallback(&self, governor: &Choice) -> Option<FallbackRule> {
        self.profile.fallback.filter(|_| *governor == Choice::Learned && !self.options.no_fallback)
    }

    /// Runs one governor over the same requests, from a fresh board where it is simulated.
    pub(super) fn serve(&self, choice: Choice) -> anyhow::Result<Run> {
        let Some(real) = &self.real else {
            let options = self.options;
            let conditions = Conditions {
                ambient_c: options.ambient(),
                start_c: options.start(),
                seed: options.seed,
                limit_c: f64::from(self.limits.temperature.0) / 1000.0,
                ..Conditions::default()
            };
            return Ok(self.serve_on(choice, SimulatedBoard::new(&self.profile.plant, conditions))?.0);
        };
        let (mut run, board) = self.serve_on(choice, real.board(self.limits.temperature, &STOP)?)?;
        if board.poorly_covered() > 0 {
            note(&format!(
                "in {} turns samples of power were missing for more than a tenth of the time; their energy is scaled up",
                board.poorly_covered()
            ));
        }
        run.incidents = Some(board.incidents());
        Ok(run)
    }

    fn serve_on<B: Board>(&self, choice: Choice, board: B) -> anyhow::Result<(Run, B)> {
        let options = self.options;
        let mut controller = self.controller(&choice)?;
        let full_depth = self.profile.actions.depth.last().copied().unwrap_or(1);
        let answers = Llama::new(
            &self.model,
            &self.prompts,
            &LlamaOptions {
                max_batch: self.profile.actions.batch.last().copied().unwrap_or(1),
                context: options.context,
                max_new_tokens: options.max_new_tokens,
                threads: options.threads,
                full_depth,
                decoding: options.decoding(),
                price: Some(self.price(full_depth)),
            },
            &STOP,
        )?;
        let mut service = Service::new(board, Queue::new(options.rate, self.requests, options.seed), answers);
        let course = Course { prompts: &self.prompts, fan_off_at: self.fan_off_at, stop: &STOP };
        let mut record =
            RecordFile::create(&options.out.join(record_name(&options.governor, &choice)), &self.header(&choice)?)?;
        let bar = progress_bar(self.requests, &choice)?;
        let started = Instant::now();
        let mut collector = Collector::default();
        let mut turns = Vec::new();
        let finished = serve(&mut service, controller.as_control(), &course, |turn| {
            record.turn(turn)?;
            collector.add(turn);
            for event in &turn.link {
                note(&format!("turn {}: {event}", turn.step.sequence));
            }
            show_progress(&bar, turn, &collector, self.requests);
            turns.push(turn.clone());
            Ok(())
        })?;
        bar.finish_and_clear();
        let summary = collector.finish(&finished);
        record.finish(&summary)?;
        let link = controller.report();
        let wall_s = started.elapsed().as_secs_f64();
        let decision_cost = DecisionCost::of(&finished.decision_ns);
        let run = Run { governor: choice, summary, turns, decision_cost, wall_s, link, incidents: None };
        Ok((run, service.into_board()))
    }

    /// What a run of the model costs on the simulated board, at its lowest clock: there arithmetic weighs most against
    /// launches.
    fn price(&self, full_depth: u16) -> Price {
        let (plant, model_layers) = (self.profile.plant.clone(), self.model.n_layer());
        let clock_khz = plant.gpu_clock_khz.first().copied().unwrap_or(1);
        Price::new(move |Pass { tokens, layers }| {
            let depth = u32::from(board_layers(layers, model_layers, full_depth));
            Duration::from_secs_f64(decode_step_seconds(&plant, clock_khz, tokens, depth, 1.0))
        })
    }

    /// The firmware knows policies only; any other governor decides in this process.
    fn controller(&self, choice: &Choice) -> anyhow::Result<AnyController<'_>> {
        let options = self.options;
        let (actions, limits, reward) = (self.profile.actions.clone(), self.limits, self.reward());
        let fallback = self.fallback(choice);
        let governor = choice.build(&actions, &options.policy, &self.image)?;
        let schema = match &governor {
            AnyGovernor::Learned(learned) => Some(learned.network().outline().schema()),
            _ => None,
        };
        let own = Controller::new(governor, actions.clone(), limits, reward.clone())?;
        let own = match fallback {
            Some(rule) => own.with_fallback(rule)?,
            None => own,
        };
        let (Some(schema), Some(opener)) = (schema, self.opener()?) else {
            return Ok(AnyController::InProcess(Box::new(own)));
        };
        let assignment = Assignment {
            image: self.image.clone(),
            schema,
            configuration: Configuration { actions, limits, reward, fallback },
            longest_batch: Duration::from_secs(options.longest_batch),
        };
        Ok(AnyController::Firmware(Firmware::start(opener, assignment, own)?))
    }

    /// How the line to the firmware is opened; `None` when the decisions are made here.
    fn opener(&self) -> anyhow::Result<Option<Opener>> {
        Ok(match &self.options.controller {
            Place::InProcess => None,
            Place::Firmware => Some(Box::new(|| Ok(Box::new(InProcess::default()) as Box<dyn Wire>))),
            Place::Qemu => Some(qemu(&self.options.firmware)?),
            Place::Link(address) => Some(address.opener()),
        })
    }

    fn header(&self, governor: &Choice) -> anyhow::Result<Header> {
        let options = self.options;
        Ok(Header {
            record: "energyllm-run",
            format: 1,
            version: env!("CARGO_PKG_VERSION"),
            seed: options.seed,
            simulated: self.real.is_none(),
            real: self.real.as_ref().map(RealBoard::header),
            board: self.real.as_ref().map_or_else(|| self.profile.plant.name.to_string(), RealBoard::name),
            board_sha256: sha256_of(self.real.as_ref().map_or(&options.board, RealBoard::profile_path))?,
            governor: governor.to_string(),
            fallback: self.fallback(governor).map(|rule| rule.setting),
            policy_sha256: (*governor == Choice::Learned).then(|| hex(&self.image)),
            model: self.model.name().to_owned(),
            model_sha256: self.model.sha256()?,
            prompts_sha256: sha256_of(&options.prompts)?,
            depths_sha256: sha256_of(&options.model.with_file_name("depths.json")).ok(),
            requests: self.requests,
            rate_per_s: options.rate,
            fan_off_at: self.fan_off_at,
            ambient_c: Some(options.ambient()).filter(|_| self.real.is_none()),
            start_c: Some(options.start()).filter(|_| self.real.is_none()),
            temperature_limit_c: f64::from(self.limits.temperature.0) / 1000.0,
            max_new_tokens: options.max_new_tokens,
            context_tokens: options.context,
            threads: options.threads,
            min_depth: self.limits.min_depth,
            decoding: Some(options.decoding()).filter(|decoding| *decoding != Decoding::Plain).map(|d| d.to_string()),
        })
    }
}

/// The controller of a run, wherever it is.
enum AnyController<'a> {
    InProcess(Box<Controller<AnyGovernor<'a>>>),
    Firmware(Firmware<'a>),
}

impl AnyController<'_> {
    fn as_control(&mut self) -> &mut dyn Control {
        match self {
            Self::InProcess(controller) => controller.as_mut(),
            Self::Firmware(firmware) => firmware,
        }
    }

    /// Says who decided and what the line carried, when there was one.
    fn report(&self) -> Option<LinkReport> {
        let Self::Firmware(firmware) = self else { return None };
        let report = firmware.report();
        let LinkReport { by_firmware, by_host, lost, traffic, .. } = report;
        let per_turn = |bytes: u64| (2 * bytes).checked_div(traffic.round_trips).unwrap_or(0);
        note(&format!(
            "the firmware decided {by_firmware} turns and this host {by_host}; the link was lost {lost} times. {} bytes \
             went to the firmware and {} came back, a turn takes {} and {} of them",
            traffic.all.sent,
            traffic.all.received,
            per_turn(traffic.turns.sent),
            per_turn(traffic.turns.received),
        ));
        Some(report)
    }
}

fn qemu(firmware: &Path) -> anyhow::Result<Opener> {
    anyhow::ensure!(firmware.is_file(), "there is no firmware {}; `./x firmware` builds it", firmware.display());
    let firmware = firmware.to_owned();
    Ok(Box::new(move || {
        let started = Program::qemu(&firmware);
        let missing = |error: std::io::Error| {
            let text = format!("cannot start qemu-system-arm ({error}); `./x setup` installs it");
            std::io::Error::new(error.kind(), text)
        };
        started.map(|program| Box::new(program) as Box<dyn Wire>).map_err(missing)
    }))
}

/// Two names of one file.
fn same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// `record.jsonl` for the governor that was asked for; those it is compared with carry their name.
fn record_name(asked_for: &Choice, governor: &Choice) -> String {
    if governor == asked_for {
        "record.jsonl".to_owned()
    } else {
        format!("record-{}.jsonl", governor.to_string().replace([':', ','], "-"))
    }
}

fn read_policy(path: &Path) -> Result<Vec<u8>, ChoiceError> {
    input_file::read(path).map_err(|source| ChoiceError::Read { path: path.into(), source })
}

/// The quality file beside the model; a model without one runs at full depth.
fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let bytes = input_file::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
