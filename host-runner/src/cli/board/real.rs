//! `--board jetson`: the board of this machine, or of a tree of files, instead of the simulated one.

use super::super::interrupt;
use super::super::output::note;
use super::place::Place;
use super::restore::DONE;
use crate::board::actuator::Actuator;
use crate::board::actuator::clock::{GpuClock, Range};
use crate::board::actuator::fan::FanControl;
use crate::board::discover::Found;
use crate::board::discover::gpu::Gpu;
use crate::board::discover::thermal::Thermal;
use crate::board::fan_curve::FanCurve;
use crate::board::fit::fit;
use crate::board::jetson::{Jetson, Parts, Relief, Watch};
use crate::board::notify::Notify;
use crate::board::pins::ina3221::{RailMeter, Wiring};
use crate::board::pins::line::{Line, LineName};
use crate::board::pins::strobe::{FanRelay, Strobe};
use crate::board::session::Session;
use crate::board::snapshot::cap_of;
use crate::board::telemetry::{Clock, Meter, Meters, Plan, Sampler, TreeMeter};
use crate::board::tree::FileTree;
use crate::env::profile::BoardProfile;
use crate::run::record::RealHeader;
use anyhow::Context as _;
use clap::Args;
use controller_core::units::MilliCelsius;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long the GPU's clock is waited for: it appears at the first power-up of the GPU.
const PATIENCE: Duration = Duration::from_secs(5);

/// Options of whatever runs on a real board.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "With --board jetson")]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Really set clocks and fan. Without it decisions are made and measured, and the board is left alone.
    #[arg(long)]
    apply: bool,
    /// Power mode for the run, by its name (MAXN, 30W, ...); needs --apply. Never changed without this.
    #[arg(long, value_name = "MODE")]
    allow_nvpmodel: Option<String>,
    /// Total power from an INA3221 without driver: BUS:ADDRESS:CHANNEL:SHUNT, such as 7:0x40:1:5 for 5 mΩ.
    #[arg(long, value_name = "CHIP")]
    ina3221: Option<Wiring>,
    /// A line that is high while a batch runs, with a notch at the decode: PQ.06, tegra234-gpio:106 or sysfs:454.
    #[arg(long, value_name = "LINE")]
    strobe: Option<LineName>,
    /// A line that switches a fan without PWM; high is on.
    #[arg(long, value_name = "LINE")]
    fan_relay: Option<LineName>,
}

impl Options {
    /// Refuses what only a real board can do.
    pub fn check_simulated(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.apply && self.allow_nvpmodel.is_none(),
            "--apply and --allow-nvpmodel are for a real board, and this one is simulated; add --board jetson"
        );
        Ok(())
    }

    /// Clocks and fan may be set.
    pub const fn applies(&self) -> bool {
        self.apply
    }
}

/// A real board that was taken over, or in a dry run is looked at.
pub struct RealBoard {
    options: Options,
    profile: PathBuf,
    tree: Arc<dyn FileTree>,
    found: Found,
    gpu: Gpu,
    allowed: Range,
    /// Dropped, and with it the board given back, before the guardian is let go.
    session: Arc<Session>,
    guardian: Option<Child>,
}

impl RealBoard {
    /// Discovers the board and takes it over; `profile` has knobs, limits and reward. To be called after the language model is loaded: with a model on
    /// the GPU the GPU is awake, and its clock is there.
    pub fn open(options: &Options, profile: &Path) -> anyhow::Result<Self> {
        let place = &options.place;
        let tree = place.tree()?;
        let found = discover(tree.as_ref())?;
        let gpu = found.gpu.clone().map_err(|missing| {
            anyhow::anyhow!(
                "{missing}. `energyllm board doctor` says more; without --board jetson a board is simulated"
            )
        })?;
        if let (Err(missing), None) = (power_rule(&found), &options.ina3221) {
            anyhow::bail!(
                "{missing}; without power there is no energy to measure. --ina3221 reads a chip without driver"
            );
        }
        anyhow::ensure!(found.thermal.is_ok(), "the board says no temperature; `energyllm board doctor` says more");
        // From here on a signal is a word, not the end: nobody dies with the board in his hands.
        interrupt::watch()?;
        let (session, leftover) = Session::open(&tree, place.services(), &place.state(), &found, options.apply)?;
        if leftover.is_some() {
            note("an earlier run was killed, or `fan on` was in force: the board was given back first");
        }
        let session = Arc::new(session);
        interrupt::give_back(&session);
        let guardian = options.apply.then(|| guard(place)).transpose()?;
        if let Some(mode) = &options.allow_nvpmodel {
            anyhow::ensure!(options.apply, "--allow-nvpmodel changes the board; it needs --apply");
            session.change_power_mode(&found, mode)?;
        }
        let range = session.range().context("the GPU has no clock range")?;
        let allowed = range.allowed(&gpu.frequencies_hz);
        if options.apply {
            note("clocks and fan are ours until the end of the run; `energyllm board restore` gives them back");
        } else {
            note("dry run: nothing is written to the board; set clocks and fan with --apply");
        }
        Notify::of_systemd().ready();
        Ok(Self { options: options.clone(), profile: profile.to_owned(), tree, found, gpu, allowed, session, guardian })
    }

    /// Name for people and records.
    pub fn name(&self) -> String {
        self.found.identity.model.clone().unwrap_or_else(|_| "Jetson".to_owned())
    }

    /// The profile, brought to this board.
    pub fn profile(&self) -> anyhow::Result<BoardProfile> {
        let profile = BoardProfile::read(&self.profile)?;
        let before = profile.actions.clone();
        let profile = fit(profile, &self.gpu.frequencies_hz, self.allowed, self.found.thermal.as_ref().ok());
        if profile.actions != before {
            note(&format!(
                "the board offers {} clocks within {}, which are not those of {}: a policy that was trained for other \
                 clocks is refused; choose another governor (--governor ondemand), or train one for this board",
                profile.actions.decode_khz.len(),
                self.allowed,
                self.profile.display()
            ));
        }
        Ok(profile)
    }

    /// The file that the profile comes from.
    pub fn profile_path(&self) -> &Path {
        &self.profile
    }

    /// The board's own table of clocks, kHz, ascending.
    pub fn clocks_khz(&self) -> Vec<u32> {
        let mut clocks: Vec<u32> =
            self.gpu.frequencies_hz.iter().filter_map(|hz| u32::try_from(hz / 1000).ok()).collect();
        clocks.sort_unstable();
        clocks
    }

    /// What the record says about it.
    pub fn header(&self) -> RealHeader {
        RealHeader {
            power_rails: self.rails(),
            applied: self.options.apply,
            release: self.found.identity.release.as_ref().ok().map(ToString::to_string),
            power_mode: self.found.mode.as_ref().ok().and_then(|mode| mode.name.clone()),
            allowed_hz: (self.allowed.min_hz, self.allowed.max_hz),
        }
    }

    /// The rails whose power is integrated.
    pub fn rails(&self) -> String {
        let chip = self.options.ina3221.map(|wiring| wiring.to_string());
        chip.or_else(|| power_rule(&self.found).ok()).unwrap_or_default()
    }

    /// Settings reach the board.
    pub const fn applies(&self) -> bool {
        self.options.apply
    }

    /// The board for one governor, with a clock that starts now.
    pub fn board<'a>(&self, limit: MilliCelsius, stop: &'a AtomicBool) -> anyhow::Result<Jetson<'a>> {
        let (tree, wiring) = (Arc::clone(&self.tree), self.options.ina3221);
        let build = move || meter(&tree, wiring);
        let sampler = Sampler::start(Box::new(build), Clock::start(), Plan::default());
        let sampler = Arc::new(sampler.context("cannot start the threads that sample the board")?);
        // The first decision needs a temperature.
        let _ = sampler.wait_beyond(0, PATIENCE);
        let watch = Arc::new(Watch::new(limit));
        let gate = || Arc::clone(self.session.gate());
        let cap = cap_of(&self.found, &self.gpu);
        let clock = GpuClock::new(gate(), &self.gpu.devfreq, &self.gpu.frequencies_hz, self.allowed, cap)?;
        let lowest_hz = clock.entry(0);
        let soft_limit = self.found.thermal.as_ref().ok().and_then(Thermal::soft_limit).unwrap_or(limit);
        let curve = FanCurve::of_board(self.tree.as_ref());
        let baseline = self.session.baseline();
        let fan = FanControl::new(gate(), Arc::clone(self.session.services()), &baseline, curve, soft_limit.min(limit));
        let actuator = Actuator::start(Some(clock), fan, watch.thermometer(&sampler))?;
        let strobe = self.options.strobe.as_ref().map(Line::open).transpose()?.map(Strobe::new);
        let relay = self.options.fan_relay.as_ref().map(Line::open).transpose()?;
        let relay = relay.map(FanRelay::new).transpose().map_err(|_| anyhow::anyhow!("the fan relay cannot be set"))?;
        let within = |hz: &u64| (self.allowed.min_hz..=self.allowed.max_hz).contains(hz);
        let relief = Relief::new(self.gpu.frequencies_hz.iter().copied().filter(within).collect());
        Ok(Jetson::new(Parts { sampler, actuator, watch, relief, lowest_hz, strobe, relay }, stop))
    }
}

impl Drop for RealBoard {
    fn drop(&mut self) {
        let restored = self.session.release();
        for failure in &restored.failed {
            note(&format!("not given back: {failure}"));
        }
        if let Some(mut guardian) = self.guardian.take() {
            let input = guardian.stdin.take();
            if restored.is_complete() {
                let _ = input.map(|mut input| input.write_all(DONE));
                let _ = guardian.wait();
            }
            // Otherwise its input is closed without a word: it tries again when we and our lock are gone.
        }
    }
}

/// The board, once the GPU's clock is there.
fn discover(tree: &dyn FileTree) -> anyhow::Result<Found> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = Found::discover(tree);
        if !found.is_jetson() {
            let missing: Vec<String> = found.missing().iter().map(ToString::to_string).collect();
            anyhow::bail!(
                "this is no Jetson ({}); leave --board away to run on a simulated one",
                missing.first().map_or("", String::as_str)
            );
        }
        if found.gpu.is_ok() || Instant::now() >= until {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn power_rule(found: &Found) -> Result<String, String> {
    let power = found.power.as_ref().map_err(ToString::to_string)?;
    power.total.as_ref().map(|total| total.rule.clone()).map_err(ToString::to_string)
}

fn meter(tree: &Arc<dyn FileTree>, wiring: Option<Wiring>) -> Arc<dyn Meter> {
    let jetson = TreeMeter::jetson(Arc::clone(tree), &Found::discover(tree.as_ref()));
    match wiring {
        None => Arc::new(jetson),
        Some(wiring) => Arc::new(Meters::new(vec![Box::new(jetson), Box::new(RailMeter::new(wiring))])),
    }
}

/// A process that gives the board back when this one is gone, whatever ended it: the OOM killer, a bug in a
/// driver's library. It waits for the end of a pipe that only we hold.
fn guard(place: &Place) -> anyhow::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    let program = std::env::current_exe().context("cannot find this program to look after the board")?;
    let mut command = Command::new(program);
    command.args(["board", "restore", "--when-closed", "--root"]).arg(&place.root).arg("--state").arg(place.state());
    // A group of its own: Ctrl-C is for us.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("cannot start the process that gives the board back should this one be killed")
}
