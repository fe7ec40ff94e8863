//! `energyllm board info`: what was found, from where, and what is absent.

use super::super::output::{Object, print, printable};
use super::super::{Format, Outcome};
use super::Root;
use crate::board::discover::Missing;
use crate::board::discover::thermal::Thermal;
use crate::board::restore::PATIENCE;
use crate::board::survey::{Place, Survey};
use crate::board::telemetry::{Channel, Clock, Sample};
use crate::board::tree::PatientTree;
use clap::Args;
use controller_core::telemetry::Reading;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long all of it may take, with what is asked of libraries and programs.
const LONG_PATIENCE: Duration = Duration::from_secs(20);

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
    // What hangs in a driver is named, and no reason to hang.
    let patient = Arc::new(PatientTree::new(place.tree, PATIENCE));
    let place = Place { tree: Arc::clone(&patient) as _, ..place };
    let (sender, receiver) = channel();
    // Nor must a library: its thread is left behind.
    std::thread::Builder::new().name("board-info".to_owned()).spawn(move || {
        let survey = Survey::make(&place);
        let mut sample = Sample::default();
        sample.read(&*survey.meter, &Clock::start());
        // Nobody listens any more when the patience is over.
        let _ = sender.send((survey, sample, place));
    })?;
    let (survey, sample, place) = match receiver.recv_timeout(LONG_PATIENCE) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            anyhow::bail!(
                "the board has not answered for {} s{}; see `dmesg` for the device that hangs",
                LONG_PATIENCE.as_secs(),
                match hanging(&patient).as_slice() {
                    [] => String::new(),
                    files => format!(": {}", printable(&files.join(", "))),
                }
            )
        }
        Err(RecvTimeoutError::Disconnected) => anyhow::bail!("discovery ended without a result; please report this"),
    };
    if !survey.is_useful() {
        let hanging = hanging(&patient);
        let hint = if hanging.is_empty() { String::new() } else { format!("\n{}", hung(&hanging)) };
        anyhow::bail!("{}{hint}", nothing(&survey.missing));
    }
    let parts = parts(&survey, &*place.tree);
    match format {
        Format::Text => print(&text(&survey, &sample, &parts, &hanging(&patient)))?,
        Format::Json => json(&survey, &sample, &parts, &hanging(&patient)).print()?,
    }
    Ok(Outcome::Passed)
}

/// The files whose drivers do not answer.
fn hanging(tree: &PatientTree) -> Vec<String> {
    tree.hanging().iter().map(|path| path.display().to_string()).collect()
}

fn hung(files: &[String]) -> String {
    let files = printable(&files.join(", "));
    format!("hangs: {files}\n  its driver does not answer; `sudo dmesg | tail` names the device, restart the board")
}

/// Whether a channel is made of a file that hangs.
fn is_stuck(channel: &Channel, hanging: &[String]) -> bool {
    channel.place.split(" x ").any(|place| hanging.iter().any(|file| file == place))
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

fn text(survey: &Survey, sample: &Sample, parts: &[(&'static str, String)], hanging: &[String]) -> String {
    let mut text = String::new();
    for (name, value) in parts {
        let _ = writeln!(text, "{name:<12} {value}");
    }
    let _ = writeln!(text, "\n{:<36} {:>20}  read from", "channel", "now");
    for (channel, reading) in survey.meter.channels().iter().zip(&sample.readings) {
        let place = printable(&channel.place);
        let now = if is_stuck(channel, hanging) { "hangs".to_owned() } else { shown(reading) };
        let _ = writeln!(text, "{:<36} {:>20}  {place}", printable(&channel.column()), now);
    }
    if !survey.missing.is_empty() {
        let _ = writeln!(text, "\nabsent:");
    }
    for absent in &survey.missing {
        let _ = writeln!(text, "  {}; looked for {}", absent.what, printable(&absent.looked_for.join("; ")));
    }
    if !hanging.is_empty() {
        let _ = writeln!(text, "\n{}", hung(hanging));
    }
    text.trim_end().to_owned()
}

fn json(survey: &Survey, sample: &Sample, parts: &[(&'static str, String)], hanging: &[String]) -> Object {
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
    let stuck = survey.meter.channels().iter().filter(|channel| is_stuck(channel, hanging));
    object.wall("stuck", stuck.map(|channel| channel.name.as_str()).collect::<Vec<_>>());
    object.wall("hanging_files", hanging);
    object
}
