//! The fan: left to the vendor for as long as he blows enough, driven by us from then on, and never
//! below his table.
//!
//! The vendor's daemon writes the duty every two seconds, so raising it beside him would be a fight:
//! the daemon is stopped first, and started again when the board is given back. Where the driver has
//! `pwm1_enable`, the duty is written before control is taken, and 0, which cuts the output, never.

use super::super::attribute::integer;
use super::super::baseline::Baseline;
use super::super::fan_curve::FanCurve;
use super::super::gate::{Gate, GateError};
use super::super::moved;
use super::super::services::{FAN_SERVICE, ServiceError, Services};
use super::super::tree::{FileError, FileTree, TreeError};
use super::backoff::Backoff;
use super::clock::write_number;
use controller_core::units::MilliCelsius;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A duty is lowered in steps of at least this: nobody hears less, and every write is a chance to fail.
const STEP: u8 = 8;

/// How far the board must cool below the soft limit before the guard lets go.
const GUARD_HYSTERESIS_MK: i32 = 3_000;

/// What came of looking after the fan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// The vendor drives it, and at least as fast as was asked for.
    Vendor,
    /// Taken over with this duty.
    Taken(u8),
    /// Ours, at this duty.
    Ours(u8),
    /// Ours, and somebody (the kernel's governor, the firmware) had set this lower duty.
    Overwritten(u8),
    /// A dry run: nothing was written.
    DryRun(u8),
}

/// Why the fan is not driven as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FanError {
    /// A file said no.
    #[error("{0}")]
    File(#[from] FileError),
    /// The vendor's daemon cannot be stopped.
    #[error("{0}")]
    Service(#[from] ServiceError),
    /// The board has been given back.
    #[error("the board has been given back; nothing is written any more")]
    Closed,
}

/// One fan's files.
#[derive(Clone, Debug)]
struct Drive {
    pwm: PathBuf,
    control: Option<Control>,
}

/// How control of a fan is taken.
#[derive(Clone, Debug)]
enum Control {
    /// `pwm1_enable`: 1 is manual.
    Enable(PathBuf),
    /// `temp_control` of `JetPack` 4: 0 is manual.
    Table(PathBuf),
}

impl Drive {
    /// Looks for files that have gone where their device is now.
    fn follow(&mut self, tree: &dyn FileTree) {
        let control = self.control.as_mut().map(|(Control::Enable(path) | Control::Table(path))| path);
        for path in std::iter::once(&mut self.pwm).chain(control) {
            if let Some(place) = moved::find(tree, path) {
                *path = place;
            }
        }
    }
}

/// All fans of a board, which run alike.
#[derive(Debug)]
pub struct FanControl {
    gate: Arc<Gate>,
    services: Arc<dyn Services>,
    drives: Vec<Drive>,
    vendor_runs: bool,
    curve: FanCurve,
    soft_limit: MilliCelsius,
    floor: u8,
    held_off: bool,
    guarding: bool,
    ours: Option<u8>,
    backoff: Backoff,
}

impl FanControl {
    /// The fans of a baseline. From `soft_limit` on they run at full speed, whatever is asked for.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        services: Arc<dyn Services>,
        baseline: &Baseline,
        curve: FanCurve,
        soft_limit: MilliCelsius,
    ) -> Self {
        let control = |path: &Path| {
            if path.ends_with("temp_control") { Control::Table(path.into()) } else { Control::Enable(path.into()) }
        };
        let drive = |fan: &super::super::baseline::FanDrive| Drive {
            pwm: fan.pwm.path.clone(),
            control: fan.control.as_ref().map(|knob| control(&knob.path)),
        };
        let taken = gate.fan_is_ours();
        Self {
            gate,
            services,
            drives: baseline.fans.iter().map(drive).collect(),
            vendor_runs: baseline.fan_service && !taken,
            curve,
            soft_limit,
            floor: 0,
            held_off: false,
            guarding: false,
            // Taken by who drove it before in this session: whatever it runs at, the vendor does not look after it.
            ours: taken.then_some(0),
            backoff: Backoff::default(),
        }
    }

    /// Asks for at least this duty from now on; 0 asks for nothing beyond the vendor's table.
    pub const fn set_floor(&mut self, pwm: u8) {
        self.floor = pwm;
    }

    /// Stops the fan, for tests of the controller: it stands still, below the vendor's table, until the
    /// board reaches `until` or the soft limit or says no temperature. Then it runs at full speed.
    pub fn hold_off(&mut self, until: MilliCelsius) {
        self.held_off = true;
        self.soft_limit = self.soft_limit.min(until);
    }

    /// It runs at full speed because the board is hot.
    #[must_use]
    pub const fn is_guarding(&self) -> bool {
        self.guarding
    }

    /// The duty that is right at the hottest temperature of the board; unknown is full speed.
    fn right_duty(&mut self, hottest: Option<MilliCelsius>) -> u8 {
        let Some(hottest) = hottest else { return u8::MAX };
        let release = self.soft_limit.0.saturating_sub(GUARD_HYSTERESIS_MK);
        self.guarding = hottest >= self.soft_limit || self.guarding && hottest.0 >= release;
        match (self.guarding, self.held_off) {
            (true, _) => u8::MAX,
            (false, true) => 0,
            (false, false) => self.floor.max(self.curve.duty(hottest)),
        }
    }

    /// Looks after the fan; to be called every second or so. Without allocation, unless something is
    /// wrong or the fan is taken over.
    pub fn regulate(&mut self, hottest: Option<MilliCelsius>, now: Instant) -> Result<Option<Driven>, FanError> {
        let Some(reads) = self.read()? else { return Ok(None) };
        let duty = self.right_duty(hottest);
        let Some(ours) = self.ours else {
            if reads >= self.floor && !self.held_off {
                return Ok(Some(Driven::Vendor));
            }
            return self.take_over(duty).map(Some);
        };
        // Faster than asked for is nobody's harm.
        let overwritten = reads < ours;
        if overwritten && self.backoff.is_waiting(now) {
            return Ok(Some(Driven::Overwritten(reads)));
        }
        let changes = duty > ours || duty.saturating_add(STEP) <= ours;
        if changes || overwritten {
            if overwritten {
                self.backoff.conflict(now);
            }
            self.write(duty)?;
            self.ours = Some(duty);
        }
        Ok(Some(if overwritten { Driven::Overwritten(reads) } else { Driven::Ours(self.ours.unwrap_or(duty)) }))
    }

    /// The duty of the first fan; `None` when there is no fan.
    fn read(&mut self) -> Result<Option<u8>, FileError> {
        let Some(first) = self.drives.first() else { return Ok(None) };
        let mut pwm = integer(self.gate.tree(), &first.pwm);
        if pwm == Err(TreeError::NotFound) {
            self.drives.iter_mut().for_each(|drive| drive.follow(self.gate.tree()));
            pwm = integer(self.gate.tree(), &self.drives[0].pwm);
        }
        match pwm {
            Ok(pwm) => Ok(Some(u8::try_from(pwm).unwrap_or(u8::MAX))),
            Err(cause) => Err(FileError { path: self.drives[0].pwm.clone(), cause }),
        }
    }

    /// Stops the vendor's daemon and writes the duty in the same breath.
    fn take_over(&mut self, duty: u8) -> Result<Driven, FanError> {
        if self.vendor_runs {
            let stopped = self.gate.pass(|_| self.services.stop(FAN_SERVICE)).map_err(|_| FanError::Closed)?;
            match stopped {
                None => return Ok(Driven::DryRun(duty)),
                Some(stopped) => stopped?,
            }
        }
        if !self.gate.is_open() {
            return Ok(Driven::DryRun(duty));
        }
        let taken = self.write(duty).and_then(|()| self.take_control(duty));
        if taken.is_err() && self.vendor_runs {
            // Nobody would look after the fan; whoever gives the board back asks for the start again.
            let _ = self.gate.pass(|_| self.services.start(FAN_SERVICE));
        }
        taken?;
        self.gate.take_fan();
        self.ours = Some(duty);
        Ok(Driven::Taken(duty))
    }

    fn write(&self, duty: u8) -> Result<(), FanError> {
        self.drives.iter().try_for_each(|drive| self.put(&drive.pwm, duty))
    }

    fn take_control(&self, duty: u8) -> Result<(), FanError> {
        for drive in &self.drives {
            match &drive.control {
                None => {}
                Some(Control::Enable(path)) => self.put(path, 1)?,
                Some(Control::Table(path)) => {
                    self.put(path, 0)?;
                    // The kernel's table may have written between the two.
                    self.put(&drive.pwm, duty)?;
                }
            }
        }
        Ok(())
    }

    fn put(&self, path: &Path, value: u8) -> Result<(), FanError> {
        match write_number(&self.gate, path, u64::from(value)) {
            Ok(_) => Ok(()),
            Err(GateError::Closed) => Err(FanError::Closed),
            Err(GateError::Tree(cause)) => Err(FileError { path: path.to_owned(), cause }.into()),
        }
    }
}
