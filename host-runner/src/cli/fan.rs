//! `energyllm fan`: the fan of a real board.

use super::board::place::Place;
use super::interrupt;
use super::output::{Object, note, print};
use super::{Format, Outcome};
use crate::board::actuator::fan::{Driven, FanControl, FanError};
use crate::board::attribute::integer;
use crate::board::discover::Found;
use crate::board::fan_curve::FanCurve;
use crate::board::lock::Lock;
use crate::board::restore::{PATIENCE, give_back_kept, hottest};
use crate::board::services::FAN_SERVICE;
use crate::board::session::Session;
use crate::board::tree::PatientTree;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use controller_core::units::MilliCelsius;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Soft limit of boards that name no trip point.
const DEFAULT_SOFT_LIMIT: MilliCelsius = MilliCelsius::from_degrees(80);

/// How often the guard of `fan off` looks at the temperature.
const PERIOD: Duration = Duration::from_secs(1);

/// Drive the fan of a board, or give it back.
///
/// `on` and `off` only say what they would do, until `--apply`.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  energyllm fan status
  sudo energyllm fan on --apply               full speed, until `fan auto`
  sudo energyllm fan off --until 70 --apply   still, until 70 °C, Ctrl-C or the end of this program
  sudo energyllm fan auto                     back to the vendor")]
pub enum Command {
    /// Full speed until `fan auto`; the vendor's fan service is stopped meanwhile.
    On(Change),
    /// Still, for an experiment. A guard stays: from a temperature on, or when none can be read, the fan goes back.
    Off(Off),
    /// Give the fan back to whoever drove it.
    Auto(Place),
    /// Say what the fan does and who drives it.
    Status(Place),
}

#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    place: Place,
    /// Really do it.
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Args)]
pub struct Off {
    #[command(flatten)]
    change: Change,
    /// Temperature at which the fan goes back, °C. Default: 20 below the board's soft limit; never above it.
    #[arg(long, value_name = "CELSIUS", value_parser = clap::value_parser!(i16).range(20..=105))]
    until: Option<i16>,
    /// Give the fan back after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::On(change) => on(change, format),
        Command::Off(off) => self::off(off, format),
        Command::Auto(place) => auto(place, format),
        Command::Status(place) => status(place, format),
    }
}

/// A session for the fan alone: the clocks are not ours to keep.
fn open(change: &Change) -> anyhow::Result<(Session, FanControl, MilliCelsius)> {
    let place = &change.place;
    let tree = place.tree()?;
    let found = Found::discover(tree.as_ref());
    if let Err(missing) = &found.fan {
        anyhow::bail!("{missing}");
    }
    let (session, leftover) = Session::open(&tree, place.services(), &place.state(), &found, change.apply)?;
    if leftover.is_some() {
        note("an earlier run or `fan on` was given back first");
    }
    session.rebase(|baseline| baseline.gpu = None)?;
    let soft_limit = found.thermal.ok().and_then(|thermal| thermal.soft_limit()).unwrap_or(DEFAULT_SOFT_LIMIT);
    let curve = FanCurve::of_board(tree.as_ref());
    let (gate, services) = (Arc::clone(session.gate()), Arc::clone(session.services()));
    let fan = FanControl::new(gate, services, &session.baseline(), curve, soft_limit);
    Ok((session, fan, soft_limit))
}

fn on(change: &Change, format: Format) -> anyhow::Result<Outcome> {
    let (session, mut fan, _) = open(change)?;
    fan.set_floor(u8::MAX);
    let driven = fan.regulate(None, Instant::now())?;
    session.leave();
    match driven {
        Some(Driven::DryRun(_)) => {
            done(format, "on", "dry run: the fan would run at full speed; do it with --apply", 0)
        }
        Some(Driven::Vendor) => done(format, "on", "the fan runs at full speed already", 255),
        _ => done(format, "on", "the fan runs at full speed until `energyllm fan auto`", 255),
    }
}

fn off(options: &Off, format: Format) -> anyhow::Result<Outcome> {
    interrupt::watch()?;
    let (session, mut fan, soft_limit) = open(&options.change)?;
    let default = MilliCelsius(soft_limit.0.saturating_sub(20_000));
    let until = options.until.map_or(default, MilliCelsius::from_degrees).min(soft_limit);
    let until_c = f64::from(until.0) / 1000.0;
    if !options.change.apply {
        return done(
            format,
            "off",
            &format!("dry run: the fan would stand still until {until_c} °C; do it with --apply"),
            0,
        );
    }
    // A signal gives the fan back at once, whatever this thread waits for.
    let session = Arc::new(session);
    interrupt::give_back(&session);
    fan.hold_off(until);
    note(&format!("the fan stands still until {until_c} °C or Ctrl-C"));
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    // A sensor that hangs must not keep the fan still.
    let sensors = PatientTree::new(Arc::clone(session.gate().shared_tree()), PATIENCE);
    let why = loop {
        let now = Instant::now();
        let temperature = hottest(&sensors);
        match fan.regulate(temperature, now) {
            Err(FanError::Closed) => break "the time is over",
            Err(error) => return Err(error.into()),
            Ok(_) if temperature.is_none() => break "no temperature can be read",
            Ok(_) if fan.is_guarding() => break "the board is warm",
            Ok(Some(Driven::Ours(_) | Driven::Taken(_))) => {}
            Ok(_) => break "somebody else drives the fan",
        }
        let woken = now + PERIOD;
        while Instant::now() < woken && !interrupt::is_wanted() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if interrupt::is_wanted() || end.is_some_and(|end| Instant::now() >= end) {
            break "the time is over";
        }
    };
    // A signal gives the fan back beside us, which may look like another's hand.
    let why = if interrupt::is_wanted() { "it was interrupted" } else { why };
    let restored = session.release();
    anyhow::ensure!(restored.is_complete(), "{}", restored.failed.join("; "));
    done(format, "off", &format!("the fan is given back: {why}"), 0)
}

fn auto(place: &Place, format: Format) -> anyhow::Result<Outcome> {
    let _lock = Lock::take(&place.state())?;
    let restored = give_back_kept(&place.tree()?, place.services().as_ref(), &place.state())?;
    match restored {
        None => done(format, "auto", "nothing to give back: the fan is not ours", 0),
        Some(restored) if restored.is_complete() => done(format, "auto", "the fan is given back", 0),
        Some(restored) => anyhow::bail!("the fan is not given back: {}", restored.failed.join("; ")),
    }
}

fn status(place: &Place, format: Format) -> anyhow::Result<Outcome> {
    let tree = PatientTree::new(place.tree()?, PATIENCE);
    let found = Found::discover(&tree);
    let fan = found.fan.as_ref().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let pwm = integer(&tree, &fan.drive).with_context(|| format!("cannot read {}", fan.drive.display()))?;
    let rpm = found.tachometer.ok().and_then(|meter| integer(&tree, &meter.rpm).ok());
    let temperature = hottest(&tree);
    let table = temperature.map(|temperature| FanCurve::of_board(&tree).duty(temperature));
    let ours = place.state().join("baseline.json").exists();
    let by = match place.services().is_active(FAN_SERVICE) {
        _ if ours => "energyllm",
        Some(true) => "the vendor's service",
        Some(false) => "the kernel or nobody: the vendor's service is stopped",
        None => "unknown",
    };
    match format {
        Format::Json => {
            let mut object = Object::new("fan status", None, false);
            object.figure("pwm", pwm);
            if let Some(rpm) = rpm {
                object.figure("rpm", rpm);
            }
            if let Some(temperature) = temperature {
                object.figure("temperature_c", f64::from(temperature.0) / 1000.0);
            }
            if let Some(table) = table {
                object.figure("table_pwm", table);
            }
            object.wall("driven_by", by);
            object.print()?;
        }
        Format::Text => {
            let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
            print(&format!(
                "fan: {}, {} rpm, driven by {by}\nhottest zone: {} °C, the vendor's table says {}",
                match u8::try_from(pwm) {
                    Ok(pwm) => format!("{pwm} of 255"),
                    Err(_) => format!("{} says {pwm}, which is out of range (0 to 255)", fan.drive.display()),
                },
                or_unknown(rpm.map(|rpm| rpm.to_string())),
                or_unknown(temperature.map(|temperature| format!("{:.1}", f64::from(temperature.0) / 1000.0))),
                or_unknown(table.map(|table| table.to_string())),
            ))?;
        }
    }
    Ok(Outcome::Passed)
}

fn done(format: Format, what: &'static str, says: &str, pwm: u8) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => {
            let name = match what {
                "on" => "fan on",
                "off" => "fan off",
                _ => "fan auto",
            };
            let mut object = Object::new(name, None, false);
            if what == "on" {
                object.figure("pwm", pwm);
            }
            object.wall("says", says);
            object.print()?;
        }
        Format::Text => print(says)?,
    }
    Ok(Outcome::Passed)
}
