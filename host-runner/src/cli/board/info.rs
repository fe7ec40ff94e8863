//! `energyllm board info`: what was found, from where, and what is absent.

use super::super::output::{Object, print, printable};
use super::super::{Format, Outcome};
use super::Root;
use crate::board::discover::Missing;
use crate::board::discover::thermal::Thermal;
use crate::board::survey::Survey;
use crate::board::telemetry::{Channel, Clock, Sample};
use clap::Args;
use controller_core::telemetry::Reading;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long discovery may take: an i2c or firmware timeout is a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// Say what kind of board this is, what can be read and from where, and what is absent.
///
/// Knows Jetsons from TX1 to Thor (JetPack 3 to 7), plain Linux (RAPL, cpufreq, hwmon) and NVIDIA GPUs
/// (NVML). Exit code 2 where there is neither a power nor a temperature to be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  energyllm board info\n  energyllm board info --json\n  energyllm board info --root captured-board"
)]
pub struct Info {
    #[command(flatten)]
    root: Root,
}

pub fn run(options: &Info, format: Format) -> anyhow::Result<Outcome> {
    let place = options.root.place()?;
    let (sender, receiver) = channel();
    // A driver that hangs must not hang us: its thread is left behind.
    std::thread::Builder::new().name("board-info".to_owned()).spawn(move || {
        let survey = Survey::make(&place);
        let mut sample = Sample::default();
        sample.read(&*survey.meter, &Clock::start());
        // Nobody listens any more when the patience is over.
        let _ = sender.send((survey, sample, place));
    })?;
    let (survey, sample, place) = match receiver.recv_timeout(PATIENCE) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            anyhow::bail!(
                "a driver has not answered for {} s; see `dmesg` for the device that hangs",
                PATIENCE.as_secs()
            )
        }
        Err(RecvTimeoutError::Disconnected) => anyhow::bail!("discovery ended without a result; please report this"),
    };
    if !survey.is_useful() {
        anyhow::bail!("{}", nothing(&survey.missing));
    }
    let parts = parts(&survey, &*place.tree);
    match format {
        Format::Text => print(&text(&survey, &sample, &parts))?,
        Format::Json => json(&survey, &sample, &parts).print()?,
    }
    Ok(Outcome::Passed)
}

/// Why there is nothing to be read here.
fn nothing(missing: &[Missing]) -> String {
    let mut text = "no power and no temperature can be read on this machine. What was looked for:".to_owned();
    for absent in missing {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}: {}", absent.what, absent.looked_for.join("; "));
    }
    text.push_str("\nIn a container, mount /sys of the host; on a Jetson, run as root. `energyllm run` without a board simulates one.");
    text
}

/// What the board is and has, by name.
fn parts(survey: &Survey, tree: &dyn crate::board::tree::FileTree) -> Vec<(&'static str, String)> {
    let found = &survey.found;
    let identity = &found.identity;
    let mut parts = Vec::new();
    let mut add =
        |name: &'static str, value: Option<String>| parts.extend(value.map(|value| (name, printable(&value))));
    let kind = if found.is_jetson() { "NVIDIA Jetson" } else { "Linux" };
    add("kind", Some(kind.to_owned()));
    add("model", identity.model.clone().ok());
    add("module", identity.module.clone().ok());
    add("chip", identity.chip.clone().ok());
    add(
        "release",
        identity.release.as_ref().ok().map(|release| match release.jetpack() {
            Some(jetpack) => format!("{release} (JetPack {jetpack})"),
            None => release.to_string(),
        }),
    );
    add("kernel", identity.kernel.clone());
    add(
        "power mode",
        found.mode.as_ref().ok().map(|mode| match &mode.name {
            Some(name) => format!("{name} ({})", mode.id),
            None => mode.id.to_string(),
        }),
    );
    add(
        "GPU clock",
        found.gpu.as_ref().ok().map(|gpu| {
            let governor = gpu.governor(tree).unwrap_or_else(|| "unknown".to_owned());
            let range = match (gpu.frequencies_hz.first(), gpu.frequencies_hz.last()) {
                (Some(first), Some(last)) => {
                    format!("{} steps from {} to {} MHz", gpu.frequencies_hz.len(), first / 1_000_000, last / 1_000_000)
                }
                _ => "no table of clocks".to_owned(),
            };
            format!("{}: {range}, governor {governor}", gpu.devfreq.display())
        }),
    );
    add("GPUs", (!survey.gpus.is_empty()).then(|| survey.gpus.join(", ")));
    add("total power", survey.total_rule());
    add(
        "soft limit",
        found
            .thermal
            .as_ref()
            .ok()
            .and_then(Thermal::soft_limit)
            .map(|limit| format!("{:.1} °C, from the trip points", f64::from(limit.0) / 1000.0)),
    );
    add("fan", found.fan.as_ref().ok().map(|fan| fan.pwm.display().to_string()));
    parts
}

/// A reading for people, in the unit of its channel.
fn shown(reading: &Reading<i64>) -> String {
    match reading {
        Reading::Present { value, .. } => value.to_string(),
        Reading::Absent(why) => format!("absent ({why:?})"),
    }
}

fn text(survey: &Survey, sample: &Sample, parts: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in parts {
        let _ = writeln!(text, "{name:<12} {value}");
    }
    let _ = writeln!(text, "\n{:<36} {:>20}  read from", "channel", "now");
    for (channel, reading) in survey.meter.channels().iter().zip(&sample.readings) {
        let place = printable(&channel.place);
        let _ = writeln!(text, "{:<36} {:>20}  {place}", printable(&channel.column()), shown(reading));
    }
    if !survey.missing.is_empty() {
        let _ = writeln!(text, "\nabsent:");
    }
    for absent in &survey.missing {
        let _ = writeln!(text, "  {}; looked for {}", absent.what, printable(&absent.looked_for.join("; ")));
    }
    text.trim_end().to_owned()
}

fn json(survey: &Survey, sample: &Sample, parts: &[(&'static str, String)]) -> Object {
    let mut object = Object::new("board info", None, false);
    object.figure("channels", survey.meter.channels().len());
    object.figure("absent", survey.missing.len());
    let parts: Map<String, Value> = parts.iter().map(|(name, value)| (name.replace(' ', "_"), json!(value))).collect();
    object.wall("board", parts);
    let channels = survey.meter.channels().iter().zip(&sample.readings);
    let row = |(channel, reading): (&Channel, &Reading<i64>)| {
        json!({"name": channel.name, "quantity": channel.quantity, "unit": channel.quantity.unit(), "role": channel.role,
        "place": channel.place, "value": reading.value(), "absence": match reading {
            Reading::Present { .. } => None,
            Reading::Absent(why) => Some(why),
        }})
    };
    object.wall("channels", channels.map(row).collect::<Vec<_>>());
    object.wall("absent", json!(survey.missing));
    object
}
